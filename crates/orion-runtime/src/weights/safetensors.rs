//! safetensors: a JSON head with name, type, shape and byte range of each tensor, then the data
//! (<https://github.com/huggingface/safetensors#format>).
//!
//! The head's grammar is the `safetensors` crate's; the checks are here, because a refusal has to name the tensor and
//! because the crate keeps one of two tensors of the same name in silence.

use std::{fmt, path::Path};

use orion_compiler::DType;
use safetensors::{Dtype, tensor::TensorInfo};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{
    LoadError, MappedWeights, Place, SkippedEntry, WeightEntry,
    cursor::Cursor,
    mapped::{self, EntryTable},
};

/// The format's own limit for the head.
const MAX_HEAD: usize = 100_000_000;

/// More axes than any weight has.
const MAX_AXES: usize = 8;

/// The parsed head of a file.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) entries: Vec<WeightEntry>,
    pub(crate) skipped: Vec<SkippedEntry>,
}

/// Maps the file at `path` and reads its head.
///
/// # Errors
/// When it cannot be mapped or breaks a rule of the format.
pub fn open(path: &Path) -> Result<MappedWeights, LoadError> {
    let file = mapped::map(path)?;
    let head = parse_head(path, file.bytes(), 0)?;
    let mut table = EntryTable::default();
    for entry in head.entries {
        table.insert(path, entry)?;
    }
    Ok(MappedWeights::new(path.to_owned(), vec![file], table, head.skipped))
}

/// Reads the head of a safetensors file from its whole contents; `path` is for messages.
///
/// # Errors
/// As [`open`].
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<WeightEntry>, LoadError> {
    parse_head(path, bytes, 0).map(|head| head.entries)
}

/// As [`parse`], with entries of the given part.
pub(crate) fn parse_head(path: &Path, bytes: &[u8], part: usize) -> Result<Head, LoadError> {
    let mut cursor = Cursor::new(path, bytes);
    let len = cursor.count(1, "length of the head")?;
    if len > MAX_HEAD {
        return Err(cursor.error_at(0, format!("the head has {len} bytes, more than {MAX_HEAD}")));
    }
    let json = cursor.take(len, "head")?;
    let data_start = cursor.offset();
    let data_len = cursor.remaining();
    let TensorList(mut tensors) = serde_json::from_slice(json)
        .map_err(|error| cursor.error_at(8, format!("the head is not valid: {error}")))?;
    // The format leaves neither holes nor overlaps: sorted by position, each tensor starts where the last one ended.
    tensors.sort_by_key(|(_, tensor)| tensor.data_offsets);
    let mut head = Head::default();
    let mut expected_start = 0;
    for (name, tensor) in tensors {
        let (start, end) = tensor.data_offsets;
        let broken = |rule| LoadError::malformed(path, Place::Tensor(name.clone()), rule);
        if tensor.shape.len() > MAX_AXES {
            let axes = tensor.shape.len();
            return Err(broken(format!("it has {axes} axes, more than {MAX_AXES}")));
        }
        let bits = tensor
            .shape
            .iter()
            .try_fold(tensor.dtype.bitsize(), |product, &len| product.checked_mul(len));
        let Some(len) = bits.filter(|bits| bits.is_multiple_of(8)).map(|bits| bits / 8) else {
            return Err(broken(format!(
                "the size of {} {:?} is no number of bytes",
                tensor.dtype, tensor.shape
            )));
        };
        if start != expected_start || end < start || end > data_len {
            return Err(broken(format!(
                "data_offsets [{start}, {end}] have to start at {expected_start}, where the tensor before ends, \
                 and stay within the {data_len} bytes of data"
            )));
        }
        if end - start != len {
            return Err(broken(format!(
                "{} of shape {:?} takes {len} bytes and data_offsets [{start}, {end}] give {}",
                tensor.dtype,
                tensor.shape,
                end - start
            )));
        }
        expected_start = end;
        match dtype(tensor.dtype) {
            Some(dtype) => head.entries.push(WeightEntry {
                name,
                dtype,
                shape: tensor.shape,
                part,
                range: data_start + start..data_start + end,
            }),
            None => head.skipped.push(SkippedEntry { name, stored_as: tensor.dtype.to_string() }),
        }
    }
    if expected_start != data_len {
        return Err(LoadError::malformed(
            path,
            Place::File,
            format!("the tensors take {expected_start} bytes of data and the file has {data_len}"),
        ));
    }
    reject_duplicates(path, &head)?;
    Ok(head)
}

fn reject_duplicates(path: &Path, head: &Head) -> Result<(), LoadError> {
    let mut names: Vec<&str> = head.entries.iter().map(|entry| entry.name.as_str()).collect();
    names.extend(head.skipped.iter().map(|skipped| skipped.name.as_str()));
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(LoadError::malformed(
            path,
            Place::Tensor(pair[0].to_owned()),
            "the name occurs twice",
        )),
        None => Ok(()),
    }
}

const fn dtype(stored: Dtype) -> Option<DType> {
    Some(match stored {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I32 => DType::I32,
        Dtype::BOOL => DType::Bool,
        _ => return None,
    })
}

/// The head's object as a list, so that a name that occurs twice is seen.
struct TensorList(Vec<(String, TensorInfo)>);

impl<'de> Deserialize<'de> for TensorList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = TensorList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TensorList, A::Error> {
                let mut tensors = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        tensors.push((name, map.next_value()?));
                    }
                }
                Ok(TensorList(tensors))
            }
        }
        deserializer.deserialize_map(ListVisitor)
    }
}
