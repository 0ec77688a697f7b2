//! Rows of bytes that begin at a stride, as surfaces have them, to and from f32.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// What an element of a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "element types speak for themselves")]
pub enum Element {
    F16,
    F32,
    I8,
    U8,
    I16,
    U16,
}

impl Element {
    /// Bytes of an element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::F16 | Self::I16 | Self::U16 => 2,
            Self::F32 => 4,
        }
    }
}

/// Elements that are converted in one go.
const CHUNK: usize = 64;

/// Reads rows of `width` elements that begin `stride` bytes apart.
///
/// # Panics
/// When `bytes` ends before the last row, or `out` is no whole number of rows.
pub fn read_rows(element: Element, bytes: &[u8], stride: usize, width: usize, out: &mut [f32]) {
    if width == 0 {
        return;
    }
    assert!(out.len().is_multiple_of(width), "whole rows");
    if stride == width * element.bytes() {
        return read_row(element, &bytes[..out.len() * element.bytes()], out);
    }
    for (row, out) in out.chunks_exact_mut(width).enumerate() {
        read_row(element, &bytes[row * stride..][..width * element.bytes()], out);
    }
}

/// Writes rows of `width` elements that begin `stride` bytes apart; what lies between them stays as it is. Numbers are
/// rounded to the nearest, ties to even, whole ones kept within their type.
///
/// # Panics
/// When `bytes` ends before the last row, or `x` is no whole number of rows.
pub fn write_rows(element: Element, bytes: &mut [u8], stride: usize, width: usize, x: &[f32]) {
    if width == 0 {
        return;
    }
    assert!(x.len().is_multiple_of(width), "whole rows");
    if stride == width * element.bytes() {
        return write_row(element, &mut bytes[..x.len() * element.bytes()], x);
    }
    for (row, x) in x.chunks_exact(width).enumerate() {
        write_row(element, &mut bytes[row * stride..][..width * element.bytes()], x);
    }
}

fn read_row(element: Element, bytes: &[u8], out: &mut [f32]) {
    let pairs = || bytes.as_chunks::<2>().0.iter().copied();
    match element {
        Element::F16 => {
            let mut halves = [f16::ZERO; CHUNK];
            for (bytes, out) in bytes.chunks(2 * CHUNK).zip(out.chunks_mut(CHUNK)) {
                let halves = &mut halves[..out.len()];
                let pairs = bytes.as_chunks::<2>().0;
                halves
                    .iter_mut()
                    .zip(pairs)
                    .for_each(|(half, &pair)| *half = f16::from_le_bytes(pair));
                halves.convert_to_f32_slice(out);
            }
        }
        Element::F32 => {
            let words = bytes.as_chunks::<4>().0;
            out.iter_mut().zip(words).for_each(|(out, &word)| *out = f32::from_le_bytes(word));
        }
        Element::I8 => {
            out.iter_mut().zip(bytes).for_each(|(out, &byte)| *out = f32::from(byte.cast_signed()));
        }
        Element::U8 => out.iter_mut().zip(bytes).for_each(|(out, &byte)| *out = f32::from(byte)),
        Element::I16 => {
            out.iter_mut()
                .zip(pairs())
                .for_each(|(out, pair)| *out = f32::from(i16::from_le_bytes(pair)));
        }
        Element::U16 => {
            out.iter_mut()
                .zip(pairs())
                .for_each(|(out, pair)| *out = f32::from(u16::from_le_bytes(pair)));
        }
    }
}

fn write_row(element: Element, bytes: &mut [u8], x: &[f32]) {
    match element {
        Element::F16 => {
            let mut halves = [f16::ZERO; CHUNK];
            for (bytes, x) in bytes.chunks_mut(2 * CHUNK).zip(x.chunks(CHUNK)) {
                let halves = &mut halves[..x.len()];
                halves.convert_from_f32_slice(x);
                let pairs = bytes.as_chunks_mut::<2>().0;
                pairs.iter_mut().zip(halves).for_each(|(pair, half)| *pair = half.to_le_bytes());
            }
        }
        Element::F32 => {
            let words = bytes.as_chunks_mut::<4>().0;
            words.iter_mut().zip(x).for_each(|(word, x)| *word = x.to_le_bytes());
        }
        Element::I8 => {
            let whole = |x: f32| (x.round_ties_even() as i8).cast_unsigned();
            bytes.iter_mut().zip(x).for_each(|(byte, &x)| *byte = whole(x));
        }
        Element::U8 => {
            bytes.iter_mut().zip(x).for_each(|(byte, &x)| *byte = x.round_ties_even() as u8);
        }
        Element::I16 => {
            let pairs = bytes.as_chunks_mut::<2>().0;
            let whole = |x: f32| x.round_ties_even() as i16;
            pairs.iter_mut().zip(x).for_each(|(pair, &x)| *pair = whole(x).to_le_bytes());
        }
        Element::U16 => {
            let pairs = bytes.as_chunks_mut::<2>().0;
            let whole = |x: f32| x.round_ties_even() as u16;
            pairs.iter_mut().zip(x).for_each(|(pair, &x)| *pair = whole(x).to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Element; 6] =
        [Element::F16, Element::F32, Element::I8, Element::U8, Element::I16, Element::U16];

    #[test]
    fn rows_come_back_and_what_lies_between_them_stays() {
        for element in ALL {
            for width in [1, 3, 16, 64, 65, 200] {
                let used = width * element.bytes();
                for stride in [used, used + 1, used.next_multiple_of(64)] {
                    let x: Vec<f32> = (0..3 * width).map(|i| (i % 100) as f32).collect();
                    let mut bytes = vec![0xaa; 2 * stride + used];
                    write_rows(element, &mut bytes, stride, width, &x);
                    let mut back = vec![f32::NAN; x.len()];
                    read_rows(element, &bytes, stride, width, &mut back);
                    assert_eq!(back, x, "{element:?} {width} {stride}");
                    assert!(bytes[used..stride].iter().all(|&byte| byte == 0xaa));
                }
            }
        }
    }

    #[test]
    fn numbers_are_rounded_and_kept_in_range() {
        let mut bytes = [0; 8];
        write_rows(Element::I8, &mut bytes, 4, 4, &[2.5, 3.5, 300.0, -300.0]);
        assert_eq!(bytes[..4], [2, 4, 127, 128]);
        write_rows(Element::U8, &mut bytes, 4, 4, &[-1.0, 255.4, 256.0, f32::NAN]);
        assert_eq!(bytes[..4], [0, 255, 255, 0]);
        write_rows(Element::F16, &mut bytes, 8, 4, &[2049.0, 65_520.0, 1.0, -0.0]);
        assert_eq!(bytes, [0x00, 0x68, 0x00, 0x7c, 0x00, 0x3c, 0x00, 0x80]);
    }
}
