//! Just enough of the protobuf wire format to read a SentencePiece model: fields by number.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

use super::super::error::Fault;

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'b> {
    /// int32, int64, bool, enum.
    Varint(u64),
    /// float.
    Fixed32([u8; 4]),
    /// double; no field of interest has this type.
    Fixed64,
    /// string, bytes, message.
    Bytes(&'b [u8]),
}

impl<'b> Value<'b> {
    pub(super) fn bytes(self) -> Option<&'b [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    pub(super) fn float(self) -> Option<f32> {
        if let Self::Fixed32(bytes) = self { Some(f32::from_le_bytes(bytes)) } else { None }
    }

    pub(super) fn integer(self) -> Option<u64> {
        if let Self::Varint(number) = self { Some(number) } else { None }
    }

    pub(super) fn text(self) -> Option<&'b str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

/// The fields of a message in file order. After an error there are no more.
pub(super) struct Fields<'b> {
    message: &'b [u8],
    position: usize,
    /// Offset of the message in the file, for errors.
    base: usize,
}

impl<'b> Fields<'b> {
    pub(super) fn new(message: &'b [u8], base: usize) -> Self {
        Self { message, position: 0, base }
    }

    /// Offset in the file of the next byte.
    pub(super) fn offset(&self) -> usize {
        self.base + self.position
    }

    fn take(&mut self, count: u64) -> Option<&'b [u8]> {
        let end = self.position.checked_add(usize::try_from(count).ok()?)?;
        let bytes = self.message.get(self.position..end)?;
        self.position = end;
        Some(bytes)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn field(&mut self) -> Option<(u64, Value<'b>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed64)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(self.take(4)?.try_into().ok()?),
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = Result<(u64, Value<'b>), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.position >= self.message.len() {
            return None;
        }
        let start = self.offset();
        Some(self.field().ok_or_else(|| {
            self.position = self.message.len();
            Fault::new(format!("byte {start}"), "truncated, or not a SentencePiece model")
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_order() {
        // The specification's own examples: field 1 = 150, field 2 = "testing".
        let message = b"\x08\x96\x01\x12\x07testing";
        let fields: Vec<_> = Fields::new(message, 0).map(|field| field.expect("valid")).collect();
        assert_eq!(fields, [(1, Value::Varint(150)), (2, Value::Bytes(b"testing"))]);
    }

    #[test]
    fn a_length_beyond_the_end_names_the_offset() {
        let fault = Fields::new(b"\x08\x01\x12\xFF\xFF\x03", 100).last().and_then(Result::err);
        assert_eq!(fault.expect("an error").place, "byte 102");
    }
}
