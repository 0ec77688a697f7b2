//! Text from files and folders, streamed document by document in pieces of bounded size.
//!
//! The formats are read by [`plain_text`](super::plain_text) and [`json_lines`](super::json_lines); here is which files
//! belong to a corpus, in which order, and where a long document may be cut.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::DataError;
use super::json_lines::JsonLines;
use super::plain_text::PlainText;

/// Longest piece in bytes: small enough that the pieces of a one-megabyte file keep several threads busy.
const PIECE_BYTES: usize = 256 << 10;

/// What a file's name says about its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `.txt` and `.md`.
    Plain,
    /// `.jsonl`: one object a line.
    JsonLines,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "txt" | "md" => Some(Self::Plain),
            "jsonl" => Some(Self::JsonLines),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct SourceFile {
    path: PathBuf,
    format: Format,
    bytes: u64,
}

/// The text files that training data come from. Only their names are held in memory.
#[derive(Debug)]
pub struct Corpus {
    inputs: Vec<PathBuf>,
    files: Vec<SourceFile>,
    piece_bytes: usize,
}

/// A document, or a part of one that is long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The text. Only the last of several pieces can be empty.
    pub text: String,
    /// Whether a document begins here.
    pub begins: bool,
    /// Whether the document ends here.
    pub ends: bool,
}

impl Corpus {
    /// Finds the files of `inputs`: files as they are given; of folders all `.txt`, `.md` and `.jsonl` files below
    /// them, sorted by path. Names that begin with a dot are left out, and links to folders are not followed.
    ///
    /// # Errors
    /// Paths that do not exist or cannot be read, files of other kinds, and a corpus without a single byte.
    pub fn open(inputs: &[PathBuf]) -> Result<Self, DataError> {
        let mut corpus =
            Self { inputs: inputs.to_vec(), files: Vec::new(), piece_bytes: PIECE_BYTES };
        for input in inputs {
            let metadata = fs::metadata(input).map_err(DataError::read(input))?;
            if metadata.is_dir() {
                corpus.add_folder(input)?;
                continue;
            }
            let format = Format::of(input).filter(|_| metadata.is_file()).ok_or_else(|| {
                let rule = "text is read from .txt, .md and .jsonl files and from folders";
                DataError::invalid(input, "name", rule, "convert or rename the file")
            })?;
            corpus.files.push(SourceFile { path: input.clone(), format, bytes: metadata.len() });
        }
        if corpus.bytes() == 0 {
            return Err(corpus.no_text());
        }
        Ok(corpus)
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), DataError> {
        let mut entries = fs::read_dir(folder)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(DataError::read(folder))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if entry.file_type().map_err(DataError::read(&path))?.is_dir() {
                self.add_folder(&path)?;
            } else if let Some(format) = Format::of(&path) {
                let metadata = fs::metadata(&path).map_err(DataError::read(&path))?;
                if metadata.is_file() {
                    self.files.push(SourceFile { path, format, bytes: metadata.len() });
                }
            }
        }
        Ok(())
    }

    /// The files, in the order in which they are read.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// Length of all files in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Reads the documents from the first file on.
    pub fn pieces(&self) -> Pieces<'_> {
        Pieces { corpus: self, next: 0, done: 0, reader: None, begun: false, is_over: false }
    }

    fn no_text(&self) -> DataError {
        let names: Vec<String> =
            self.inputs.iter().map(|path| path.display().to_string()).collect();
        DataError::NoText { inputs: names.join(", ") }
    }

    #[cfg(test)]
    pub(crate) fn with_piece_bytes(mut self, bytes: usize) -> Self {
        self.piece_bytes = bytes;
        self
    }
}

/// The documents of a corpus in order, each in one piece or several. After an error there is nothing more.
pub struct Pieces<'c> {
    corpus: &'c Corpus,
    /// The file that comes after the one being read.
    next: usize,
    /// Bytes of the files before that one.
    done: u64,
    reader: Option<Reader>,
    begun: bool,
    is_over: bool,
}

enum Reader {
    Plain(PlainText),
    JsonLines(JsonLines),
}

impl Pieces<'_> {
    /// How many bytes of the files have been read.
    pub fn bytes_read(&self) -> u64 {
        let inside = match &self.reader {
            None => 0,
            Some(Reader::Plain(reader)) => reader.bytes_read(),
            Some(Reader::JsonLines(reader)) => reader.bytes_read(),
        };
        self.done + inside
    }

    fn advance(&mut self) -> Result<Option<Piece>, DataError> {
        loop {
            let piece = match &mut self.reader {
                None => None,
                Some(Reader::Plain(reader)) => reader.next_piece()?,
                Some(Reader::JsonLines(reader)) => reader.next_piece()?,
            };
            if piece.is_some() {
                self.begun = true;
                return Ok(piece);
            }
            self.done = self.bytes_read();
            self.reader = None;
            let Some(file) = self.corpus.files.get(self.next) else {
                return if self.begun { Ok(None) } else { Err(self.corpus.no_text()) };
            };
            self.next += 1;
            let limit = self.corpus.piece_bytes;
            self.reader = Some(match file.format {
                Format::Plain => Reader::Plain(PlainText::open(&file.path, limit)?),
                Format::JsonLines => Reader::JsonLines(JsonLines::open(&file.path, limit)?),
            });
        }
    }
}

impl Iterator for Pieces<'_> {
    type Item = Result<Piece, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let piece = self.advance().transpose();
        self.is_over = !matches!(piece, Some(Ok(_)));
        piece
    }
}

/// Where to cut a text of more than `limit` bytes so that both parts become the same tokens as the whole. Between a
/// letter or digit and white space every pre-tokenizer in use cuts; a single space among letters is the surest place.
/// Text without white space is cut anywhere, which can cost one merge of tokens; so can every cut where a vocabulary
/// keeps white space at the end of words.
pub(super) fn cut(text: &str, limit: usize) -> usize {
    let end = text.floor_char_boundary(limit);
    let mut after = text[end..].chars().next();
    let mut before_space = None;
    let mut characters = text[..end].char_indices().rev().peekable();
    while let Some((at, character)) = characters.next() {
        let follows_word = characters.peek().is_some_and(|&(_, c)| c.is_alphanumeric());
        if follows_word && character == ' ' && after.is_some_and(char::is_alphanumeric) {
            return at;
        }
        if follows_word && character.is_whitespace() && before_space.is_none() {
            before_space = Some(at);
        }
        after = Some(character);
    }
    let first = text.chars().next().map_or(0, char::len_utf8);
    before_space.unwrap_or(end).max(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        folder
    }

    fn documents(corpus: &Corpus) -> Result<Vec<String>, DataError> {
        let mut documents: Vec<String> = Vec::new();
        let mut inside = false;
        for piece in corpus.pieces() {
            let piece = piece?;
            assert_eq!(piece.begins, !inside);
            match documents.last_mut() {
                Some(document) if inside => document.push_str(&piece.text),
                _ => documents.push(piece.text),
            }
            inside = !piece.ends;
        }
        assert!(!inside);
        Ok(documents)
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_its_paths() {
        let folder = folder(&[
            ("b.md", b"second"),
            ("a/z.TXT", b"first"),
            ("c.jsonl", b"{\"text\": \"third\"}\n\n{\"content\": \"fourth\", \"id\": 4}"),
            ("picture.png", b"\xFF"),
            (".hidden.txt", b"no"),
        ]);
        let corpus = Corpus::open(&[folder.path().to_owned()]).unwrap();
        assert_eq!(documents(&corpus).unwrap(), ["first", "second", "third", "fourth"]);
        let mut pieces = corpus.pieces();
        pieces.by_ref().for_each(drop);
        assert_eq!(pieces.bytes_read(), corpus.bytes());
    }

    #[test]
    fn separators_cut_documents_and_take_the_white_space_around_them() {
        let text = "Once.\n\n<|endoftext|>\nTwice. \n<|endoftext|><|endoftext|>\n  Thrice.\n";
        let folder = folder(&[("stories.txt", text.as_bytes())]);
        for piece_bytes in [1, 2, 3, 5, 13, 14, 21, 1000] {
            let corpus =
                Corpus::open(&[folder.path().to_owned()]).unwrap().with_piece_bytes(piece_bytes);
            assert_eq!(documents(&corpus).unwrap(), ["Once.", "Twice.", "Thrice."]);
        }
    }

    #[test]
    fn one_text_stays_as_it_is_however_it_is_cut() {
        let text = "\u{FEFF}  Ünïcödé 🦙🦙🦙 and\r\n\ttabs <|endof \n\n".repeat(20);
        let jsonl = serde_json::json!({ "text": text }).to_string();
        let folder = folder(&[("a.txt", text.as_bytes()), ("b.jsonl", jsonl.as_bytes())]);
        let without_mark = text.strip_prefix('\u{FEFF}').unwrap();
        for piece_bytes in [1, 4, 7, 64, 333, 100_000] {
            let corpus =
                Corpus::open(&[folder.path().to_owned()]).unwrap().with_piece_bytes(piece_bytes);
            assert_eq!(documents(&corpus).unwrap(), [without_mark, &text]);
        }
    }

    #[test]
    fn a_cut_prefers_a_space_among_letters() {
        assert_eq!(cut("one two three", 9), 7);
        assert_eq!(cut("one, two\n\nthree", 11), 8);
        assert_eq!(cut("one\n\n!!!!!!!!", 9), 3);
        assert_eq!(cut("🦙🦙🦙", 6), 4);
        assert_eq!(cut("🦙🦙", 1), 4);
    }

    #[track_caller]
    fn refused(files: &[(&str, &[u8])], parts: &[&str]) {
        let folder = folder(files);
        let result =
            Corpus::open(&[folder.path().to_owned()]).and_then(|corpus| documents(&corpus));
        let message = result.unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }

    #[test]
    fn errors_name_file_and_place() {
        refused(&[("a.txt", b"good \xC3\xA4\nbad \xFF\xFE")], &["a.txt", "byte 12", "UTF-8"]);
        refused(&[("a.txt", b"cut off \xF0\x9F\xA6")], &["a.txt", "byte 8", "UTF-8"]);
        refused(&[("a.jsonl", b"{\"text\":\"a\"}\n{\"text\":\"\xFF\"}")], &["line 2", "byte 22"]);
        refused(&[("a.jsonl", b"{\"text\":\"a\"}\n{\"text\":")], &["a.jsonl", "line 2 (byte 13)"]);
        refused(&[("a.jsonl", b"\n{\"title\":\"a\"}\n")], &["line 2 (byte 1)", "`text`"]);
        refused(&[("a.jsonl", b"[1]")], &["line 1 (byte 0)", "object"]);
    }

    #[test]
    fn a_corpus_without_text_is_an_error() {
        refused(&[("a.png", b"x")], &["no text in"]);
        refused(&[("a.txt", b"")], &["no text in"]);
        refused(&[("a.txt", b"<|endoftext|>\n\n<|endoftext|>")], &["no text in"]);
        refused(&[("a.jsonl", b"{\"text\":\"\"}")], &["no text in"]);
    }
}
