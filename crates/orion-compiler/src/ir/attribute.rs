//! Attributes: the constants that an operation carries, and their text form `{axis = -1, keep = true}`. The
//! [`attributes!`](crate::attributes) macro declares an operation's struct and gives it this form, so no operation
//! has a parser or printer of its own.

use std::fmt;

use crate::DType;

/// A constant as it stands in text.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// `true`, `bf16`, `tanh`: one word.
    Word(String),
    /// A whole number.
    Int(i64),
    /// A number with a fraction or exponent, or `inf`, `-inf`, `nan`.
    Float(f64),
    /// `[1, 2, 3]`.
    List(Vec<Attribute>),
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Int(value) => write!(f, "{value}"),
            // `{:?}` is the shortest text that reads back as the same number.
            Self::Float(value) if value.is_finite() => write!(f, "{value:?}"),
            Self::Float(value) if value.is_nan() => f.write_str("nan"),
            Self::Float(value) => f.write_str(if *value > 0.0 { "inf" } else { "-inf" }),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// A field type that can stand in an attribute.
pub trait AttributeValue: Sized {
    /// What the text must be, for error messages.
    const EXPECTED: &'static str;
    /// The value as text would say it.
    fn to_attribute(&self) -> Attribute;
    /// The value back; `None` when the text says something else.
    fn from_attribute(attribute: &Attribute) -> Option<Self>;
    /// Appends the value bit for bit; what other values append is no beginning of that.
    fn write_bits(&self, out: &mut Vec<u8>);
}

impl AttributeValue for bool {
    const EXPECTED: &'static str = "true or false";

    fn to_attribute(&self) -> Attribute {
        Attribute::Word(self.to_string())
    }

    fn from_attribute(attribute: &Attribute) -> Option<Self> {
        match attribute {
            Attribute::Word(word) => word.parse().ok(),
            _ => None,
        }
    }

    fn write_bits(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl AttributeValue for i64 {
    const EXPECTED: &'static str = "a whole number";

    fn to_attribute(&self) -> Attribute {
        Attribute::Int(*self)
    }

    fn from_attribute(attribute: &Attribute) -> Option<Self> {
        match attribute {
            Attribute::Int(value) => Some(*value),
            _ => None,
        }
    }

    fn write_bits(&self, out: &mut Vec<u8>) {
        out.extend(self.to_ne_bytes());
    }
}

impl AttributeValue for usize {
    const EXPECTED: &'static str = "a whole number that is not negative";

    fn to_attribute(&self) -> Attribute {
        Attribute::Int(*self as i64)
    }

    fn from_attribute(attribute: &Attribute) -> Option<Self> {
        i64::from_attribute(attribute).and_then(|value| Self::try_from(value).ok())
    }

    fn write_bits(&self, out: &mut Vec<u8>) {
        out.extend(self.to_ne_bytes());
    }
}

impl AttributeValue for f64 {
    const EXPECTED: &'static str = "a number";

    fn to_attribute(&self) -> Attribute {
        Attribute::Float(*self)
    }

    fn from_attribute(attribute: &Attribute) -> Option<Self> {
        match attribute {
            Attribute::Float(value) => Some(*value),
            Attribute::Int(value) => Some(*value as Self),
            _ => None,
        }
    }

    fn write_bits(&self, out: &mut Vec<u8>) {
        out.extend(self.to_bits().to_ne_bytes());
    }
}

impl AttributeValue for DType {
    const EXPECTED: &'static str = "an element type such as f32 or i32";

    fn to_attribute(&self) -> Attribute {
        Attribute::Word(self.name().to_owned())
    }

    fn from_attribute(attribute: &Attribute) -> Option<Self> {
        match attribute {
            Attribute::Word(word) => word.parse().ok(),
            _ => None,
        }
    }

    fn write_bits(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
}

impl<T: AttributeValue> AttributeValue for Vec<T> {
    const EXPECTED: &'static str = "a list in brackets";

    fn to_attribute(&self) -> Attribute {
        Attribute::List(self.iter().map(AttributeValue::to_attribute).collect())
    }

    fn from_attribute(attribute: &Attribute) -> Option<Self> {
        match attribute {
            Attribute::List(items) => items.iter().map(T::from_attribute).collect(),
            _ => None,
        }
    }

    fn write_bits(&self, out: &mut Vec<u8>) {
        self.len().write_bits(out);
        self.iter().for_each(|item| item.write_bits(out));
    }
}

/// What the attribute list of an operation in text got wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AttributeError(pub String);

/// The constants of one operation, readable and writable as text.
pub trait Attributes: Sized {
    /// What the operation does: the documentation of its struct, a line each.
    const ABOUT: &'static [&'static str];
    /// Every field in declaration order, with its documentation.
    const FIELDS: &'static [(&'static str, &'static [&'static str])];
    /// All fields in declaration order.
    fn write(&self) -> Vec<(&'static str, Attribute)>;
    /// Appends all fields bit for bit: two of one operation that append the same are the same.
    fn write_bits(&self, out: &mut Vec<u8>);
    /// The operation from its fields; every field must be there and no other.
    fn read(fields: &[(String, Attribute)]) -> Result<Self, AttributeError>;
}

/// Takes one field out of a parsed attribute list.
pub fn read_field<T: AttributeValue>(
    fields: &[(String, Attribute)],
    name: &str,
) -> Result<T, AttributeError> {
    let (_, attribute) = fields
        .iter()
        .find(|(field, _)| field == name)
        .ok_or_else(|| AttributeError(format!("attribute `{name}` is missing")))?;
    T::from_attribute(attribute).ok_or_else(|| {
        AttributeError(format!("attribute `{name}` must be {}, found {attribute}", T::EXPECTED))
    })
}

/// Refuses attributes that the operation does not have, and repeated ones.
pub fn refuse_unknown(
    fields: &[(String, Attribute)],
    known: &[&str],
) -> Result<(), AttributeError> {
    for (index, (name, _)) in fields.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            let list = if known.is_empty() {
                "it has none".to_owned()
            } else {
                format!("it has {}", known.join(", "))
            };
            return Err(AttributeError(format!("no attribute `{name}` here: {list}")));
        }
        if fields[..index].iter().any(|(earlier, _)| earlier == name) {
            return Err(AttributeError(format!("attribute `{name}` is given twice")));
        }
    }
    Ok(())
}

/// Declares the struct of an operation and its attributes' text form.
#[macro_export]
macro_rules! attributes {
    ($(#[doc = $doc:literal])* pub struct $name:ident { $($(#[doc = $field_doc:literal])* pub $field:ident: $ty:ty),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $($(#[doc = $field_doc])* pub $field: $ty),* }

        impl $crate::ir::attribute::Attributes for $name {
            const ABOUT: &'static [&'static str] = &[$($doc),*];
            const FIELDS: &'static [(&'static str, &'static [&'static str])] =
                &[$((stringify!($field), &[$($field_doc),*])),*];

            fn write(&self) -> Vec<(&'static str, $crate::ir::attribute::Attribute)> {
                vec![$((stringify!($field), $crate::ir::attribute::AttributeValue::to_attribute(&self.$field))),*]
            }

            #[allow(unused_variables, reason = "an operation may have no attributes")]
            fn write_bits(&self, out: &mut Vec<u8>) {
                $($crate::ir::attribute::AttributeValue::write_bits(&self.$field, out);)*
            }

            fn read(
                fields: &[(String, $crate::ir::attribute::Attribute)],
            ) -> Result<Self, $crate::ir::attribute::AttributeError> {
                $crate::ir::attribute::refuse_unknown(fields, &[$(stringify!($field)),*])?;
                Ok(Self { $($field: $crate::ir::attribute::read_field(fields, stringify!($field))?),* })
            }
        }
    };
}
