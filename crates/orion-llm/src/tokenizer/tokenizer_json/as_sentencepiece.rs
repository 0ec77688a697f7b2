//! A tokenizer.json that was made from a SentencePiece BPE model, as the SentencePiece encoder: Llama 2, TinyLlama,
//! Mistral. Ranks of merges become scores of pieces.
//!
//! The two algorithms agree only if the merges are all that the pieces allow, for SentencePiece merges whatever makes
//! a piece. Files that were converted from SentencePiece are so; those that were trained as JSON are not.

use std::collections::BTreeSet;

use hashbrown::{HashMap, HashSet};
use serde_json::Value;

use super::super::ParseSpecial;
use super::super::error::Fault;
use super::super::gguf_vocabulary::REMEDY;
use super::super::metaspace::METASPACE;
use super::super::sentencepiece::{Algorithm, Normalizer, SentencePiece};
use super::super::source_file;
use super::super::vocabulary::{TokenKind, Vocabulary};
use super::library::LibraryEncoder;
use super::pipeline::{kind, stages};
use super::syntax::{File, Merge, Model};

/// Longest run of one character that is tried; no vocabulary has a longer piece of that sort.
const LONGEST_RUN: usize = 80;

/// The same encoding with scores, or what stands in its way.
pub(in super::super) fn as_sentencepiece(
    library: &LibraryEncoder,
    vocabulary: &Vocabulary,
) -> Result<SentencePiece, Fault> {
    let file: File = source_file::parse_json(library.to_json()?.as_bytes())?;
    check_model(&file.model)?;
    let spaces = spaces(&file)?;
    let crosses_words = |text: &str| text.chars().skip(1).any(|character| character == '▁');
    if spaces.splits_words
        && let Some(text) = mergeable(vocabulary).find(|text| crosses_words(text))
    {
        let problem =
            format!("text is cut before every ▁, but the token {text:?} reaches across; {REMEDY}");
        return Err(Fault::new("pre_tokenizer", problem));
    }
    let ranking = rank(&file.model.merges, vocabulary)?;
    let normalizer = Normalizer {
        dummy_prefix: spaces.prefix,
        removes_extra_spaces: false,
        ..Normalizer::default()
    };
    let pieces = SentencePiece::new(vocabulary, ranking.scores, Algorithm::Bpe, normalizer, true)?;
    for character in ranking.tied_runs {
        compare_runs(character, library, &pieces, vocabulary)?;
    }
    Ok(pieces)
}

fn check_model(model: &Model) -> Result<(), Fault> {
    let is_set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let other = match model.kind.as_deref() {
        Some("BPE") if !model.byte_fallback => "BPE without byte_fallback",
        Some("BPE") if model.dropout.is_some_and(|dropout| dropout != 0.0) => "BPE with dropout",
        Some("BPE")
            if is_set(&model.continuing_subword_prefix) || is_set(&model.end_of_word_suffix) =>
        {
            "BPE with marks inside words"
        }
        Some("BPE") => return Ok(()),
        Some(other) => other,
        None => "a model without a type",
    };
    let problem = format!(
        "{other} has no place in GGUF; byte-level BPE and BPE with byte_fallback have; {REMEDY}"
    );
    Err(Fault::new("model", problem))
}

/// How spaces are treated.
struct Spaces {
    /// One is put before the text.
    prefix: bool,
    /// Merges stay within words.
    splits_words: bool,
}

/// What normalizer and pre-tokenizer do to spaces; they must do nothing else.
fn spaces(file: &File) -> Result<Spaces, Fault> {
    let mut spaces = Spaces { prefix: false, splits_words: false };
    let mut escapes = false;
    let refused = |place: &str, stage: &Value| {
        let problem = format!("{:?} has no place in GGUF; {REMEDY}", kind(stage));
        Fault::new(place, problem)
    };
    let given = |stage: &'_ Option<Value>| stage.clone().filter(|value| !value.is_null());
    if let Some(normalizer) = given(&file.normalizer) {
        for stage in stages(&normalizer, "normalizers") {
            match kind(stage) {
                "Prepend" if stage["prepend"] == "▁" => spaces.prefix = true,
                "Replace" if stage["pattern"]["String"] == " " && stage["content"] == "▁" => {
                    escapes = true;
                }
                _ => return Err(refused("normalizer", stage)),
            }
        }
    }
    if let Some(pre_tokenizer) = given(&file.pre_tokenizer) {
        for stage in stages(&pre_tokenizer, "pretokenizers") {
            match kind(stage) {
                "Metaspace" if stage["replacement"] == "▁" => {
                    escapes = true;
                    spaces.prefix |= stage["prepend_scheme"] != "never";
                    spaces.splits_words |= stage["split"] != Value::Bool(false);
                }
                // Nothing is left to cut where the normalizer has replaced all spaces.
                "Split" if escapes && stage["pattern"]["String"] == " " => {}
                _ => return Err(refused("pre_tokenizer", stage)),
            }
        }
    }
    if escapes {
        return Ok(spaces);
    }
    Err(Fault::new("normalizer", format!("no stage turns spaces into ▁; {REMEDY}")))
}

/// Texts of the tokens that merging may make.
fn mergeable(vocabulary: &Vocabulary) -> impl Iterator<Item = &str> {
    (0..vocabulary.len() as u32)
        .filter(|&id| vocabulary.kind(id) == Some(TokenKind::Normal))
        .filter_map(|id| vocabulary.text(id))
}

/// What the ranks of merges say about pieces.
struct Ranking {
    /// Minus the rank of the merges that make each token; the lowest of all for single characters, as in
    /// SentencePiece.
    scores: Vec<f32>,
    /// Characters whose runs share a score, as runs of spaces do in Llama's vocabulary. Among equals SentencePiece
    /// takes the leftmost.
    tied_runs: BTreeSet<char>,
}

fn rank(merges: &[Merge], vocabulary: &Vocabulary) -> Result<Ranking, Fault> {
    let pairs: HashSet<(&str, &str)> =
        merges.iter().map(|merge| (merge.left.as_str(), merge.right.as_str())).collect();
    check_completeness(&pairs, vocabulary)?;
    let product = |merge: &Merge| format!("{}{}", merge.left, merge.right);
    let last: HashMap<String, usize> =
        merges.iter().enumerate().map(|(index, merge)| (product(merge), index)).collect();
    // Tokens whose merges lie between each other's have one rank.
    let mut ranks: HashMap<String, usize> = HashMap::new();
    let mut tied_runs = BTreeSet::new();
    let (mut rank, mut end) = (0, 0);
    for (index, merge) in merges.iter().enumerate() {
        let text = product(merge);
        if index > end {
            rank += 1;
        } else if index > 0 && !ranks.contains_key(&text) {
            tied_runs.insert(repeated(&text).ok_or_else(|| {
                let place = format!("merge {index} ({:?} {:?})", merge.left, merge.right);
                let problem = format!(
                    "it stands between the merges of another token; GGUF's \"llama\" vocabularies rank tokens, not \
                     merges; {REMEDY}"
                );
                Fault::new(place, problem)
            })?);
        }
        end = end.max(last.get(&text).copied().unwrap_or(index));
        ranks.insert(text, rank);
    }
    let score = |id| match (vocabulary.kind(id), vocabulary.text(id)) {
        (Some(TokenKind::Normal), Some(text)) => {
            0.0 - ranks.get(text).copied().unwrap_or(rank + 1) as f32
        }
        _ => 0.0,
    };
    Ok(Ranking { scores: (0..vocabulary.len() as u32).map(score).collect(), tied_runs })
}

/// The character that the text is a run of.
fn repeated(text: &str) -> Option<char> {
    let first = text.chars().next()?;
    text.chars().all(|character| character == first).then_some(first)
}

/// Every two pieces that together are a piece must have a merge.
fn check_completeness(pairs: &HashSet<(&str, &str)>, vocabulary: &Vocabulary) -> Result<(), Fault> {
    let is_piece = |text: &str| {
        vocabulary.id(text).is_some_and(|id| vocabulary.kind(id) == Some(TokenKind::Normal))
    };
    for text in mergeable(vocabulary) {
        let mut halves = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
        let unlisted = halves.find(|(left, right)| {
            is_piece(left) && is_piece(right) && !pairs.contains(&(*left, *right))
        });
        if let Some((left, right)) = unlisted {
            let problem = format!(
                "{left:?} and {right:?} never become {text:?}, but in GGUF's \"llama\" vocabularies they would; {REMEDY}"
            );
            return Err(Fault::new("model.merges", problem));
        }
    }
    Ok(())
}

/// Tries whether runs of a character whose pieces share a score come out the same.
fn compare_runs(
    character: char,
    library: &LibraryEncoder,
    pieces: &SentencePiece,
    vocabulary: &Vocabulary,
) -> Result<(), Fault> {
    let character = if character == METASPACE { ' ' } else { character };
    for length in 1..=LONGEST_RUN {
        let run: String = std::iter::repeat_n(character, length).collect();
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        library.encode(&run, ParseSpecial::No, &mut expected)?;
        let encoded = pieces.encode(vocabulary, &run, &mut found);
        if encoded.is_err() || found != expected {
            let problem = format!(
                "{length} times {character:?} would be {found:?} in GGUF's \"llama\" vocabularies, and is \
                 {expected:?}; {REMEDY}"
            );
            return Err(Fault::new("model.merges", problem));
        }
    }
    Ok(())
}
