//! Packed matrices: from the rows of a weight file to groups of interleaved rows in huge pages.

use std::{
    ops::Range,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{GROUP_ROWS, Tile, dense, quantized};
use crate::{
    format::{self, WeightFormat},
    isa::Isa,
    memory::{HUGE_PAGE, PageBuffer},
    pool::{DisjointMut, Pool},
};

/// A weight matrix as a file stores it.
#[derive(Clone, Copy)]
pub struct MatrixSource<'a> {
    /// How `bytes` are to be read.
    pub format: WeightFormat,
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub columns: usize,
    /// The values, `[rows, columns]` row-major, or `[columns, rows]` when `transposed`. Any alignment.
    pub bytes: &'a [u8],
    /// Whether a row of the storage is an input feature (GPT-2's `Conv1D`). Formats with blocks cannot be transposed.
    pub transposed: bool,
    /// For every packed row, the stored row that it is; `None` keeps the order.
    pub row_order: Option<&'a (dyn Fn(usize) -> usize + Sync)>,
    /// Called with ranges of `bytes` that will not be read again, so that mapped pages can be dropped on the way.
    pub release: Option<&'a (dyn Fn(Range<usize>) + Sync)>,
}

/// Why a matrix cannot be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The shape and the number of bytes disagree.
    #[error("{format} [{rows}, {columns}] takes {expected} bytes, got {found}", format = .format.name())]
    WrongLength {
        /// The stored format.
        format: WeightFormat,
        /// Output features.
        rows: usize,
        /// Input features.
        columns: usize,
        /// What the shape asks for.
        expected: usize,
        /// What there is.
        found: usize,
    },
    /// A row is no whole number of blocks, or the matrix is larger than memory can be.
    #[error("a row of {columns} values is no whole number of {format} blocks of {block}", format = .format.name(), block = .format.block_len())]
    PartialBlock {
        /// The format with blocks.
        format: WeightFormat,
        /// Input features.
        columns: usize,
    },
    /// Blocks run along stored rows and cannot be turned.
    #[error("a {format} matrix cannot be stored transposed; store it as f32, f16 or bf16", format = .format.name())]
    TransposedBlocks {
        /// The format with blocks.
        format: WeightFormat,
    },
    /// `row_order` named a row that does not exist.
    #[error("the row order names row {row} of {rows}")]
    RowOrder {
        /// The named row.
        row: usize,
        /// Output features.
        rows: usize,
    },
    /// The system refused the memory.
    #[error("cannot allocate {bytes} bytes for a matrix: {source}")]
    Memory {
        /// Bytes asked for.
        bytes: usize,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// A weight matrix `[rows, columns]` in the layout that the kernels stream, in huge pages.
pub struct PackedMatrix {
    format: WeightFormat,
    rows: usize,
    columns: usize,
    group_bytes: usize,
    pages: PageBuffer,
    /// See [`Self::row_sizes`].
    row_sizes: OnceLock<Vec<f32>>,
}

impl PackedMatrix {
    /// Packs `source` as `target`, converting through f32 when the formats differ.
    ///
    /// The result takes the bytes that `target` takes for the rows, rounded up to whole groups of [`GROUP_ROWS`],
    /// and those of the quantised formats to 64 bytes.
    ///
    /// # Errors
    /// When shape, bytes and formats do not fit together, or memory is refused.
    ///
    /// # Panics
    /// When `row_order` or `release` panics.
    pub fn pack(
        pool: &Pool,
        target: WeightFormat,
        source: &MatrixSource<'_>,
    ) -> Result<Self, PackError> {
        let &MatrixSource { rows, columns, .. } = source;
        let stored_row_bytes = check(source)?;
        let partial = || PackError::PartialBlock { format: target, columns };
        let row_bytes = target.row_bytes(columns).ok_or_else(partial)?;
        // The quantised kernels read whole cache lines.
        let alignment = if target.is_quantized() { 64 } else { 1 };
        let group_bytes = row_bytes
            .checked_mul(GROUP_ROWS)
            .and_then(|bytes| bytes.checked_next_multiple_of(alignment))
            .ok_or_else(partial)?;
        let groups = rows.div_ceil(GROUP_ROWS);
        let bytes = groups.checked_mul(group_bytes).ok_or_else(partial)?;
        let mut pages =
            PageBuffer::zeroed(bytes).map_err(|source| PackError::Memory { bytes, source })?;

        // A huge page at a time, whoever is free: the system's clearing of new pages takes longer than the packing, and
        // not equally long for all threads.
        let slab = (HUGE_PAGE / group_bytes.max(1)).max(1);
        let next = AtomicUsize::new(0);
        let out = DisjointMut::new(&mut pages.as_mut_slice::<u8>()[..bytes]);
        pool.run(|_| {
            let mut stager = Stager::new(source, target, row_bytes, stored_row_bytes);
            loop {
                let first = next.fetch_add(slab, Ordering::Relaxed);
                if first >= groups {
                    break;
                }
                let end = (first + slab).min(groups);
                for group in first..end {
                    // SAFETY: the counter gives each group to one thread.
                    let out = unsafe { out.slice(group * group_bytes..(group + 1) * group_bytes) };
                    stager.group(group, out);
                }
                stager.release(first * GROUP_ROWS..(end * GROUP_ROWS).min(rows));
            }
        });
        if let Some(release) = source.release {
            release(0..source.bytes.len());
        }
        let row_sizes = OnceLock::new();
        Ok(Self { format: target, rows, columns, group_bytes, pages, row_sizes })
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The format of the packed values.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Bytes that a product streams.
    pub fn bytes(&self) -> usize {
        self.pages.len()
    }

    /// The sum of the sizes of each row's values, up to rounding; for sums in fixed point, which ask it once.
    pub(super) fn row_sizes(&self, isa: Isa) -> &[f32] {
        self.row_sizes.get_or_init(|| {
            let mut panel = vec![0.0; self.columns * GROUP_ROWS];
            let mut sizes = Vec::with_capacity(self.groups() * GROUP_ROWS);
            for group in 0..self.groups() {
                self.widen(isa, group, 0..self.columns, &mut panel, GROUP_ROWS);
                let mut sums = [0.0; GROUP_ROWS];
                for values in panel.as_chunks::<GROUP_ROWS>().0 {
                    sums.iter_mut().zip(values).for_each(|(sum, x)| *sum += x.abs());
                }
                sizes.extend(sums);
            }
            sizes
        })
    }

    /// Writes row `row` to `out` `[columns]`: embedding lookups read the same copy as the output head.
    ///
    /// # Panics
    /// When `row` or the length of `out` is wrong.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert_eq!(out.len(), self.columns, "a row has `columns` values");
        let group = self.group(row / GROUP_ROWS);
        if self.format.is_quantized() {
            quantized::read_row(self.format, group, row % GROUP_ROWS, out);
        } else {
            dense::read_row(self.format, group, row % GROUP_ROWS, out);
        }
    }

    /// See the family's `few`.
    pub(super) fn few(
        &self,
        isa: Isa,
        groups: Range<usize>,
        x: &[f32],
        m: usize,
        tiles: &mut [Tile],
    ) {
        let bytes = groups.start * self.group_bytes..groups.end * self.group_bytes;
        let groups = &self.pages.as_slice()[bytes];
        dense::few(isa, self.format, groups, x, m, tiles);
    }

    /// See the family's `widen`.
    pub(super) fn widen(
        &self,
        isa: Isa,
        group: usize,
        range: Range<usize>,
        panel: &mut [f32],
        stride: usize,
    ) {
        dense::widen(isa, self.format, self.group(group), range, panel, stride);
    }

    pub(super) fn groups(&self) -> usize {
        self.rows.div_ceil(GROUP_ROWS)
    }

    pub(super) fn group_bytes(&self) -> usize {
        self.group_bytes
    }

    pub(super) fn group(&self, group: usize) -> &[u8] {
        &self.pages.as_slice()[group * self.group_bytes..(group + 1) * self.group_bytes]
    }
}

/// Checks the shape against the bytes and returns the bytes of a stored row.
fn check(source: &MatrixSource<'_>) -> Result<usize, PackError> {
    let &MatrixSource { format, rows, columns, bytes, transposed, row_order, .. } = source;
    if transposed && format.block_len() != 1 {
        return Err(PackError::TransposedBlocks { format });
    }
    let (stored_rows, stored_columns) = if transposed { (columns, rows) } else { (rows, columns) };
    let partial = PackError::PartialBlock { format, columns };
    let Some(row_bytes) = format.row_bytes(stored_columns) else { return Err(partial) };
    let Some(expected) = row_bytes.checked_mul(stored_rows) else { return Err(partial) };
    if expected != bytes.len() {
        let found = bytes.len();
        return Err(PackError::WrongLength { format, rows, columns, expected, found });
    }
    if let Some(order) = row_order
        && let Some(row) = (0..rows).map(order).find(|&row| row >= rows)
    {
        return Err(PackError::RowOrder { row, rows });
    }
    Ok(row_bytes)
}

/// One thread's way from stored rows to packed groups.
struct Stager<'a> {
    source: &'a MatrixSource<'a>,
    target: WeightFormat,
    row_bytes: usize,
    stored_row_bytes: usize,
    /// A group's rows in the target format, when they cannot be used where they lie.
    rows: Vec<u8>,
    /// A row's values, or a gathered row's bytes, on the way between formats.
    values: Vec<f32>,
    stored: Vec<u8>,
    zeroes: Vec<u8>,
}

impl<'a> Stager<'a> {
    fn new(
        source: &'a MatrixSource<'a>,
        target: WeightFormat,
        row_bytes: usize,
        stored_row_bytes: usize,
    ) -> Self {
        Self {
            source,
            target,
            row_bytes,
            stored_row_bytes,
            rows: Vec::new(),
            values: Vec::new(),
            stored: Vec::new(),
            zeroes: Vec::new(),
        }
    }

    fn group(&mut self, group: usize, out: &mut [u8]) {
        let source = self.source;
        let first = group * GROUP_ROWS;
        let count = GROUP_ROWS.min(source.rows - first);
        let order = |row| source.row_order.map_or(row, |order| order(row));
        let in_place = !source.transposed && source.format == self.target;
        if count < GROUP_ROWS {
            self.zeroes.resize(self.row_bytes, 0);
        }
        if !in_place {
            self.rows.resize(GROUP_ROWS * self.row_bytes, 0);
            for lane in 0..count {
                self.convert(order(first + lane), lane);
            }
        }
        let rows: [&[u8]; GROUP_ROWS] = std::array::from_fn(|lane| {
            if lane >= count {
                &self.zeroes[..]
            } else if in_place {
                let start = order(first + lane) * self.row_bytes;
                &source.bytes[start..start + self.row_bytes]
            } else {
                &self.rows[lane * self.row_bytes..(lane + 1) * self.row_bytes]
            }
        });
        if self.target.is_quantized() {
            quantized::pack_group(self.target, &rows, source.columns, out);
        } else {
            dense::pack_group(self.target, &rows, source.columns, out);
        }
    }

    /// Brings stored row `row` into the target format in `self.rows`.
    fn convert(&mut self, row: usize, lane: usize) {
        let &MatrixSource { format, columns, bytes, transposed, .. } = self.source;
        let stored = if transposed {
            let size = format.block_bytes();
            self.stored.resize(columns * size, 0);
            let column = bytes[row * size..].chunks(self.stored_row_bytes);
            for (value, stored) in self.stored.chunks_exact_mut(size).zip(column) {
                value.copy_from_slice(&stored[..size]);
            }
            &self.stored[..]
        } else {
            &bytes[row * self.stored_row_bytes..(row + 1) * self.stored_row_bytes]
        };
        let out = &mut self.rows[lane * self.row_bytes..(lane + 1) * self.row_bytes];
        if format == self.target {
            out.copy_from_slice(stored);
        } else {
            self.values.resize(columns, 0.0);
            format::decode(format, stored, &mut self.values);
            format::encode(self.target, &self.values, out);
        }
    }

    /// Gives rows back where they are stored in order; `pack` gives back the rest.
    fn release(&self, rows: Range<usize>) {
        let Some(release) = self.source.release else { return };
        if !self.source.transposed && self.source.row_order.is_none() {
            release(rows.start * self.stored_row_bytes..rows.end * self.stored_row_bytes);
        }
    }
}
