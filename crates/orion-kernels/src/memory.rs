//! Memory that streams well: zeroed huge pages for weights and arenas, and mapped files whose pages can be handed
//! back. Reading weights through 4 KiB pages costs a third of the memory bandwidth.

mod region;

use std::{
    fmt,
    fs::File,
    io,
    marker::PhantomData,
    ops::{Deref, DerefMut, Range},
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// Address space taken from the system at a time. Only touched huge pages take memory.
const REGION: usize = 64 << 20;
/// Linux maps a file's pages by windows of this size around the one that is read (`fault_around_bytes`). It is also a
/// multiple of every page size in use.
#[cfg(unix)]
const FAULT_AROUND: usize = 64 << 10;
/// Every buffer starts on a cache line and on a boundary that suits all vector loads.
const ALIGNMENT: usize = 128;

pub(crate) use region::HUGE_PAGE;

use region::Region;

mod sealed {
    pub trait Sealed {}
}

/// Types for which every bit pattern, zero included, is a value.
pub trait Plain: sealed::Sealed + Copy {}

macro_rules! plain {
    ($($kind:ty),*) => { $(impl sealed::Sealed for $kind {} impl Plain for $kind {})* };
}
plain!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64, half::f16, half::bf16);

/// A zeroed buffer in huge pages where the system has them.
///
/// Buffers are cut from shared regions of address space, so that many small matrices do not cost a huge page each; what
/// a dropped buffer leaves is cut again, and a region goes back to the system when its last buffer is dropped.
pub struct PageBuffer {
    region: Arc<Region>,
    offset: usize,
    len: usize,
}

impl PageBuffer {
    /// `len` bytes of zeroes.
    ///
    /// # Errors
    /// When the system refuses the memory.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        // Weak, so that the list of one does not keep a region alive that nobody uses.
        static OPEN: Mutex<Weak<Region>> = Mutex::new(Weak::new());
        let too_large = || io::Error::new(io::ErrorKind::OutOfMemory, "buffer length overflows");
        let padded = len.checked_next_multiple_of(ALIGNMENT).ok_or_else(too_large)?;
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(region) = open.upgrade()
            && let Some(offset) = region.cut(padded)
        {
            return Ok(Self { region, offset, len });
        }
        let whole = padded.max(REGION).checked_next_multiple_of(HUGE_PAGE).ok_or_else(too_large)?;
        let region = Arc::new(Region::map(whole)?);
        let offset = region.cut(padded).ok_or_else(too_large)?;
        *open = Arc::downgrade(&region);
        Ok(Self { region, offset, len })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the buffer has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes as values of `T`; a last incomplete value is left out.
    pub fn as_slice<T: Plain>(&self) -> &[T] {
        let (start, count) = self.typed::<T>();
        // SAFETY: the range lies in the region, is aligned, initialised, and only this buffer covers it.
        unsafe { std::slice::from_raw_parts(start, count) }
    }

    /// As [`PageBuffer::as_slice`], to write.
    pub fn as_mut_slice<T: Plain>(&mut self) -> &mut [T] {
        let (start, count) = self.typed::<T>();
        // SAFETY: as in `as_slice`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(start, count) }
    }

    fn typed<T: Plain>(&self) -> (*mut T, usize) {
        const { assert!(align_of::<T>() <= ALIGNMENT) };
        (self.region.at(self.offset).cast(), self.len / size_of::<T>())
    }
}

impl Drop for PageBuffer {
    fn drop(&mut self) {
        self.region.give_back(self.offset..self.offset + self.len.next_multiple_of(ALIGNMENT));
    }
}

/// Numbers in huge pages where the system has them: buffers of activations, parameters and gradients.
pub struct NumberBuffer<T> {
    pages: Option<PageBuffer>,
    kind: PhantomData<T>,
}

/// Numbers of `f32`.
pub type FloatBuffer = NumberBuffer<f32>;

impl<T: Plain> NumberBuffer<T> {
    /// Zeroes. Memory is taken page by page as it is written.
    ///
    /// # Panics
    /// When the system refuses the memory, as a vector would.
    pub fn zeroed(len: usize) -> Self {
        let bytes = len.saturating_mul(size_of::<T>());
        match PageBuffer::zeroed(bytes) {
            Ok(pages) => Self { pages: (len > 0).then_some(pages), kind: PhantomData },
            Err(error) => panic!("{bytes} bytes of memory: {error}"),
        }
    }

    /// Makes the buffer long enough for `len` numbers. If it was not, it has new memory, of zeroes; the old goes first, so
    /// that both are never there at once.
    ///
    /// # Panics
    /// As [`zeroed`](Self::zeroed).
    pub fn grow_to(&mut self, len: usize) {
        if self.deref().len() < len {
            *self = Self::default();
            *self = Self::zeroed(len);
        }
    }
}

impl<T> Default for NumberBuffer<T> {
    fn default() -> Self {
        Self { pages: None, kind: PhantomData }
    }
}

impl<T: Plain> From<&[T]> for NumberBuffer<T> {
    fn from(values: &[T]) -> Self {
        let mut buffer = Self::zeroed(values.len());
        buffer.copy_from_slice(values);
        buffer
    }
}

impl<T: Plain> Deref for NumberBuffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.pages.as_ref().map_or(&[], PageBuffer::as_slice)
    }
}

impl<T: Plain> DerefMut for NumberBuffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.pages.as_mut().map_or(&mut [], PageBuffer::as_mut_slice)
    }
}

impl<T: Plain> Clone for NumberBuffer<T> {
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl<T: Plain + PartialEq> PartialEq for NumberBuffer<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for NumberBuffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A read-only memory-mapped file.
///
/// Another process that shortens the file while it is mapped makes reads of the missing part fatal (SIGBUS); that
/// is the price of every mapped file.
pub struct MappedFile {
    map: memmap2::Mmap,
}

impl MappedFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// When it cannot be opened or mapped.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the mapping is read-only and private to this type; see the type's remark on foreign changes.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Self { map })
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Drops the resident pages of `range` and of its surroundings that the system maps along with them; a later read
    /// brings them back from the file.
    pub fn discard(&self, range: Range<usize>) {
        #[cfg(unix)]
        {
            let start = range.start / FAULT_AROUND * FAULT_AROUND;
            let end = range.end.next_multiple_of(FAULT_AROUND).min(self.map.len());
            if start < end && !range.is_empty() {
                // SAFETY: the mapping is of a file and read-only, so dropped pages come back with the same bytes.
                let advised = unsafe {
                    self.map.unchecked_advise_range(
                        memmap2::UncheckedAdvice::DontNeed,
                        start,
                        end - start,
                    )
                };
                // Refused advice leaves the pages resident, which is allowed.
                drop(advised);
            }
        }
        #[cfg(not(unix))]
        drop(range);
    }

    /// Asks the system to read `range` ahead.
    pub fn prefetch(&self, range: Range<usize>) {
        #[cfg(unix)]
        {
            let end = range.end.min(self.map.len());
            if range.start < end {
                // Only advice: a refusal costs time, not correctness.
                drop(self.map.advise_range(
                    memmap2::Advice::WillNeed,
                    range.start,
                    end - range.start,
                ));
            }
        }
        #[cfg(not(unix))]
        drop(range);
    }
}

/// Bytes that a process could take without the system having to swap; `None` where it does not say.
pub fn available_bytes() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let info = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        kib.checked_mul(1024)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// The largest resident memory that this process has had, in bytes; `None` where the system does not say.
pub fn peak_resident_bytes() -> Option<u64> {
    // Linux hands the `rusage` maximum of a process on to the program that it becomes; the status file does not.
    #[cfg(target_os = "linux")]
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        if let Some(kib) = kib {
            return kib.checked_mul(1024);
        }
    }
    #[cfg(unix)]
    {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the pointer is to a whole `rusage`, which the call fills.
        let usage = unsafe {
            if libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) != 0 {
                return None;
            }
            usage.assume_init()
        };
        // Linux counts KiB, Apple's systems bytes.
        let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
        u64::try_from(usage.ru_maxrss).ok()?.checked_mul(unit)
    }
    #[cfg(not(unix))]
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn buffers_are_zeroed_aligned_and_disjoint() {
        let mut first = PageBuffer::zeroed(1001).unwrap();
        let mut second = PageBuffer::zeroed(3 << 20).unwrap();
        assert!(first.as_slice::<u8>().iter().chain(second.as_slice()).all(|&byte| byte == 0));
        first.as_mut_slice::<u8>().fill(1);
        second.as_mut_slice::<f32>().fill(2.0);
        assert!(first.as_slice::<u8>().iter().all(|&byte| byte == 1));
        assert_eq!(second.as_slice::<f32>().len(), 3 << 18);
        assert_eq!(second.as_slice::<u8>().as_ptr().align_offset(ALIGNMENT), 0);
    }

    #[test]
    fn the_room_of_dropped_buffers_is_used_again_and_zeroed() {
        let kept = PageBuffer::zeroed(1 << 20).unwrap();
        for _ in 0..200 {
            let mut buffers = [300_001, 1 << 20, 77].map(|len| PageBuffer::zeroed(len).unwrap());
            for buffer in &mut buffers {
                assert!(buffer.as_slice::<u8>().iter().all(|&byte| byte == 0));
                buffer.as_mut_slice::<u8>().fill(3);
            }
        }
        assert!(kept.as_slice::<u8>().iter().all(|&byte| byte == 0));
    }

    #[test]
    fn an_impossible_length_is_refused() {
        assert!(PageBuffer::zeroed(usize::MAX - 5).is_err());
        assert!(PageBuffer::zeroed(usize::MAX / 2).is_err());
    }

    #[test]
    fn discarded_pages_read_the_same_again() {
        let bytes: Vec<u8> = (0..100_000u32).map(|value| value as u8).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        let mapped = MappedFile::open(file.path()).unwrap();
        mapped.prefetch(0..bytes.len());
        assert_eq!(mapped.bytes(), bytes);
        mapped.discard(10..bytes.len());
        mapped.discard(5..5);
        assert_eq!(mapped.bytes(), bytes);
    }

    #[test]
    fn peak_memory_is_at_least_what_was_touched() {
        let mut buffer = PageBuffer::zeroed(8 << 20).unwrap();
        buffer.as_mut_slice::<u8>().fill(1);
        assert!(peak_resident_bytes().is_none_or(|bytes| bytes >= 8 << 20));
    }
}
