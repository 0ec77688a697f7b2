//! Writes token files: streamed beside the target, complete under its name or not there at all.

use std::io::Write;
use std::path::{Path, PathBuf};

use orion_runtime::weights::{OutputFile, write_atomically};

use super::error::DataError;
use super::sidecar::{self, Description, TokenWidth};
use crate::tokenizer::TokenId;

/// A token file that is being written. Until [`finish`](Self::finish) the path keeps what it had.
pub struct TokenWriter {
    path: PathBuf,
    file: OutputFile,
    width: TokenWidth,
    vocab_size: usize,
    tokens: u64,
    bytes: Vec<u8>,
}

impl TokenWriter {
    /// Starts the file at `path` for tokens of a vocabulary of `vocab_size`.
    ///
    /// # Errors
    /// A vocabulary that does not fit into the width, a description beside it that would replace another file, and
    /// what the system refuses.
    pub fn create(path: &Path, width: TokenWidth, vocab_size: usize) -> Result<Self, DataError> {
        if width == TokenWidth::U16 && TokenWidth::for_vocabulary(vocab_size) != width {
            let rule = format!("{vocab_size} tokens do not fit into {width}");
            return Err(DataError::setting(rule, "write them as u32"));
        }
        sidecar::check_free(path)?;
        let file = OutputFile::create(path).map_err(DataError::write(path))?;
        let path = path.to_owned();
        Ok(Self { path, file, width, vocab_size, tokens: 0, bytes: Vec::new() })
    }

    /// Appends tokens.
    ///
    /// # Errors
    /// A token outside of the vocabulary, and what the system refuses.
    pub fn write(&mut self, tokens: &[TokenId]) -> Result<(), DataError> {
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= self.vocab_size) {
            let rule = format!("token {token} is outside of the vocabulary of {}", self.vocab_size);
            let place = format!("token {}", self.tokens);
            return Err(DataError::invalid(&self.path, place, rule, "use another tokenizer"));
        }
        self.bytes.clear();
        match self.width {
            TokenWidth::U16 => {
                self.bytes.extend(tokens.iter().flat_map(|&token| (token as u16).to_le_bytes()))
            }
            TokenWidth::U32 => {
                self.bytes.extend(tokens.iter().flat_map(|token| token.to_le_bytes()))
            }
        }
        self.file.write_all(&self.bytes).map_err(DataError::write(&self.path))?;
        self.tokens += tokens.len() as u64;
        Ok(())
    }

    /// Number of tokens written.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Gives the file its name, writes its description beside it, and returns that.
    ///
    /// # Errors
    /// Fewer than two tokens, a fraction outside of `0..1`, and what the system refuses.
    pub fn finish(
        self,
        end_of_text: Option<TokenId>,
        validation_fraction: Option<f64>,
    ) -> Result<Description, DataError> {
        if self.tokens < 2 {
            let rule = format!("the text is {} token long, training needs two", self.tokens);
            return Err(DataError::setting(rule, "give more text"));
        }
        if let Some(fraction) = validation_fraction.filter(|part| !(0.0..1.0).contains(part)) {
            let rule = format!("the validation part must be in 0..1, found {fraction}");
            return Err(DataError::setting(rule, "take for example 0.1"));
        }
        let description = Description {
            dtype: self.width,
            vocab_size: Some(self.vocab_size),
            tokens: Some(self.tokens),
            end_of_text,
            validation_fraction,
        };
        self.file.finish().map_err(DataError::write(&self.path))?;
        let beside = sidecar::beside(&self.path);
        let text = serde_json::to_string_pretty(&description).unwrap_or_default() + "\n";
        write_atomically(&beside, text.as_bytes()).map_err(DataError::write(&beside))?;
        Ok(description)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::{TokenFile, TokenFileOptions};

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        for (width, vocab_size) in [(TokenWidth::U16, 1 << 16), (TokenWidth::U32, 70_000)] {
            let path = folder.path().join("data.bin");
            let mut writer = TokenWriter::create(&path, width, vocab_size).unwrap();
            let tokens = [0, 1, 65_535, vocab_size as u32 - 1];
            writer.write(&tokens[..1]).unwrap();
            writer.write(&tokens[1..]).unwrap();
            let description = writer.finish(Some(0), Some(0.25)).unwrap();
            let file = TokenFile::open(&path, TokenFileOptions::default()).unwrap();
            assert_eq!(file.tokens(0..4).collect::<Vec<_>>(), tokens);
            assert_eq!(file.description(), Some(&description));
            assert_eq!((file.width(), file.vocab_size()), (width, Some(vocab_size)));
        }
    }

    #[test]
    fn nothing_is_left_of_a_file_that_is_not_finished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.bin");
        let mut writer = TokenWriter::create(&path, TokenWidth::U16, 10).unwrap();
        assert!(writer.write(&[1, 10]).unwrap_err().to_string().contains("token 10"));
        writer.write(&[1]).unwrap();
        assert!(writer.finish(None, None).unwrap_err().to_string().contains("needs two"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn other_files_are_not_replaced_by_descriptions() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tokenizer.json"), "{\"model\": {}}").unwrap();
        for name in ["tokenizer.bin", "data.json"] {
            let path = folder.path().join(name);
            let Err(error) = TokenWriter::create(&path, TokenWidth::U16, 10) else {
                panic!("{name} was taken")
            };
            assert!(error.to_string().contains("another name"), "{error}");
        }
        let wide = TokenWriter::create(&folder.path().join("a.bin"), TokenWidth::U16, 65_537);
        assert!(wide.err().unwrap().to_string().contains("u32"));
    }
}
