//! Reads tokenizer files whole, within a limit, and the small JSON files that lie beside them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::TokenId;
use super::error::{Fault, TokenizerError};

/// No tokenizer is larger; a bigger file is something else.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// The whole file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    let unreadable = |source| TokenizerError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let problem = format!("larger than {} MiB; no tokenizer is", MAX_FILE_BYTES >> 20);
        return Err(Fault::new("size", problem).in_file(path));
    }
    Ok(bytes)
}

/// The whole file as JSON.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, TokenizerError> {
    parse_json(&read(path)?).map_err(|fault| fault.in_file(path))
}

/// JSON text as `T`; the error names line and column.
pub(super) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        Fault::new(place, error.to_string())
    })
}

/// What the files beside a tokenizer say about it.
#[derive(Debug, Default)]
pub(super) struct Companions {
    pub(super) bos: Option<String>,
    pub(super) eos: Option<String>,
    pub(super) unknown: Option<String>,
    pub(super) padding: Option<String>,
    pub(super) add_bos: Option<bool>,
    pub(super) add_eos: Option<bool>,
    /// Ids that end an answer (`generation_config.json`, else `config.json`).
    pub(super) eos_ids: Vec<TokenId>,
    pub(super) chat_template: Option<String>,
}

#[derive(Deserialize, Default)]
struct TokenizerConfig {
    bos_token: Option<NamedToken>,
    eos_token: Option<NamedToken>,
    unk_token: Option<NamedToken>,
    pad_token: Option<NamedToken>,
    add_bos_token: Option<bool>,
    add_eos_token: Option<bool>,
    chat_template: Option<ChatTemplates>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NamedToken {
    Text(String),
    Described { content: String },
}

impl NamedToken {
    fn text(self) -> String {
        match self {
            Self::Text(text) | Self::Described { content: text } => text,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ChatTemplates {
    One(String),
    Several(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

impl ChatTemplates {
    fn default_template(self) -> Option<String> {
        match self {
            Self::One(template) => Some(template),
            Self::Several(templates) => templates
                .into_iter()
                .find(|template| template.name == "default")
                .map(|template| template.template),
        }
    }
}

#[derive(Deserialize, Default)]
struct GenerationConfig {
    eos_token_id: Option<Ids>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(TokenId),
    Several(Vec<TokenId>),
}

impl Companions {
    /// Reads what is there in `folder`; files that are missing say nothing.
    pub(super) fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let config: TokenizerConfig = read_if_there(&folder.join("tokenizer_config.json"))?;
        let map: TokenizerConfig = read_if_there(&folder.join("special_tokens_map.json"))?;
        let mut generation: GenerationConfig =
            read_if_there(&folder.join("generation_config.json"))?;
        if generation.eos_token_id.is_none() {
            generation = read_if_there(&folder.join("config.json"))?;
        }
        let template_file = folder.join("chat_template.jinja");
        let chat_template = match read(&template_file) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if is_missing(&error) => {
                config.chat_template.and_then(ChatTemplates::default_template)
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            bos: config.bos_token.or(map.bos_token).map(NamedToken::text),
            eos: config.eos_token.or(map.eos_token).map(NamedToken::text),
            unknown: config.unk_token.or(map.unk_token).map(NamedToken::text),
            padding: config.pad_token.or(map.pad_token).map(NamedToken::text),
            add_bos: config.add_bos_token,
            add_eos: config.add_eos_token,
            eos_ids: match generation.eos_token_id {
                None => Vec::new(),
                Some(Ids::One(id)) => vec![id],
                Some(Ids::Several(ids)) => ids,
            },
            chat_template,
        })
    }
}

fn read_if_there<T: DeserializeOwned + Default>(path: &Path) -> Result<T, TokenizerError> {
    match read_json(path) {
        Err(error) if is_missing(&error) => Ok(T::default()),
        result => result,
    }
}

fn is_missing(error: &TokenizerError) -> bool {
    let gone = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
    matches!(error, TokenizerError::Read { source, .. } if gone.contains(&source.kind()))
}
