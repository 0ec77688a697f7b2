//! Hugging Face folders: `config.json` and the weights in one or several safetensors files.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{LoadError, MappedWeights, Place, mapped, mapped::EntryTable, safetensors};

/// The configuration's file name.
pub const CONFIG: &str = "config.json";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// No sensible `config.json` or index is larger.
const MAX_JSON: u64 = 64 << 20;

/// Reads the configuration and maps the weights of the model in `folder`.
///
/// # Errors
/// When a file is missing, cannot be read, or breaks a rule of its format.
pub fn open(folder: &Path) -> Result<(Map<String, Value>, MappedWeights), LoadError> {
    let index = folder.join(INDEX);
    let single = folder.join(SINGLE);
    let weights = if index.exists() {
        open_sharded(folder, &index)?
    } else if single.exists() {
        safetensors::open(&single)?
    } else {
        return Err(no_model(folder));
    };
    Ok((read_config(&folder.join(CONFIG))?, weights))
}

/// Reads a `config.json`.
///
/// # Errors
/// When it is missing or no JSON object.
pub fn read_config(path: &Path) -> Result<Map<String, Value>, LoadError> {
    if !path.exists() {
        return Err(LoadError::NotAModel {
            path: path.to_owned(),
            found: "the file is missing".to_owned(),
            remedy: "put the model's config.json beside its weights",
        });
    }
    read_json(path)
}

/// The shards' index: which file holds which tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

fn open_sharded(folder: &Path, index_path: &Path) -> Result<MappedWeights, LoadError> {
    let Index { weight_map } = read_json(index_path)?;
    let mut shards: BTreeMap<&str, usize> = BTreeMap::new();
    for (tensor, shard) in &weight_map {
        let mut parts = Path::new(shard).components();
        // An index must not lead out of its folder.
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return Err(LoadError::malformed(
                index_path,
                Place::Tensor(tensor.clone()),
                format!("{shard:?} is no name of a file in the same folder"),
            ));
        }
        let next = shards.len();
        shards.entry(shard).or_insert(next);
    }
    let mut files = Vec::with_capacity(shards.len());
    let mut table = EntryTable::default();
    let mut skipped = Vec::new();
    let mut order: Vec<(usize, &str)> =
        shards.iter().map(|(shard, part)| (*part, *shard)).collect();
    order.sort_unstable();
    let mut found: HashMap<String, usize> = HashMap::new();
    for (part, shard) in order {
        let path = folder.join(shard);
        let file = mapped::map(&path)?;
        let head = safetensors::parse_head(&path, file.bytes(), part)?;
        // What the index places elsewhere, or does not list, is no part of the model.
        let listed = |name: &str| weight_map.get(name).is_some_and(|file| file == shard);
        for entry in head.entries.into_iter().filter(|entry| listed(&entry.name)) {
            found.insert(entry.name.clone(), part);
            table.insert(&path, entry)?;
        }
        for entry in head.skipped.into_iter().filter(|entry| listed(&entry.name)) {
            found.insert(entry.name.clone(), part);
            skipped.push(entry);
        }
        files.push(file);
    }
    if let Some((tensor, shard)) =
        weight_map.iter().find(|(tensor, _)| !found.contains_key(*tensor))
    {
        return Err(LoadError::malformed(
            &folder.join(shard),
            Place::Tensor(tensor.clone()),
            format!("{INDEX} places it in this file, which lacks it"),
        ));
    }
    Ok(MappedWeights::new(folder.to_owned(), files, table, skipped))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, LoadError> {
    let metadata = std::fs::metadata(path).map_err(LoadError::io(path))?;
    if !metadata.is_file() || metadata.len() > MAX_JSON {
        let rule = format!("a JSON file of at most {MAX_JSON} bytes is expected here");
        return Err(LoadError::malformed(path, Place::File, rule));
    }
    let text = std::fs::read(path).map_err(LoadError::io(path))?;
    serde_json::from_slice(&text).map_err(|error| {
        LoadError::malformed(path, Place::File, format!("not the expected JSON: {error}"))
    })
}

/// Looks for what people have instead, to say what to do about it.
fn no_model(folder: &Path) -> LoadError {
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())))
        .collect();
    names.sort();
    let with_extension = |wanted: &str| {
        names.iter().find(|name| name.extension().is_some_and(|found| found == wanted))
    };
    let (found, remedy) = if let Some(name) = with_extension("gguf") {
        (format!("a folder with {}", name.display()), "give the .gguf file itself")
    } else if let Some(name) = with_extension("safetensors") {
        (
            format!("a folder with {} but neither {SINGLE} nor {INDEX}", name.display()),
            "give the .safetensors file itself, or add the index",
        )
    } else if let Some(name) = with_extension("bin").or(with_extension("pth")) {
        (
            format!("a folder with {} but no safetensors file", name.display()),
            "give a llama2.c checkpoint by its own path; convert a PyTorch checkpoint to safetensors",
        )
    } else {
        (
            format!("a folder without {SINGLE} and {INDEX}"),
            "give a folder with config.json and safetensors weights, a .gguf or a llama2.c .bin file",
        )
    };
    LoadError::NotAModel { path: folder.to_owned(), found, remedy }
}
