//! Messages in the wire format of protocol buffers: as much of it as a writer needs. Fields appear in the order in which they
//! are written, so that the same program gives the same bytes.

/// A message under construction.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn tag(&mut self, field: u32, kind: u64) {
        self.varint(u64::from(field) << 3 | kind);
    }

    /// A whole number; zero is what a missing one means.
    pub(super) fn number(mut self, field: u32, value: u64) -> Self {
        if value != 0 {
            self.tag(field, 0);
            self.varint(value);
        }
        self
    }

    pub(super) fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.tag(field, 2);
        self.varint(value.len() as u64);
        self.bytes.extend(value);
        self
    }

    pub(super) fn text(self, field: u32, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    pub(super) fn message(self, field: u32, value: &Self) -> Self {
        self.bytes(field, &value.bytes)
    }

    pub(super) fn messages(self, field: u32, values: impl IntoIterator<Item = Self>) -> Self {
        values.into_iter().fold(self, |message, value| message.message(field, &value))
    }

    /// An entry of a map.
    pub(super) fn entry(self, field: u32, key: &str, value: &Self) -> Self {
        self.message(field, &Self::default().text(1, key).message(2, value))
    }

    /// Whole numbers one behind another, as `repeated int32` and others are.
    pub(super) fn packed(self, field: u32, values: impl IntoIterator<Item = i64>) -> Self {
        let mut inner = Self::default();
        values.into_iter().for_each(|value| inner.varint(value.cast_unsigned()));
        self.message(field, &inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the format's documentation: 150 in field 1, "testing" in field 2, 3, 270 and 86942 packed in 6.
    #[test]
    fn messages_are_those_of_the_documentation() {
        assert_eq!(Message::default().number(1, 150).into_bytes(), [0x08, 0x96, 0x01]);
        let text = Message::default().text(2, "testing").into_bytes();
        assert_eq!(text, [0x12, 7, b't', b'e', b's', b't', b'i', b'n', b'g']);
        let packed = Message::default().packed(6, [3, 270, 86942]).into_bytes();
        assert_eq!(packed, [0x32, 0x06, 0x03, 0x8e, 0x02, 0x9e, 0xa7, 0x05]);
        let negative = Message::default().packed(1, [-1]).into_bytes();
        assert_eq!(negative, [[0x0a, 10].as_slice(), &[0xff; 9], &[1]].concat());
    }
}
