//! Where values live in one stretch of memory, so that those share room that are not needed at the same time.

use std::collections::BTreeMap;

/// From which to which step a value is needed, and how many numbers it takes.
pub(crate) struct Life {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) room: usize,
}

/// Where each value starts in the memory, and its length: the largest values first, each as low as those that live at the
/// same time allow (Pisarchyk and Lee, 2020, "greedy by size").
pub(crate) fn place<K: Copy + Ord>(lives: &BTreeMap<K, Life>) -> (Vec<(K, usize)>, usize) {
    /// Numbers of a cache line, so that threads that share a value never share a line of two.
    const LINE: usize = 16;
    let mut order: Vec<(&K, &Life)> = lives.iter().collect();
    order.sort_by_key(|(_, life)| std::cmp::Reverse(life.room));
    let (mut placed, mut starts, mut length) = (Vec::<(usize, &Life)>::new(), Vec::new(), 0);
    for (&value, life) in order {
        let mut start = 0;
        for &(other_start, other) in &placed {
            let meets = life.from <= other.to && other.from <= life.to;
            if meets && other_start < start + life.room && start < other_start + other.room {
                start = (other_start + other.room).next_multiple_of(LINE);
            }
        }
        // In order of their starts, so that one look at each finds the first gap.
        let at = placed.partition_point(|&(other_start, _)| other_start <= start);
        placed.insert(at, (start, life));
        starts.push((value, start));
        length = length.max(start + life.room);
    }
    (starts, length)
}
