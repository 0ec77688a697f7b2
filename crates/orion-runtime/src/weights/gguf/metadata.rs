//! GGUF metadata: keys with typed values, and getters whose errors name the key.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::weights::{LoadError, Place};

/// One metadata value.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants are the format's types by their own names")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// An array of values of one type; arrays nest.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants are the format's types by their own names")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<Array>),
}

impl Value {
    /// The type, in words for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::U8(_) => "u8",
            Self::I8(_) => "i8",
            Self::U16(_) => "u16",
            Self::I16(_) => "i16",
            Self::U32(_) => "u32",
            Self::I32(_) => "i32",
            Self::U64(_) => "u64",
            Self::I64(_) => "i64",
            Self::F32(_) => "f32",
            Self::F64(_) => "f64",
            Self::Bool(_) => "bool",
            Self::String(_) => "string",
            Self::Array(array) => array.kind(),
        }
    }

    /// Any integer value.
    fn integer(&self) -> Option<i128> {
        Some(match *self {
            Self::U8(value) => value.into(),
            Self::I8(value) => value.into(),
            Self::U16(value) => value.into(),
            Self::I16(value) => value.into(),
            Self::U32(value) => value.into(),
            Self::I32(value) => value.into(),
            Self::U64(value) => value.into(),
            Self::I64(value) => value.into(),
            _ => return None,
        })
    }
}

impl Array {
    /// The type, in words for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::U8(_) => "array of u8",
            Self::I8(_) => "array of i8",
            Self::U16(_) => "array of u16",
            Self::I16(_) => "array of i16",
            Self::U32(_) => "array of u32",
            Self::I32(_) => "array of i32",
            Self::U64(_) => "array of u64",
            Self::I64(_) => "array of i64",
            Self::F32(_) => "array of f32",
            Self::F64(_) => "array of f64",
            Self::Bool(_) => "array of bool",
            Self::String(_) => "array of strings",
            Self::Array(_) => "array of arrays",
        }
    }
}

/// A type that a metadata value can be read as.
pub trait FromValue<'a>: Sized {
    /// What is expected, in words for messages.
    const EXPECTED: &'static str;

    /// The value as this type; `None` if it is of another type or out of range.
    fn from_value(value: &'a Value) -> Option<Self>;
}

macro_rules! from_integer {
    ($($kind:ty: $words:literal),*) => { $(
        /// Any integer type of the file, if the number fits.
        impl FromValue<'_> for $kind {
            const EXPECTED: &'static str = $words;
            fn from_value(value: &Value) -> Option<Self> {
                value.integer()?.try_into().ok()
            }
        }
    )* };
}
from_integer!(u32: "a 32-bit count", u64: "a 64-bit count", usize: "a count", i32: "a 32-bit integer");

macro_rules! from_slice {
    ($($kind:ty = $variant:ident: $words:literal),*) => { $(
        impl<'a> FromValue<'a> for &'a [$kind] {
            const EXPECTED: &'static str = $words;
            fn from_value(value: &'a Value) -> Option<Self> {
                match value {
                    Value::Array(Array::$variant(values)) => Some(values),
                    _ => None,
                }
            }
        }
    )* };
}
from_slice!(
    String = String: "an array of strings",
    f32 = F32: "an array of f32",
    i32 = I32: "an array of i32",
    u32 = U32: "an array of u32",
    bool = Bool: "an array of bool",
    u8 = U8: "an array of u8"
);

impl FromValue<'_> for f32 {
    const EXPECTED: &'static str = "a real number";
    fn from_value(value: &Value) -> Option<Self> {
        match *value {
            Value::F32(value) => Some(value),
            Value::F64(value) => Some(value as Self),
            _ => None,
        }
    }
}

impl FromValue<'_> for bool {
    const EXPECTED: &'static str = "true or false";
    fn from_value(value: &Value) -> Option<Self> {
        match *value {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for &'a str {
    const EXPECTED: &'static str = "a string";
    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::String(value) => Some(value),
            _ => None,
        }
    }
}

/// All keys of a file with their values, in file order.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    path: PathBuf,
    values: IndexMap<String, Value>,
}

impl Metadata {
    /// No keys. `path` is the file that errors will name.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), values: IndexMap::new() }
    }

    /// The file that the metadata comes from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keys and values in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> + Clone {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Sets a key; returns the value that it had.
    pub fn insert(&mut self, key: impl Into<String>, value: Value) -> Option<Value> {
        self.values.insert(key.into(), value)
    }

    /// Removes a key and keeps the others in order.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.values.shift_remove(key)
    }

    /// The value as it stands in the file.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// The value as a `T`; `None` when the key is absent. A `u32` is `get::<u32>(key)`, the strings of an array are
    /// `get::<&[String]>(key)`.
    ///
    /// # Errors
    /// When the key holds another type, or a number that `T` cannot hold.
    pub fn get<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, LoadError> {
        let Some(value) = self.values.get(key) else { return Ok(None) };
        T::from_value(value).map(Some).ok_or_else(|| {
            let number = value.integer().map(|number| format!(" {number}")).unwrap_or_default();
            self.error(key, format!("expected {}, found {}{number}", T::EXPECTED, value.kind()))
        })
    }

    /// As [`Metadata::get`], for a key that the model cannot do without.
    ///
    /// # Errors
    /// When the key is absent or holds something else.
    pub fn require<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, LoadError> {
        self.get(key)?.ok_or_else(|| {
            self.error(key, format!("expected {}, but the key is missing", T::EXPECTED))
        })
    }

    fn error(&self, key: &str, rule: String) -> LoadError {
        LoadError::Setting { path: self.path.clone(), place: Place::Key(key.to_owned()), rule }
    }
}
