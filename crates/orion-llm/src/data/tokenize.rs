//! A corpus becomes a token file: several threads encode, one reads and writes in order.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::END_OF_TEXT;
use super::corpus::{Corpus, Piece};
use super::error::DataError;
use super::token_writer::TokenWriter;
use crate::tokenizer::{AddSpecial, ParseSpecial, TokenId, Tokenizer};

/// Text that a thread gets at a time, in bytes; long enough that handing it over costs nothing.
const PARCEL_BYTES: usize = 256 << 10;
/// Parcels that wait for each thread.
const WAITING: usize = 2;

/// What has been tokenized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokenized {
    /// Number of documents.
    pub documents: u64,
    /// Bytes of their text.
    pub bytes: u64,
    /// Number of tokens, with one that ends each document.
    pub tokens: u64,
}

/// The token that ends a document: `<|endoftext|>` if there is one, else the one that ends an answer.
///
/// # Errors
/// A tokenizer that has none of them.
pub fn end_of_text(tokenizer: &Tokenizer) -> Result<TokenId, DataError> {
    let named = |name| tokenizer.token_id(name).filter(|&id| tokenizer.is_special(id));
    named(END_OF_TEXT)
        .or_else(|| tokenizer.eos().first().copied())
        .or_else(|| named("</s>"))
        .or_else(|| tokenizer.token_id(END_OF_TEXT))
        .ok_or_else(|| {
            let rule = format!("no token ends a text: neither {END_OF_TEXT} nor an end token");
            let remedy = "name one as `eos_token` in tokenizer_config.json";
            DataError::invalid(tokenizer.source(), "vocabulary", rule, remedy)
        })
}

/// Writes the tokens of all documents, each followed by `end_of_text`, on `threads` threads. The names of control
/// tokens in the text are spelled out. `progress` hears how many bytes of the files have been read, and may break off.
///
/// # Errors
/// Files that are no text, text that cannot be encoded, what the system refuses, and being broken off.
pub fn tokenize_corpus(
    corpus: &Corpus,
    tokenizer: &Tokenizer,
    end_of_text: TokenId,
    writer: &mut TokenWriter,
    threads: usize,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Tokenized, DataError> {
    let threads = threads.max(1);
    let mut result = Tokenized::default();
    thread::scope(|scope| {
        let encoders: Vec<Encoder> = (0..threads)
            .map(|_| {
                let (give, parcels) = sync_channel::<Vec<Piece>>(WAITING);
                let (finish, take) = sync_channel(WAITING);
                scope.spawn(move || {
                    for parcel in parcels {
                        if finish.send(encode(tokenizer, end_of_text, &parcel)).is_err() {
                            break;
                        }
                    }
                });
                Encoder { give, take }
            })
            .collect();
        let mut take = |turn: usize| {
            let finished = encoders.get(turn % threads).and_then(|e| e.take.recv().ok());
            let tokens = finished.ok_or_else(stopped)??;
            writer.write(&tokens)?;
            result.tokens += tokens.len() as u64;
            Ok::<(), DataError>(())
        };
        let mut pieces = corpus.pieces();
        let (mut given, mut taken) = (0, 0);
        loop {
            let mut parcel = Vec::new();
            let mut size = 0;
            while size < PARCEL_BYTES
                && let Some(piece) = pieces.next().transpose()?
            {
                size += piece.text.len();
                result.documents += u64::from(piece.begins);
                parcel.push(piece);
            }
            if parcel.is_empty() {
                break;
            }
            result.bytes += size as u64;
            if given - taken == threads * WAITING {
                take(taken)?;
                taken += 1;
            }
            let encoder = encoders.get(given % threads).ok_or_else(stopped)?;
            encoder.give.send(parcel).map_err(|_| stopped())?;
            given += 1;
            if progress(pieces.bytes_read()).is_break() {
                return Err(DataError::Stopped);
            }
        }
        while taken < given {
            take(taken)?;
            taken += 1;
        }
        Ok(result)
    })
}

/// A thread that encodes: what goes in, and what comes out in the same order.
struct Encoder {
    give: SyncSender<Vec<Piece>>,
    take: Receiver<Result<Vec<TokenId>, DataError>>,
}

/// Only a panic ends an encoder early.
fn stopped() -> DataError {
    DataError::setting("a thread that encodes has stopped", "please report this")
}

fn encode(
    tokenizer: &Tokenizer,
    end_of_text: TokenId,
    parcel: &[Piece],
) -> Result<Vec<TokenId>, DataError> {
    let mut tokens = Vec::new();
    for piece in parcel {
        let mut text = piece.text.as_str();
        // Such a tokenizer puts a space before every text, also before one that goes on after a space.
        if !piece.begins && tokenizer.drops_leading_space() {
            text = text.strip_prefix(' ').unwrap_or(text);
        }
        tokens.extend(tokenizer.encode(text, AddSpecial::No, ParseSpecial::No)?);
        if piece.ends {
            tokens.push(end_of_text);
        }
    }
    Ok(tokens)
}
