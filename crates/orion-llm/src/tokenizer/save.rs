//! Puts a tokenizer's files into another model's folder, where [`Tokenizer::open`] finds them.

use std::fs;
use std::path::Path;

use orion_runtime::weights::gguf::{self, Metadata, Value, Writer};
use orion_runtime::weights::write_atomically;

use super::open::{Format, format_of};
use super::{Tokenizer, TokenizerError, gpt2_files};

/// The vocabulary of a GGUF file, alone in one: llama.cpp's "vocab-only" form.
pub(super) const GGUF_NAME: &str = "tokenizer.gguf";
/// What the files beside a tokenizer say about it.
const COMPANIONS: [&str; 5] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.jinja",
];

impl Tokenizer {
    /// Writes the tokenizer into `folder` under the names of its format, with what lies beside it. A vocabulary that is
    /// part of a GGUF model becomes a GGUF file of its own.
    ///
    /// # Errors
    /// When the tokenizer's files are gone or the system refuses to write.
    pub fn save(&self, folder: &Path) -> Result<(), TokenizerError> {
        let from = self.source.parent().unwrap_or(Path::new(""));
        match format_of(&self.source)? {
            Format::Gguf => return save_gguf(&self.source, &folder.join(GGUF_NAME)),
            Format::SentencePiece => copy(&self.source, &folder.join("tokenizer.model"))?,
            Format::Llama2c => copy(&self.source, &folder.join("tokenizer.bin"))?,
            Format::Json | Format::Merges | Format::Unrecognised => {
                match gpt2_files::beside(&self.source) {
                    Some((vocabulary, merges)) => {
                        copy(&vocabulary, &folder.join("vocab.json"))?;
                        copy(&merges, &folder.join("merges.txt"))?;
                    }
                    None => copy(&self.source, &folder.join("tokenizer.json"))?,
                }
            }
        }
        for name in COMPANIONS {
            if from.join(name).is_file() {
                copy(&from.join(name), &folder.join(name))?;
            }
        }
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), TokenizerError> {
    let bytes =
        fs::read(from).map_err(|source| TokenizerError::Read { path: from.to_owned(), source })?;
    write_atomically(to, &bytes)
        .map_err(|source| TokenizerError::Write { path: to.to_owned(), source })
}

fn save_gguf(from: &Path, to: &Path) -> Result<(), TokenizerError> {
    let (source, _weights) = gguf::open(from)?;
    let mut metadata = Metadata::new(to);
    let architecture = source.value("general.architecture").cloned();
    let architecture = architecture.unwrap_or_else(|| Value::String("llama".to_owned()));
    metadata.insert("general.architecture", architecture);
    for (key, value) in source.iter().filter(|(key, _)| key.starts_with("tokenizer.")) {
        metadata.insert(key, value.clone());
    }
    Writer::create(to, &metadata, Vec::new())?.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{AddSpecial, ParseSpecial};

    #[test]
    fn a_saved_tokenizer_of_any_format_encodes_as_before() {
        let Some(assets) = std::env::var_os("ORION_TEST_ASSETS") else {
            eprintln!("skipped: ORION_TEST_ASSETS is not set");
            return;
        };
        let text = "Once upon a time, 1,234 llamas 🦙 sang:\n\t\"naïve\"!";
        for path in [
            "stories260k/tok512.bin",
            "stories260k/tok512.model",
            "tok-mistral-v1/tokenizer.model.v1",
            "tok-gpt2/encoder.json",
            "tok-vectors/ggml-vocab-qwen2.gguf",
            "tok-vectors/ggml-vocab-llama-spm.gguf",
        ] {
            let path = Path::new(&assets).join(path);
            let tokenizer = Tokenizer::open(&path, None).unwrap();
            let folder = tempfile::tempdir().unwrap();
            tokenizer.save(folder.path()).unwrap();
            let saved = Tokenizer::open(folder.path(), None).unwrap();
            let encode = |tokenizer: &Tokenizer| {
                tokenizer.encode(text, AddSpecial::Yes, ParseSpecial::Yes).unwrap()
            };
            assert_eq!(encode(&saved), encode(&tokenizer), "{}", path.display());
            assert_eq!(saved.eos(), tokenizer.eos());
        }
    }
}
