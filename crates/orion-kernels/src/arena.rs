//! One stretch of memory for all values of a program: parts of it are lent to be written while others are read. Who
//! lives where is planned ahead; here it is checked, so that a mistake of the plan is a panic and no data race.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};

/// Memory whose parts can be lent.
pub struct Arena<'m> {
    start: *mut f32,
    len: usize,
    /// Parts that are being written.
    lent: Vec<Range<usize>>,
    memory: PhantomData<&'m mut [f32]>,
}

// SAFETY: an arena is an exclusive borrow of plain memory.
unsafe impl Send for Arena<'_> {}
// SAFETY: through a shared arena memory is only read.
unsafe impl Sync for Arena<'_> {}

/// A part of an arena to write to.
pub struct Lent<'m> {
    range: Range<usize>,
    slice: &'m mut [f32],
}

impl<'m> Arena<'m> {
    /// An arena over this memory.
    pub fn new(memory: &'m mut [f32]) -> Self {
        let (start, len) = (memory.as_mut_ptr(), memory.len());
        Self { start, len, lent: Vec::new(), memory: PhantomData }
    }

    /// Lends a part; nobody else reads or writes it until it is [given back](Self::give_back).
    ///
    /// # Panics
    /// When a part of it is lent already, or lies outside of the arena.
    pub fn lend(&mut self, range: Range<usize>) -> Lent<'m> {
        self.check(&range);
        self.lent.push(range.clone());
        // SAFETY: the range lies in the memory that the arena borrows for `'m`. No other part that is lent overlaps it,
        // as was just checked, and what `read` gives out borrows the arena, which is borrowed exclusively here.
        let slice =
            unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) };
        Lent { range, slice }
    }

    /// Takes a part back. A part that never comes back stays out of reach.
    pub fn give_back(&mut self, part: Lent<'m>) {
        let Lent { range: returned, .. } = part;
        if let Some(at) = self.lent.iter().position(|range| *range == returned) {
            self.lent.swap_remove(at);
        }
    }

    /// A part to read.
    ///
    /// # Panics
    /// When a part of it is lent, or lies outside of the arena.
    pub fn read(&self, range: Range<usize>) -> &[f32] {
        self.check(&range);
        // SAFETY: the range lies in the memory, and nobody writes it: no part that is lent overlaps it, and lending
        // needs the arena exclusively, which the result keeps borrowed.
        unsafe { std::slice::from_raw_parts(self.start.add(range.start), range.len()) }
    }

    fn check(&self, range: &Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.len, "a part of the arena");
        let overlaps = |lent: &Range<usize>| range.start < lent.end && lent.start < range.end;
        assert!(!self.lent.iter().any(overlaps), "a part that is being written");
    }
}

impl Deref for Lent<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.slice
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.slice
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn parts_are_written_while_others_are_read() {
        let mut memory = vec![0.0; 10];
        let mut arena = Arena::new(&mut memory);
        let mut part = arena.lend(2..5);
        part.fill(1.0);
        assert_eq!(arena.read(5..10), [0.0; 5]);
        arena.give_back(part);
        assert_eq!(arena.read(0..6), [0.0, 0.0, 1.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn a_part_that_is_written_is_out_of_reach() {
        let mut memory = vec![0.0; 10];
        let mut arena = Arena::new(&mut memory);
        let _part = arena.lend(2..5);
        let refused = |body: &mut dyn FnMut()| catch_unwind(AssertUnwindSafe(body)).is_err();
        assert!(refused(&mut || _ = arena.read(4..6)));
        assert!(refused(&mut || _ = arena.lend(0..3)));
        assert!(refused(&mut || _ = arena.read(9..11)));
        assert!(!refused(&mut || _ = arena.lend(5..5)));
    }
}
