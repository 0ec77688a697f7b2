//! Reads GGUF. Every count and length is held against the bytes that are left before memory is taken for it.

use std::path::Path;

use orion_compiler::DType;

use super::{ALIGNMENT, ALIGNMENT_KEY, Array, MAGIC, MAX_AXES, Metadata, TENSOR_TYPES, Value, tag};
use crate::weights::{
    LoadError, MappedWeights, Place, WeightEntry,
    cursor::Cursor,
    error::Quoted,
    mapped::{self, Contents, EntryTable},
    stored_bytes,
};

/// Arrays in arrays deeper than this are refused; no known file nests at all.
const MAX_NESTING: usize = 4;
/// Longest key and tensor name. The format allows keys of 65,535 bytes and names of 64.
const MAX_NAME: usize = 65_535;

/// The parsed head of a file.
#[derive(Debug)]
pub struct Gguf {
    /// Format version, 2 or 3.
    pub version: u32,
    /// All keys and values.
    pub metadata: Metadata,
    table: EntryTable,
}

impl Gguf {
    /// The tensors, in file order.
    pub fn entries(&self) -> &[WeightEntry] {
        self.table.entries()
    }
}

/// Maps the file at `path` and reads its head.
///
/// # Errors
/// When it cannot be mapped, breaks a rule of the format, or holds tensors in types that Orion lacks.
pub fn open(path: &Path) -> Result<(Metadata, MappedWeights), LoadError> {
    read(path, mapped::map(path)?)
}

/// Reads the head of a file that the program was built with; `name` is for messages.
///
/// # Errors
/// As [`open`].
pub fn embedded(name: &Path, bytes: &'static [u8]) -> Result<(Metadata, MappedWeights), LoadError> {
    read(name, Contents::Embedded(bytes))
}

fn read(path: &Path, file: Contents) -> Result<(Metadata, MappedWeights), LoadError> {
    let gguf = parse(path, file.bytes())?;
    let weights = MappedWeights::new(path.to_owned(), vec![file], gguf.table, Vec::new());
    Ok((gguf.metadata, weights))
}

/// Reads the head of a GGUF file from its whole contents; `path` is for messages.
///
/// # Errors
/// As [`open`].
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Gguf, LoadError> {
    let mut cursor = Cursor::new(path, bytes);
    let version = read_version(&mut cursor)?;
    // The least that a tensor takes: name length, number of axes, type, offset; a key: its length, a type, a byte.
    let tensors = cursor.count(8 + 4 + 4 + 8, "number of tensors")?;
    let keys = cursor.count(8 + 4 + 1, "number of keys")?;
    let metadata = read_metadata(&mut cursor, keys)?;
    let alignment = read_alignment(&metadata)?;
    let heads =
        (0..tensors).map(|_| TensorHead::read(&mut cursor)).collect::<Result<Vec<_>, _>>()?;
    let data_start = cursor
        .offset()
        .checked_next_multiple_of(alignment)
        .ok_or_else(|| cursor.error_at(cursor.offset(), "the head is too long"))?;
    let mut table = EntryTable::default();
    for head in heads {
        table.insert(path, head.place(path, data_start, alignment, bytes.len())?)?;
    }
    table.reject_overlaps(path)?;
    Ok(Gguf { version, metadata, table })
}

fn read_version(cursor: &mut Cursor<'_>) -> Result<u32, LoadError> {
    if cursor.array("magic")? != MAGIC {
        return Err(cursor.error_at(0, "a GGUF file starts with `GGUF`"));
    }
    let at = cursor.offset();
    let version = cursor.u32("version")?;
    let unsupported = |found: String, remedy| LoadError::Unsupported {
        path: cursor.path().to_owned(),
        place: Place::Offset(at as u64),
        found,
        remedy,
    };
    match version {
        2 | 3 => Ok(version),
        _ if matches!(version.swap_bytes(), 1..=3) => Err(unsupported(
            "big-endian GGUF".to_owned(),
            "convert the model again for a little-endian machine",
        )),
        1 => Err(unsupported(
            "GGUF version 1".to_owned(),
            "convert the model again; versions 2 and 3 are read",
        )),
        _ => Err(unsupported(
            format!("GGUF version {version}"),
            "versions 2 and 3 are read; convert the model to one of them",
        )),
    }
}

fn read_metadata(cursor: &mut Cursor<'_>, keys: usize) -> Result<Metadata, LoadError> {
    let mut metadata = Metadata::new(cursor.path());
    for _ in 0..keys {
        let start = cursor.offset();
        let key = read_name(cursor, "a metadata key")?;
        let value = read_value(cursor, key)?;
        if metadata.insert(key, value).is_some() {
            return Err(cursor.error_at(start, format!("key {} occurs twice", Quoted(key))));
        }
    }
    Ok(metadata)
}

fn read_name<'a>(cursor: &mut Cursor<'a>, what: &str) -> Result<&'a str, LoadError> {
    let start = cursor.offset();
    let name = cursor.string(what)?;
    if name.is_empty() || name.len() > MAX_NAME {
        let len = name.len();
        return Err(
            cursor.error_at(start, format!("{what} has 1 to {MAX_NAME} bytes, this one has {len}"))
        );
    }
    Ok(name)
}

fn read_value(cursor: &mut Cursor<'_>, key: &str) -> Result<Value, LoadError> {
    let what = format!("the value of {}", Quoted(key));
    let what = what.as_str();
    let at = cursor.offset();
    Ok(match cursor.u32(what)? {
        tag::U8 => Value::U8(u8::from_le_bytes(cursor.array(what)?)),
        tag::I8 => Value::I8(i8::from_le_bytes(cursor.array(what)?)),
        tag::U16 => Value::U16(u16::from_le_bytes(cursor.array(what)?)),
        tag::I16 => Value::I16(i16::from_le_bytes(cursor.array(what)?)),
        tag::U32 => Value::U32(u32::from_le_bytes(cursor.array(what)?)),
        tag::I32 => Value::I32(i32::from_le_bytes(cursor.array(what)?)),
        tag::U64 => Value::U64(u64::from_le_bytes(cursor.array(what)?)),
        tag::I64 => Value::I64(i64::from_le_bytes(cursor.array(what)?)),
        tag::F32 => Value::F32(f32::from_le_bytes(cursor.array(what)?)),
        tag::F64 => Value::F64(f64::from_le_bytes(cursor.array(what)?)),
        tag::BOOL => Value::Bool(read_bool(cursor, what)?),
        tag::STRING => Value::String(cursor.string(what)?.to_owned()),
        tag::ARRAY => Value::Array(read_array(cursor, what, MAX_NESTING)?),
        other => return Err(unknown_tag(cursor, at, what, other)),
    })
}

fn read_bool(cursor: &mut Cursor<'_>, what: &str) -> Result<bool, LoadError> {
    let at = cursor.offset();
    match cursor.array(what)? {
        [0] => Ok(false),
        [1] => Ok(true),
        [other] => {
            Err(cursor.error_at(at, format!("{what} is true or false, 1 or 0, not {other}")))
        }
    }
}

fn unknown_tag(cursor: &Cursor<'_>, at: usize, what: &str, tag: u32) -> LoadError {
    cursor.error_at(at, format!("{what} has type {tag}; types are 0 to 12"))
}

fn read_array(cursor: &mut Cursor<'_>, what: &str, depth: usize) -> Result<Array, LoadError> {
    let at = cursor.offset();
    if depth == 0 {
        return Err(
            cursor.error_at(at, format!("{what} nests arrays more than {MAX_NESTING} deep"))
        );
    }
    Ok(match cursor.u32(what)? {
        tag::U8 => Array::U8(read_numbers(cursor, what, u8::from_le_bytes)?),
        tag::I8 => Array::I8(read_numbers(cursor, what, i8::from_le_bytes)?),
        tag::U16 => Array::U16(read_numbers(cursor, what, u16::from_le_bytes)?),
        tag::I16 => Array::I16(read_numbers(cursor, what, i16::from_le_bytes)?),
        tag::U32 => Array::U32(read_numbers(cursor, what, u32::from_le_bytes)?),
        tag::I32 => Array::I32(read_numbers(cursor, what, i32::from_le_bytes)?),
        tag::U64 => Array::U64(read_numbers(cursor, what, u64::from_le_bytes)?),
        tag::I64 => Array::I64(read_numbers(cursor, what, i64::from_le_bytes)?),
        tag::F32 => Array::F32(read_numbers(cursor, what, f32::from_le_bytes)?),
        tag::F64 => Array::F64(read_numbers(cursor, what, f64::from_le_bytes)?),
        tag::BOOL => {
            let count = cursor.count(1, what)?;
            Array::Bool((0..count).map(|_| read_bool(cursor, what)).collect::<Result<_, _>>()?)
        }
        tag::STRING => {
            let count = cursor.count(8, what)?;
            let strings = (0..count).map(|_| cursor.string(what).map(str::to_owned));
            Array::String(strings.collect::<Result<_, _>>()?)
        }
        tag::ARRAY => {
            let count = cursor.count(4 + 8, what)?;
            let arrays = (0..count).map(|_| read_array(cursor, what, depth - 1));
            Array::Array(arrays.collect::<Result<_, _>>()?)
        }
        other => return Err(unknown_tag(cursor, at, what, other)),
    })
}

fn read_numbers<T, const N: usize>(
    cursor: &mut Cursor<'_>,
    what: &str,
    from_le_bytes: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, LoadError> {
    let count = cursor.count(N, what)?;
    let bytes = cursor.take(count * N, what)?;
    Ok(bytes.as_chunks().0.iter().map(|&number| from_le_bytes(number)).collect())
}

fn read_alignment(metadata: &Metadata) -> Result<usize, LoadError> {
    let alignment = metadata.get::<u32>(ALIGNMENT_KEY)?.map_or(ALIGNMENT, |value| value as usize);
    if !alignment.is_power_of_two() {
        return Err(LoadError::malformed(
            metadata.path(),
            Place::Key(ALIGNMENT_KEY.to_owned()),
            format!("the alignment is a power of two, not {alignment}"),
        ));
    }
    Ok(alignment)
}

/// What the head of the file says about a tensor.
struct TensorHead<'a> {
    name: &'a str,
    dtype: DType,
    /// Outermost first.
    shape: Vec<usize>,
    /// From the start of the data.
    offset: u64,
}

impl<'a> TensorHead<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Self, LoadError> {
        let name = read_name(cursor, "a tensor's name")?;
        let path = cursor.path();
        let broken =
            |rule: String| LoadError::malformed(path, Place::Tensor(name.to_owned()), rule);
        let axes = cursor.u32("a tensor's number of axes")? as usize;
        if axes > MAX_AXES {
            return Err(broken(format!(
                "a tensor has at most {MAX_AXES} axes, this one has {axes}"
            )));
        }
        let mut shape = Vec::with_capacity(axes);
        for _ in 0..axes {
            let len = u64::from_le_bytes(cursor.array("the length of an axis")?);
            shape.push(usize::try_from(len).map_err(|_| broken(format!("axis of length {len}")))?);
        }
        shape.reverse();
        let id = cursor.u32("a tensor's type")?;
        let dtype = TENSOR_TYPES.iter().find(|(known, _)| *known == id).map(|(_, dtype)| *dtype);
        let Some(dtype) = dtype else {
            return Err(LoadError::Unsupported {
                path: path.to_owned(),
                place: Place::Tensor(name.to_owned()),
                found: format!("GGUF tensor type {id}"),
                remedy: "use a file in F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K",
            });
        };
        let offset = u64::from_le_bytes(cursor.array("a tensor's offset")?);
        Ok(Self { name, dtype, shape, offset })
    }

    /// Checks that the data lies in the file.
    fn place(
        self,
        path: &Path,
        data_start: usize,
        alignment: usize,
        file_len: usize,
    ) -> Result<WeightEntry, LoadError> {
        let Self { name, dtype, shape, offset } = self;
        let broken = |rule| LoadError::malformed(path, Place::Tensor(name.to_owned()), rule);
        let Some(len) = stored_bytes(dtype, &shape) else {
            let block = dtype.block_len();
            return Err(broken(format!(
                "{dtype} of shape {shape:?}: rows are whole blocks of {block} and the size fits the address space"
            )));
        };
        let start = usize::try_from(offset)
            .ok()
            .filter(|offset| offset.is_multiple_of(alignment))
            .and_then(|offset| data_start.checked_add(offset));
        let Some(start) = start else {
            return Err(broken(format!(
                "offset {offset} is no multiple of the alignment {alignment}"
            )));
        };
        match start.checked_add(len) {
            Some(end) if end <= file_len => {
                Ok(WeightEntry { name: name.to_owned(), dtype, shape, part: 0, range: start..end })
            }
            _ => Err(broken(format!(
                "its {len} bytes start at byte {start}, and the file has {file_len} bytes"
            ))),
        }
    }
}
