//! Recognises a model by what is at its path, and opens it.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value};

use super::{LoadError, WeightSource, gguf, hugging_face, llama2c, safetensors};

/// An opened model: what describes it, and its weights.
#[derive(Clone)]
pub struct ModelFile {
    /// The path that was opened.
    pub path: PathBuf,
    /// Configuration, and for GGUF the tokenizer with it.
    pub description: Description,
    /// The tensors, still in their files.
    pub weights: Arc<dyn WeightSource>,
}

/// What a model file says about its model, in its own terms.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Description {
    /// `config.json`; the tokenizer's files lie in the same folder.
    HuggingFace {
        /// The object in `config.json`.
        config: Map<String, Value>,
        /// The folder that holds it.
        folder: PathBuf,
    },
    /// GGUF's metadata: configuration, vocabulary and chat template.
    Gguf(gguf::Metadata),
    /// A llama2.c checkpoint. Its tensors have Hugging Face names, but neighbouring rotary pairs.
    Llama2c {
        /// The header, under the names of `config.json`.
        config: Map<String, Value>,
    },
}

/// Opens the model at `path`: a Hugging Face folder, a `.safetensors` file with `config.json` beside it, a GGUF file
/// or a llama2.c checkpoint. Files are told apart by their first bytes, and by their names only where those say
/// nothing.
///
/// # Errors
/// When there is nothing at the path, nothing that is known, or a file that breaks its format's rules.
pub fn open(path: &Path) -> Result<ModelFile, LoadError> {
    let metadata = std::fs::metadata(path).map_err(LoadError::io(path))?;
    let (description, weights) = if metadata.is_dir() {
        let (config, weights) = hugging_face::open(path)?;
        (Description::HuggingFace { config, folder: path.to_owned() }, weights)
    } else if !metadata.is_file() {
        return Err(not_a_model(
            path,
            "neither a file nor a folder",
            "give a model file or folder",
        ));
    } else {
        match detect(path)? {
            Format::Gguf => {
                let (metadata, weights) = gguf::open(path)?;
                reject_split(&metadata)?;
                (Description::Gguf(metadata), weights)
            }
            Format::Safetensors => {
                let folder = path.parent().unwrap_or(Path::new("")).to_owned();
                let weights = safetensors::open(path)?;
                let config = hugging_face::read_config(&folder.join(hugging_face::CONFIG))?;
                (Description::HuggingFace { config, folder }, weights)
            }
            Format::Llama2c => {
                let (config, weights) = llama2c::open(path)?;
                (Description::Llama2c { config }, weights)
            }
        }
    };
    Ok(ModelFile { path: path.to_owned(), description, weights: Arc::new(weights) })
}

/// Opens a GGUF file that the program was built with; messages call it `name`.
///
/// # Errors
/// When it breaks its format's rules.
pub fn open_embedded(name: &Path, bytes: &'static [u8]) -> Result<ModelFile, LoadError> {
    let (metadata, weights) = gguf::embedded(name, bytes)?;
    let description = Description::Gguf(metadata);
    Ok(ModelFile { path: name.to_owned(), description, weights: Arc::new(weights) })
}

enum Format {
    Gguf,
    Safetensors,
    Llama2c,
}

/// Files that people often have instead of a model: first bytes, what it is, what to do.
const STRANGERS: &[(&[u8], &str, &str)] = &[
    (
        b"PK\x03\x04",
        "a zip archive, such as a PyTorch checkpoint",
        "convert it to safetensors, or unpack it",
    ),
    (b"\x80\x02", "a Python pickle, such as a PyTorch checkpoint", "convert it to safetensors"),
    (b"\x1f\x8b", "a gzip archive", "unpack it"),
    (b"FUGG", "a big-endian GGUF file", "convert the model for little-endian machines"),
    (b"lmgg", "a GGML file of 2023", "convert the model to GGUF"),
    (b"tjgg", "a GGJT file of 2023", "convert the model to GGUF"),
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the file that it points to",
        "fetch the file with `git lfs pull`",
    ),
    (b"<!DOCTYPE", "a web page", "download the file itself"),
    (b"<html", "a web page", "download the file itself"),
];

fn detect(path: &Path) -> Result<Format, LoadError> {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(64).read_to_end(&mut start))
        .map_err(LoadError::io(path))?;
    if start.is_empty() {
        return Err(not_a_model(path, "the file is empty", "download or convert it again"));
    }
    for (magic, found, remedy) in STRANGERS {
        if start.starts_with(magic) {
            return Err(not_a_model(path, found, remedy));
        }
    }
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let named = |wanted| extension.eq_ignore_ascii_case(wanted);
    if start.starts_with(b"GGUF") {
        Ok(Format::Gguf)
    } else if start.starts_with(&llama2c::MAGIC) {
        Ok(Format::Llama2c)
    } else if start.get(8) == Some(&b'{') && !named("bin") {
        // A `.bin` of version 0 has no magic, and this byte when it has 123 layers.
        Ok(Format::Safetensors)
    } else if named("gguf") {
        Ok(Format::Gguf)
    } else if named("safetensors") {
        Ok(Format::Safetensors)
    } else if named("bin") {
        Ok(Format::Llama2c)
    } else {
        Err(not_a_model(
            path,
            "the file is neither GGUF, safetensors nor a llama2.c checkpoint",
            "give a .gguf, .safetensors or llama2.c .bin file, or a Hugging Face folder",
        ))
    }
}

/// A GGUF file that is one of several holds part of the tensors only.
fn reject_split(metadata: &gguf::Metadata) -> Result<(), LoadError> {
    match metadata.get::<u32>("split.count")? {
        Some(count) if count > 1 => Err(not_a_model(
            metadata.path(),
            &format!("one of the {count} parts of a split model"),
            "join the parts with `llama-gguf-split --merge`",
        )),
        _ => Ok(()),
    }
}

fn not_a_model(path: &Path, found: &str, remedy: &'static str) -> LoadError {
    LoadError::NotAModel { path: path.to_owned(), found: found.to_owned(), remedy }
}
