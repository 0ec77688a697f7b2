//! Buffers that host and programs share, with rows at a stride.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use half::f16;
use half::slice::HalfFloatSliceExt;
use orion_compiler::mil::blob::BlobType;
use orion_kernels::Pool;
use orion_kernels::surface::{Element, read_rows, write_rows};

use super::{Detail, DeviceError, Port, Region};

/// The memory behind a surface; a device implements it.
pub trait SurfaceMemory: Send + Sync {
    /// Its size in bytes.
    fn size(&self) -> usize;
    /// Lends it for reading; waits while it is written.
    fn read(&self, body: &mut dyn FnMut(&[u8]));
    /// Lends it for writing; waits while it is used.
    fn write(&self, body: &mut dyn FnMut(&mut [u8]));
}

/// A buffer that host and programs share. A clone is the same buffer: a program's output can be the input of the next one
/// without a copy.
#[derive(Clone)]
pub struct Surface {
    memory: Arc<dyn SurfaceMemory>,
    staged: Arc<AtomicU64>,
}

impl fmt::Debug for Surface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Surface({} bytes)", self.size())
    }
}

impl Surface {
    /// A surface over a device's memory. What the host reads and writes is counted in `staged`, in bytes.
    pub fn new(memory: Arc<dyn SurfaceMemory>, staged: Arc<AtomicU64>) -> Self {
        Self { memory, staged }
    }

    /// Its size in bytes.
    pub fn size(&self) -> usize {
        self.memory.size()
    }

    /// Whether both are the same buffer.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory)
    }

    /// The memory, for devices.
    pub fn memory(&self) -> &dyn SurfaceMemory {
        &*self.memory
    }

    /// Reads a whole operand.
    ///
    /// # Errors
    /// When the surface is too small for the operand, or `out` has not its elements.
    pub fn read_f32(&self, port: &Port, out: &mut [f32]) -> Result<(), DeviceError> {
        self.read_region_f32(port, &port.whole(), out)
    }

    /// Writes a whole operand. Numbers are rounded to its type.
    ///
    /// # Errors
    /// When the surface is too small for the operand, or `x` has not its elements.
    pub fn write_f32(&self, port: &Port, x: &[f32]) -> Result<(), DeviceError> {
        self.write_region_f32(port, &port.whole(), x)
    }

    /// [`write_f32`](Self::write_f32) on all threads, for large operands.
    ///
    /// # Errors
    /// As there.
    pub fn write_shared_f32(&self, pool: &Pool, port: &Port, x: &[f32]) -> Result<(), DeviceError> {
        let rows = port.planes() * port.height;
        let is_even = port.plane_stride == port.height * port.row_stride;
        if !is_even || port.elements() == 0 {
            return self.write_f32(port, x);
        }
        let element = self.check(port, &port.whole(), x.len())?;
        self.count(x.len() * element.bytes());
        let (stride, width) = (port.row_stride, port.width);
        let some = rows.div_ceil(pool.threads());
        self.memory.write(&mut |bytes| {
            let end = (rows * stride).min(bytes.len());
            pool.for_each_part_mut(&mut bytes[..end], some * stride, |index, part| {
                let first = index * some;
                let numbers = first * width..(first + some).min(rows) * width;
                write_rows(element, part, stride, width, &x[numbers]);
            });
        });
        Ok(())
    }

    /// Reads a part of an operand.
    ///
    /// # Errors
    /// When the operand has no such part, the surface is too small, or `out` has another length than the part.
    pub fn read_region_f32(
        &self,
        port: &Port,
        region: &Region,
        out: &mut [f32],
    ) -> Result<(), DeviceError> {
        let element = self.check(port, region, out.len())?;
        self.count(out.len() * element.bytes());
        self.memory.read(&mut |bytes| {
            each_plane(port, region, element, |at, rows, values| {
                let out = &mut out[values];
                read_rows(element, &bytes[at..], port.row_stride, out.len() / rows.max(1), out);
            });
        });
        Ok(())
    }

    /// Writes a part of an operand. Numbers are rounded to its type.
    ///
    /// # Errors
    /// When the operand has no such part, the surface is too small, or `x` has another length than the part.
    pub fn write_region_f32(
        &self,
        port: &Port,
        region: &Region,
        x: &[f32],
    ) -> Result<(), DeviceError> {
        let element = self.check(port, region, x.len())?;
        self.count(x.len() * element.bytes());
        self.memory.write(&mut |bytes| {
            each_plane(port, region, element, |at, rows, values| {
                let x = &x[values];
                write_rows(element, &mut bytes[at..], port.row_stride, x.len() / rows.max(1), x);
            });
        });
        Ok(())
    }

    /// As [`read_region_f32`](Self::read_region_f32), for halves.
    ///
    /// # Errors
    /// As there.
    pub fn read_region_f16(
        &self,
        port: &Port,
        region: &Region,
        out: &mut [f16],
    ) -> Result<(), DeviceError> {
        let element = self.check(port, region, out.len())?;
        if element != Element::F16 {
            let mut wide = vec![0.0; out.len()];
            self.read_region_f32(port, region, &mut wide)?;
            out.convert_from_f32_slice(&wide);
            return Ok(());
        }
        self.count(out.len() * 2);
        self.memory.read(&mut |bytes| {
            each_plane(port, region, element, |at, rows, values| {
                let out = &mut out[values];
                let width = (out.len() / rows.max(1)).max(1);
                for (row, out) in out.chunks_exact_mut(width).enumerate() {
                    let from = bytes[at + row * port.row_stride..].as_chunks::<2>().0;
                    out.iter_mut()
                        .zip(from)
                        .for_each(|(out, &pair)| *out = f16::from_le_bytes(pair));
                }
            });
        });
        Ok(())
    }

    /// As [`write_region_f32`](Self::write_region_f32), for halves.
    ///
    /// # Errors
    /// As there.
    pub fn write_region_f16(
        &self,
        port: &Port,
        region: &Region,
        x: &[f16],
    ) -> Result<(), DeviceError> {
        let element = self.check(port, region, x.len())?;
        if element != Element::F16 {
            return self.write_region_f32(port, region, &x.to_f32_vec());
        }
        self.count(x.len() * 2);
        self.memory.write(&mut |bytes| {
            each_plane(port, region, element, |at, rows, values| {
                let x = &x[values];
                let width = (x.len() / rows.max(1)).max(1);
                for (row, x) in x.chunks_exact(width).enumerate() {
                    let to = bytes[at + row * port.row_stride..].as_chunks_mut::<2>().0;
                    to.iter_mut().zip(x).for_each(|(pair, x)| *pair = x.to_le_bytes());
                }
            });
        });
        Ok(())
    }

    /// Fills it with zeros.
    pub fn clear(&self) {
        self.count(self.size());
        self.memory.write(&mut |bytes| bytes.fill(0));
    }

    fn count(&self, bytes: usize) {
        self.staged.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn check(&self, port: &Port, region: &Region, given: usize) -> Result<Element, DeviceError> {
        let refuse = |rule: &str, reason: String, remedy: &str| {
            DeviceError::Surface(Box::new(Detail {
                program: "surface".to_owned(),
                place: Some(port.name.clone()),
                rule: rule.to_owned(),
                reason,
                native: None,
                remedy: remedy.to_owned(),
            }))
        };
        let element = element_of(port.element).ok_or_else(|| {
            let reason = format!("elements of {} are not read or written", port.element);
            refuse("ANE075", reason, "use fp16 or fp32")
        })?;
        if self.size() < port.bytes {
            let reason = format!("{} bytes for an operand of {}", self.size(), port.bytes);
            return Err(refuse("ANE004", reason, "allocate the bytes that the port publishes"));
        }
        if !region.is_within(port) {
            let (planes, height, width) = (port.planes(), port.height, port.width);
            let reason = format!("{region:?} of {planes} planes, {height} rows, {width} columns");
            return Err(refuse("RUN031", reason, "name a part that is there"));
        }
        if region.elements() != given {
            let reason = format!("{given} numbers for {}", region.elements());
            return Err(refuse("RUN031", reason, "hand over as many numbers as the part has"));
        }
        Ok(element)
    }
}

/// How elements of a port are read and written.
pub(super) fn element_of(ty: BlobType) -> Option<Element> {
    match ty {
        BlobType::F16 => Some(Element::F16),
        BlobType::F32 => Some(Element::F32),
        BlobType::I8 => Some(Element::I8),
        BlobType::U8 => Some(Element::U8),
        BlobType::I16 => Some(Element::I16),
        BlobType::U16 => Some(Element::U16),
        _ => None,
    }
}

/// Calls `body` for stretches of rows at one stride: the byte where the first begins, how many rows, and which numbers.
fn each_plane(
    port: &Port,
    region: &Region,
    element: Element,
    mut body: impl FnMut(usize, usize, std::ops::Range<usize>),
) {
    if region.elements() == 0 {
        return;
    }
    let first = region.columns.start * element.bytes() + region.rows.start * port.row_stride;
    let start = |plane: usize| plane * port.plane_stride + first;
    let is_even =
        region.rows == (0..port.height) && port.plane_stride == port.height * port.row_stride;
    if is_even {
        let rows = region.planes.len() * port.height;
        return body(start(region.planes.start), rows, 0..region.elements());
    }
    let numbers = region.rows.len() * region.columns.len();
    for (index, plane) in region.planes.clone().enumerate() {
        body(start(plane), region.rows.len(), index * numbers..(index + 1) * numbers);
    }
}
