//! Files of constants, MIL blob storage version 2 (facts §3.6): a header of 64 bytes, then for every constant a descriptor
//! of 64 bytes and its data. `BLOBFILE(path, offset)` names a constant by the offset of its descriptor.

mod write;

use std::fmt;

pub use write::{BlobWriter, pack_bits, unpack_bits};

/// Descriptors and data begin at multiples of it.
const ALIGNMENT: usize = 64;
/// The first word of a descriptor.
const SENTINEL: u32 = 0xdead_beef;
/// The version that the file header gives.
const VERSION: u32 = 2;

macro_rules! blob_types {
    ($($variant:ident = $code:literal, $name:literal, $bits:literal;)*) => {
        /// Element type of a constant; the number is the code in its descriptor.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "the names of the types say it")]
        pub enum BlobType {
            $($variant = $code,)*
        }

        impl BlobType {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The type of this code.
            pub const fn of_code(code: u32) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Its name in MIL text.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Bits of an element.
            pub const fn bits(self) -> usize {
                match self {
                    $(Self::$variant => $bits,)*
                }
            }
        }
    };
}

blob_types! {
    F16 = 1, "fp16", 16;
    F32 = 2, "fp32", 32;
    U8 = 3, "uint8", 8;
    I8 = 4, "int8", 8;
    BF16 = 5, "bf16", 16;
    I16 = 6, "int16", 16;
    U16 = 7, "uint16", 16;
    I4 = 8, "int4", 4;
    U1 = 9, "uint1", 1;
    U2 = 10, "uint2", 2;
    U4 = 11, "uint4", 4;
    U3 = 12, "uint3", 3;
    U6 = 13, "uint6", 6;
    I32 = 14, "int32", 32;
    U32 = 15, "uint32", 32;
    F8E4M3 = 16, "fp8e4m3fn", 8;
    F8E5M2 = 17, "fp8e5m2", 8;
}

impl BlobType {
    /// The type that MIL text calls so.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|ty| ty.name() == name)
    }

    /// Bytes of `elements` elements, the last filled up; `None` on overflow.
    pub const fn bytes_of(self, elements: usize) -> Option<usize> {
        match elements.checked_mul(self.bits()) {
            Some(bits) => Some(bits.div_ceil(8)),
            None => None,
        }
    }
}

impl fmt::Display for BlobType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a file or a constant of it cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// Not even a header.
    #[error("BLOB001: the file has {0} bytes; blob storage begins with a header of 64")]
    Short(usize),
    /// Another format, or another version of this one.
    #[error("BLOB002: the header says version {0}; only version 2 is read{hint}", hint = espresso(*.0))]
    Version(u32),
    /// No descriptor where one should be.
    #[error(
        "BLOB003: at offset {offset} is no descriptor (found {found:#010x} for 0xdeadbeef); \
         an offset names the descriptor, 64 bytes before the data, and the first one is 64"
    )]
    NoDescriptor {
        /// Where.
        offset: u64,
        /// What stands there.
        found: u32,
    },
    /// The offset lies outside the file.
    #[error("BLOB004: offset {offset} lies outside the file of {length} bytes")]
    Outside {
        /// Of the descriptor.
        offset: u64,
        /// Of the file.
        length: usize,
    },
    /// A type that nobody knows.
    #[error("BLOB005: the descriptor at {offset} has type code {code}; known are 1 to 17")]
    Type {
        /// Of the descriptor.
        offset: u64,
        /// Its type.
        code: u32,
    },
    /// Data that the file does not hold.
    #[error(
        "BLOB006: the descriptor at {offset} speaks of {size} bytes from {data} on; the file has {length}"
    )]
    Data {
        /// Of the descriptor.
        offset: u64,
        /// Of the data.
        data: u64,
        /// Of the data.
        size: u64,
        /// Of the file.
        length: usize,
    },
}

fn espresso(version: u32) -> &'static str {
    if version == 1 { " (version 1 is Espresso's, of models before iOS 15)" } else { "" }
}

/// One constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob<'a> {
    /// Offset of its descriptor, which is what `BLOBFILE` says.
    pub offset: u64,
    /// Element type.
    pub ty: BlobType,
    /// Its bytes, row by row.
    pub data: &'a [u8],
    /// Bits of the last byte that mean nothing.
    pub padding_bits: u64,
}

impl Blob<'_> {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        let bits = (self.data.len() as u64 * 8).saturating_sub(self.padding_bits);
        usize::try_from(bits / self.ty.bits() as u64).unwrap_or(usize::MAX)
    }
}

/// A file of constants.
#[derive(Clone, Copy, Debug)]
pub struct BlobFile<'a> {
    bytes: &'a [u8],
    count: u32,
}

impl<'a> BlobFile<'a> {
    /// Looks at the header.
    ///
    /// # Errors
    /// When it is not one of blob storage version 2.
    pub fn open(bytes: &'a [u8]) -> Result<Self, BlobError> {
        let short = BlobError::Short(bytes.len());
        if bytes.len() < ALIGNMENT {
            return Err(short);
        }
        let (count, version) =
            (u32_at(bytes, 0).ok_or(short.clone())?, u32_at(bytes, 4).ok_or(short)?);
        if version == VERSION {
            Ok(Self { bytes, count })
        } else {
            Err(BlobError::Version(version))
        }
    }

    /// How many constants the header speaks of.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The constant whose descriptor lies at `offset`.
    ///
    /// # Errors
    /// When there is none, or the file does not hold its data.
    pub fn at(&self, offset: u64) -> Result<Blob<'a>, BlobError> {
        let length = self.bytes.len();
        let outside = BlobError::Outside { offset, length };
        let start = usize::try_from(offset).map_err(|_| outside.clone())?;
        let end =
            start.checked_add(ALIGNMENT).filter(|&end| end <= length).ok_or(outside.clone())?;
        let descriptor = self.bytes.get(start..end).ok_or(outside)?;
        let word = |at| u32_at(descriptor, at).unwrap_or_default();
        let long = |at| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if word(0) != SENTINEL {
            return Err(BlobError::NoDescriptor { offset, found: word(0) });
        }
        let ty = BlobType::of_code(word(4)).ok_or(BlobError::Type { offset, code: word(4) })?;
        let (mut size, mut data, padding_bits) = (long(8), long(16), long(24));
        if size == 0 && data == 0 {
            // Some writers leave both out; the data then is what follows.
            data = end as u64;
            size = (length - end) as u64;
        }
        let refuse = BlobError::Data { offset, data, size, length };
        let range = usize::try_from(data).ok().zip(usize::try_from(size).ok());
        let range = range.and_then(|(from, size)| Some(from..from.checked_add(size)?));
        let data = range.and_then(|range| self.bytes.get(range)).ok_or(refuse.clone())?;
        if padding_bits >= 8 || (padding_bits > 0 && data.is_empty()) {
            return Err(refuse);
        }
        Ok(Blob { offset, ty, data, padding_bits })
    }

    /// All constants, in the order of the file.
    ///
    /// # Errors
    /// At the first place where a descriptor is missing or wrong.
    pub fn blobs(&self) -> Result<Vec<Blob<'a>>, BlobError> {
        let mut blobs = Vec::new();
        let mut offset = ALIGNMENT as u64;
        for _ in 0..self.count {
            let blob = match self.at(offset) {
                // Not every writer aligns what follows.
                Err(_) if !blobs.is_empty() && self.is_descriptor(end_of(&blobs)) => {
                    self.at(end_of(&blobs))?
                }
                found => found?,
            };
            blobs.push(blob);
            offset = end_of(&blobs).next_multiple_of(ALIGNMENT as u64);
        }
        Ok(blobs)
    }

    fn is_descriptor(&self, offset: u64) -> bool {
        let start = usize::try_from(offset).ok();
        start.and_then(|start| u32_at(self.bytes, start)) == Some(SENTINEL)
    }
}

/// The byte behind the last constant's data.
fn end_of(blobs: &[Blob<'_>]) -> u64 {
    blobs.last().map_or(0, |blob| blob.offset + (ALIGNMENT + blob.data.len()) as u64)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(word.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_aligned() {
        let mut writer = BlobWriter::default();
        let nibbles = pack_bits(&[1, 15, 7], 4);
        let first = writer.push(BlobType::F16, 3, &[1, 2, 3, 4, 5, 6]);
        let second = writer.push(BlobType::U4, 3, &nibbles);
        let third = writer.push(BlobType::I32, 1, &[9, 0, 0, 0]);
        let bytes = writer.finish();
        assert_eq!((first, second, third), (64, 192, 320));
        let file = BlobFile::open(&bytes).unwrap();
        let blobs = file.blobs().unwrap();
        let known: Vec<_> = blobs.iter().map(|b| (b.offset, b.ty, b.elements())).collect();
        assert_eq!(
            known,
            [(64, BlobType::F16, 3), (192, BlobType::U4, 3), (320, BlobType::I32, 1)]
        );
        assert_eq!(unpack_bits(file.at(192).unwrap().data, 4, 3), [1, 15, 7]);
        assert_eq!(blobs[0].data, [1, 2, 3, 4, 5, 6]);
    }

    /// The layout in full, byte by byte, as facts §3.6 gives it.
    #[test]
    fn a_file_has_the_published_layout() {
        let mut writer = BlobWriter::default();
        writer.push(BlobType::F32, 1, &1.0_f32.to_le_bytes());
        let bytes = writer.finish();
        let mut expected = vec![0_u8; 132];
        expected[0] = 1;
        expected[4] = 2;
        expected[64..72].copy_from_slice(&[0xef, 0xbe, 0xad, 0xde, 2, 0, 0, 0]);
        expected[72] = 4;
        expected[80] = 128;
        expected[128..].copy_from_slice(&1.0_f32.to_le_bytes());
        assert_eq!(bytes, expected);
    }

    #[test]
    fn writers_that_leave_out_sizes_or_alignment_are_read() {
        let mut writer = BlobWriter::default();
        writer.push(BlobType::U8, 2, &[7, 8]);
        let mut bytes = writer.finish();
        bytes[72..88].fill(0);
        assert_eq!(BlobFile::open(&bytes).unwrap().at(64).unwrap().data, [7, 8]);

        let mut writer = BlobWriter::default();
        writer.push(BlobType::U8, 2, &[7, 8]);
        let mut bytes = writer.finish();
        let mut second = bytes[64..].to_vec();
        second[16..24].copy_from_slice(&(130_u64 + 64).to_le_bytes());
        bytes.extend(second);
        bytes[0] = 2;
        let blobs = BlobFile::open(&bytes).unwrap().blobs().unwrap();
        assert_eq!((blobs[1].offset, blobs[1].data), (130, [7, 8].as_slice()));
    }

    #[test]
    fn damaged_files_are_refused_by_what_is_wrong() {
        let mut writer = BlobWriter::default();
        writer.push(BlobType::F16, 40, &[1; 80]);
        let whole = writer.finish();
        let refuse = |bytes: &[u8], offset| {
            let blob = BlobFile::open(bytes).and_then(|file| file.at(offset));
            blob.unwrap_err().to_string()
        };
        let changed = |at: usize, byte: u8| {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            bytes
        };
        for (bytes, offset, wanted) in [
            (whole[..63].to_vec(), 64, "BLOB001"),
            (changed(4, 1), 64, "Espresso"),
            (whole.clone(), 128, "64 bytes before the data"),
            (whole.clone(), 0, "BLOB003"),
            (whole.clone(), u64::MAX, "BLOB004"),
            (changed(68, 99), 64, "type code 99"),
            (changed(72, 81), 64, "BLOB006"),
            (changed(87, 255), 64, "BLOB006"),
            (changed(88, 9), 64, "BLOB006"),
        ] {
            let found = refuse(&bytes, offset);
            assert!(found.contains(wanted), "{found}");
        }
    }
}
