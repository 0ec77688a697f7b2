//! Takes a tensor's rows in the order of the output, and stores them in its type, a piece at a time on all cores.

use std::{num::NonZero, thread};

use half::{bf16, f16};
use orion_compiler::DType;
use orion_kernels::{WeightFormat, format};

use super::{Layout, QuantizeError};
use crate::weights::{WeightEntry, WeightSource, gguf::TensorSpec, weight_format};

/// Values that are in memory at a time, about.
const PIECE: usize = 4 << 20;
/// Values below which a second thread costs more than it brings.
const WORTH_A_THREAD: usize = 64 << 10;

/// One tensor on its way to the output.
pub(super) struct RowReader<'a> {
    source: &'a dyn WeightSource,
    entry: &'a WeightEntry,
    layout: Layout,
    target: DType,
    /// Of the output.
    rows: usize,
    row_len: usize,
}

impl<'a> RowReader<'a> {
    /// `spec` has the shape that `layout` gives the entry.
    pub(super) fn new(
        source: &'a dyn WeightSource,
        entry: &'a WeightEntry,
        layout: Layout,
        spec: &TensorSpec,
    ) -> Self {
        // Vectors that are permuted have rows of one value.
        let row_len = match (layout, spec.shape.as_slice()) {
            (Layout::RotaryPairs { .. }, [_]) => 1,
            (_, shape) => shape.last().copied().unwrap_or(1),
        };
        let rows = entry.elements().checked_div(row_len).unwrap_or(0);
        Self { source, entry, layout, target: spec.dtype, rows, row_len }
    }

    /// Hands the output's bytes to `write` in order, each with the number of bytes of the input that they took.
    pub(super) fn convert(
        &self,
        write: &mut dyn FnMut(&[u8], usize) -> Result<(), QuantizeError>,
    ) -> Result<(), QuantizeError> {
        let (Some(stored), Some(target)) =
            (weight_format(self.entry.dtype), weight_format(self.target))
        else {
            return write(self.source.bytes(self.entry), self.entry.byte_len());
        };
        if self.rows == 0 {
            return Ok(());
        }
        let source_row = self.entry.byte_len() / self.rows;
        let target_row = target.row_bytes(self.row_len).unwrap_or_default();
        let piece = (PIECE / self.row_len).clamp(1, self.rows);
        let mut out = vec![0; piece * target_row];
        for first in (0..self.rows).step_by(piece) {
            let rows = piece.min(self.rows - first);
            let out = &mut out[..rows * target_row];
            self.convert_rows(stored, target, first, out)?;
            write(out, rows * source_row)?;
            if self.layout == Layout::AsStored {
                self.source.release(self.entry, first * source_row..(first + rows) * source_row);
            }
        }
        Ok(())
    }

    /// Fills `out` with the output's rows from `first` on, divided among the cores.
    fn convert_rows(
        &self,
        stored: WeightFormat,
        target: WeightFormat,
        first: usize,
        out: &mut [u8],
    ) -> Result<(), QuantizeError> {
        let target_row = target.row_bytes(self.row_len).unwrap_or_default();
        let rows = out.len() / target_row;
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = cores.min(rows * self.row_len / WORTH_A_THREAD).max(1);
        let share = rows.div_ceil(threads);
        let convert = |first: usize, out: &mut [u8]| -> Result<(), QuantizeError> {
            let mut values = vec![0.0; self.row_len];
            for (row, out) in (first..).zip(out.chunks_exact_mut(target_row)) {
                self.read_row(stored, row, &mut values);
                self.check(&values)?;
                format::encode(target, &values, out);
            }
            Ok(())
        };
        if stored == target && self.layout == Layout::AsStored {
            // Decoding and encoding the same blocks again need not give the same bytes; only look at the values.
            let start = first * target_row;
            out.copy_from_slice(&self.source.bytes(self.entry)[start..start + out.len()]);
            let mut values = vec![0.0; self.row_len];
            return (first..first + rows).try_for_each(|row| {
                self.read_row(stored, row, &mut values);
                self.check(&values)
            });
        }
        thread::scope(|scope| {
            let mut first = first;
            let mut running = Vec::with_capacity(threads);
            for out in out.chunks_mut(share * target_row) {
                running.push(scope.spawn({
                    let convert = &convert;
                    move || convert(first, out)
                }));
                first += share;
            }
            running.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })
    }

    /// Decodes row `row` of the output.
    fn read_row(&self, stored: WeightFormat, row: usize, values: &mut [f32]) {
        let bytes = self.source.bytes(self.entry);
        let from = match self.layout {
            Layout::AsStored => row,
            Layout::RotaryPairs { heads } => {
                let head_dim = self.rows / heads;
                let (head, within) = (row / head_dim, row % head_dim);
                head * head_dim + within % 2 * (head_dim / 2) + within / 2
            }
            Layout::Transposed => {
                let size = stored.block_bytes();
                for (column, value) in values.iter_mut().enumerate() {
                    let at = (column * self.rows + row) * size;
                    format::decode(stored, &bytes[at..at + size], std::slice::from_mut(value));
                }
                return;
            }
        };
        let len = stored.row_bytes(self.row_len).unwrap_or_default();
        format::decode(stored, &bytes[from * len..(from + 1) * len], values);
    }

    fn check(&self, values: &[f32]) -> Result<(), QuantizeError> {
        let limit = match self.target {
            DType::F32 => f32::MAX,
            DType::BF16 => bf16::MAX.to_f32(),
            // Blocks have a scale in `f16`.
            _ => f16::MAX.to_f32(),
        };
        match values.iter().find(|value| value.is_nan() || value.abs() > limit) {
            None => Ok(()),
            Some(&value) => Err(QuantizeError::Value {
                path: self.source.origin().to_owned(),
                tensor: self.entry.name.clone(),
                value,
                target: self.target,
            }),
        }
    }
}
