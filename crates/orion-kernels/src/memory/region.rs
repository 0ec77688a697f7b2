//! Regions of address space that buffers are cut from.

use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// One mapping. Dropping it unmaps.
pub(super) struct Region {
    start: *mut u8,
    len: usize,
    room: Mutex<Room>,
}

/// What of a region can be cut off.
struct Room {
    /// What is free, in order and with something in use between each two.
    free: Vec<Range<usize>>,
    /// From here on nothing has ever been cut off, so that all is zero.
    untouched: usize,
}

impl Room {
    fn all(len: usize) -> Mutex<Self> {
        Mutex::new(Self { free: std::iter::once(0..len).collect(), untouched: 0 })
    }
}

// SAFETY: the region is plain memory; buffers cut from it never overlap and follow Rust's borrow rules themselves.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Cuts `len` zero bytes off and tells where they start; `None` if no gap is so wide.
    pub(super) fn cut(&self, len: usize) -> Option<usize> {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let index = room.free.iter().position(|gap| gap.len() >= len)?;
        let gap = room.free.get_mut(index)?;
        let cut = gap.start..gap.start + len;
        gap.start = cut.end;
        if gap.start == gap.end {
            room.free.remove(index);
        }
        let used = room.untouched.clamp(cut.start, cut.end) - cut.start;
        room.untouched = room.untouched.max(cut.end);
        // SAFETY: the range was free, so it lies in the region and no buffer refers to it.
        unsafe { self.at(cut.start).write_bytes(0, used) };
        Some(cut.start)
    }

    /// Takes back what was cut off and is no longer used.
    pub(super) fn give_back(&self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let after = room.free.partition_point(|gap| gap.start < range.start);
        room.free.insert(after, range);
        room.free.dedup_by(|next, gap| {
            let touch = gap.end == next.start;
            if touch {
                gap.end = next.end;
            }
            touch
        });
    }

    /// The byte at `offset`, which is at most the region's length.
    pub(super) fn at(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset <= self.len, "an offset in the region");
        // SAFETY: by contract the offset is within the mapping or at its end.
        unsafe { self.start.add(offset) }
    }
}

#[cfg(unix)]
impl Region {
    pub(super) fn map(len: usize) -> io::Result<Self> {
        let spare = len
            .checked_add(HUGE_PAGE)
            .ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches nobody's memory.
        let raw = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                spare,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if raw == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let raw = raw.cast::<u8>();
        let head = raw.align_offset(HUGE_PAGE);
        // SAFETY: `head < HUGE_PAGE`, so the aligned range and both rests lie in the fresh mapping. The rests are
        // unused; when unmapping or the advice fails, address space or speed is lost, never correctness.
        let start = unsafe {
            let start = raw.add(head);
            if head > 0 {
                libc::munmap(raw.cast(), head);
            }
            libc::munmap(start.add(len).cast(), HUGE_PAGE - head);
            #[cfg(target_os = "linux")]
            libc::madvise(start.cast(), len, libc::MADV_HUGEPAGE);
            start
        };
        Ok(Self { start, len, room: Room::all(len) })
    }
}

#[cfg(unix)]
impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and no buffer refers to it any more.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

#[cfg(not(unix))]
impl Region {
    const fn layout(len: usize) -> Option<std::alloc::Layout> {
        match std::alloc::Layout::from_size_align(len, HUGE_PAGE) {
            Ok(layout) => Some(layout),
            Err(_) => None,
        }
    }

    pub(super) fn map(len: usize) -> io::Result<Self> {
        let refused = || io::Error::from(io::ErrorKind::OutOfMemory);
        let layout = Self::layout(len).ok_or_else(refused)?;
        // SAFETY: regions are never empty.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        if start.is_null() { Err(refused()) } else { Ok(Self { start, len, room: Room::all(len) }) }
    }
}

#[cfg(not(unix))]
impl Drop for Region {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.len) {
            // SAFETY: allocated in `map` with this layout.
            unsafe { std::alloc::dealloc(self.start, layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_joined_and_cut_again() {
        let region = Region::map(HUGE_PAGE).unwrap();
        let part = HUGE_PAGE / 4;
        let offsets: Vec<usize> = (0..4).map(|_| region.cut(part).unwrap()).collect();
        assert_eq!(offsets, [0, part, 2 * part, 3 * part]);
        assert_eq!(region.cut(1), None);
        for index in [1, 3, 2] {
            region.give_back(index * part..(index + 1) * part);
        }
        assert_eq!(region.cut(3 * part + 1), None);
        assert_eq!(region.cut(3 * part), Some(part));
        region.give_back(0..part);
        region.give_back(part..4 * part);
        assert_eq!(region.cut(HUGE_PAGE), Some(0));
    }

    #[test]
    fn what_was_used_is_zeroed_when_cut_again() {
        let region = Region::map(HUGE_PAGE).unwrap();
        let offset = region.cut(64).unwrap();
        // SAFETY: the 64 bytes were just cut off for this.
        unsafe { region.at(offset).write_bytes(7, 64) };
        region.give_back(offset..offset + 64);
        let offset = region.cut(HUGE_PAGE).unwrap();
        // SAFETY: the whole region is this test's.
        let bytes = unsafe { std::slice::from_raw_parts(region.at(offset), HUGE_PAGE) };
        assert!(bytes.iter().all(|&byte| byte == 0));
    }
}
