//! The writer of blob storage, and the packing of elements of less than a byte.

use super::{ALIGNMENT, BlobType, SENTINEL, VERSION};

/// Writes a file of constants.
#[derive(Clone, Debug)]
pub struct BlobWriter {
    bytes: Vec<u8>,
    count: u32,
}

impl Default for BlobWriter {
    fn default() -> Self {
        Self { bytes: vec![0; ALIGNMENT], count: 0 }
    }
}

impl BlobWriter {
    /// Appends a constant of `elements` elements, packed as its type is; returns the offset that `BLOBFILE` says.
    ///
    /// # Panics
    /// When `data` does not hold just that many elements.
    pub fn push(&mut self, ty: BlobType, elements: usize, data: &[u8]) -> u64 {
        assert_eq!(ty.bytes_of(elements), Some(data.len()), "the data of {elements} {ty}");
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        let offset = self.bytes.len() as u64;
        let padding = data.len() as u64 * 8 - (elements * ty.bits()) as u64;
        let longs = [data.len() as u64, offset + ALIGNMENT as u64, padding];
        self.bytes.extend(SENTINEL.to_le_bytes());
        self.bytes.extend((ty as u32).to_le_bytes());
        longs.iter().for_each(|long| self.bytes.extend(long.to_le_bytes()));
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        self.bytes.extend(data);
        self.count += 1;
        offset
    }

    /// The file.
    pub fn finish(mut self) -> Vec<u8> {
        let header = self.count.to_le_bytes().into_iter().chain(VERSION.to_le_bytes());
        self.bytes.iter_mut().zip(header).for_each(|(to, from)| *to = from);
        self.bytes
    }
}

/// Packs the low `bits` bits of each value, the first into the lowest bits of the first byte.
pub fn pack_bits(values: &[u8], bits: usize) -> Vec<u8> {
    let mut bytes = vec![0_u8; (values.len() * bits).div_ceil(8)];
    for (index, value) in values.iter().enumerate() {
        for bit in 0..bits {
            let at = index * bits + bit;
            if let Some(byte) = bytes.get_mut(at / 8) {
                *byte |= (value >> bit & 1) << (at % 8);
            }
        }
    }
    bytes
}

/// The first `count` values of `bits` bits each; a missing one is zero.
pub fn unpack_bits(bytes: &[u8], bits: usize, count: usize) -> Vec<u8> {
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| byte >> (at % 8) & 1);
    let value = |index: usize| (0..bits).map(|i| bit(index * bits + i) << i).sum();
    (0..count).map(value).collect()
}
