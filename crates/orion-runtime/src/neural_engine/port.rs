//! How an operand lies in a surface.

use std::ops::Range;

use orion_compiler::mil::blob::BlobType;

/// An input or a result of a procedure, as a loaded program publishes it: facts §0.4 and §2.1. Element (plane, row, column)
/// begins at byte `plane · plane_stride + row · row_stride + column · bytes of an element`, where planes are channels, those of
/// one image after those of the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in the text.
    pub name: String,
    /// What a request binds it by. Symbols are counted through all procedures, in each in the order of names.
    pub symbol: usize,
    /// Images.
    pub batch: usize,
    /// Channels of an image.
    pub channels: usize,
    /// Rows of a channel.
    pub height: usize,
    /// Elements of a row.
    pub width: usize,
    /// Bytes from a row to the next.
    pub row_stride: usize,
    /// Bytes from a channel to the next.
    pub plane_stride: usize,
    /// Bytes that a surface has at least.
    pub bytes: usize,
    /// Element type: `fp16`, `fp32`, or a whole number of 8 or 16 bits.
    pub element: BlobType,
}

/// A part of an operand. Numbers of a part are row by row, plane by plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Channels, counted through all images.
    pub planes: Range<usize>,
    /// Rows of each.
    pub rows: Range<usize>,
    /// Elements of each row.
    pub columns: Range<usize>,
}

impl Port {
    /// Elements of the operand, without padding.
    pub fn elements(&self) -> usize {
        self.planes() * self.height * self.width
    }

    /// Bytes that the host copies for so many elements, as [counters](super::Counters) count them.
    pub(super) fn staged(&self, elements: usize) -> u64 {
        self.element.bytes_of(elements).map_or(0, |bytes| bytes as u64)
    }

    /// Channels of all images.
    pub fn planes(&self) -> usize {
        self.batch * self.channels
    }

    /// All of it.
    pub fn whole(&self) -> Region {
        Region { planes: 0..self.planes(), rows: 0..self.height, columns: 0..self.width }
    }

    /// All rows of all planes, of each these columns: a token of a key-value cache that has a column for each.
    pub fn columns(&self, columns: Range<usize>) -> Region {
        Region { columns, ..self.whole() }
    }

    /// These rows of all planes: a token of a key-value cache that has a row for each.
    pub fn rows(&self, rows: Range<usize>) -> Region {
        Region { rows, ..self.whole() }
    }
}

impl Region {
    /// Numbers in it.
    pub fn elements(&self) -> usize {
        self.planes.len() * self.rows.len() * self.columns.len()
    }

    /// Whether the operand has all of it.
    pub fn is_within(&self, port: &Port) -> bool {
        let fits = |range: &Range<usize>, end| range.start <= range.end && range.end <= end;
        fits(&self.planes, port.planes())
            && fits(&self.rows, port.height)
            && fits(&self.columns, port.width)
    }
}
