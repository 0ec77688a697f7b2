//! Where values live in one stretch of memory, so that those share room that are not needed at the same time.

use std::collections::BTreeMap;

/// From which to which step a value is needed, and how many numbers it takes.
pub(crate) struct Life {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) room: usize,
}

impl Life {
    const fn meets(&self, other: &Self) -> bool {
        self.from <= other.to && other.from <= self.to
    }

    /// How many steps it is needed for.
    const fn steps(&self) -> usize {
        self.to.saturating_sub(self.from).saturating_add(1)
    }
}

/// By what values are put in order; the greatest are placed first.
type Order = fn(&Life) -> usize;

/// No order is the best for all programs: one that only runs forward needs little more than its largest values, one with a
/// backward pass is one that keeps many, and from the last on gives their room to gradients.
const ORDERS: [Order; 3] = [
    |life| life.room,
    |life| life.room.saturating_mul(life.steps()),
    |life| usize::MAX - life.from,
];

/// Where each value starts in the memory, and its length: by whichever order takes the least.
pub(crate) fn place<K: Copy + Ord>(lives: &BTreeMap<K, Life>) -> (Vec<(K, usize)>, usize) {
    let all = ORDERS.map(|order| place_in_order(lives, order));
    all.into_iter().min_by_key(|&(_, length)| length).unwrap_or_default()
}

/// One value after the other, each as low as those that live at the same time allow (Pisarchyk and Lee, 2020, "greedy by
/// size").
fn place_in_order<K: Copy + Ord>(
    lives: &BTreeMap<K, Life>,
    rank: Order,
) -> (Vec<(K, usize)>, usize) {
    /// Numbers of a cache line, so that threads that share a value never share a line of two.
    const LINE: usize = 16;
    let mut order: Vec<(&K, &Life)> = lives.iter().collect();
    order.sort_by_key(|(_, life)| std::cmp::Reverse(rank(life)));
    let (mut placed, mut starts, mut length) = (Vec::<(usize, &Life)>::new(), Vec::new(), 0);
    for (&value, life) in order {
        let mut start = 0;
        for &(other_start, other) in &placed {
            let overlaps = other_start < start + life.room && start < other_start + other.room;
            if overlaps && life.meets(other) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A transformer's training step: each layer saves values for the backward pass, which frees them and leaves gradients
    /// behind, beside a gradient of the loss that waits to the end.
    #[test]
    fn gradients_take_the_room_of_what_was_saved() {
        const LAYERS: usize = 12;
        let (saved, gradients) = ([4096, 4096, 1536, 1536, 1536, 1536, 1536, 1536], [3072, 1152]);
        let mut all = Vec::new();
        for layer in 0..LAYERS {
            let (forward, back) = (10 * layer, 10 * (2 * LAYERS - layer));
            for (index, room) in saved.into_iter().enumerate() {
                all.push(Life { from: forward + index, to: back + index, room });
                let room = gradients[usize::from(index > 2)];
                all.push(Life { from: back + index, to: usize::MAX, room });
                // In twice the precision, before it is rounded.
                all.push(Life { from: back + index, to: back + index, room: 2 * room });
            }
            all.extend([0, 0, 1].map(|at| Life { from: back + at, to: back + at, room: 8192 }));
        }
        all.push(Life { from: 10 * LAYERS, to: usize::MAX, room: 96_000 });
        let lives: BTreeMap<usize, Life> = all.into_iter().enumerate().collect();
        let at_once = |at: usize| {
            let lives = lives.values().filter(|life| life.from <= at && at <= life.to);
            lives.map(|life| life.room).sum::<usize>()
        };
        let needed = (0..20 * LAYERS + 20).map(at_once).max().unwrap_or(0);
        let (starts, length) = place(&lives);
        for (index, (value, start)) in starts.iter().enumerate() {
            let life = &lives[value];
            for (other, other_start) in &starts[..index] {
                let other = &lives[other];
                let apart = *start >= other_start + other.room || *other_start >= start + life.room;
                assert!(apart || !life.meets(other));
            }
        }
        assert!(length <= needed + needed / 50, "{length} for {needed}");
        // The largest first, as is best for most programs, leaves gaps here.
        assert!(place_in_order(&lives, |life| life.room).1 > needed + needed / 50);
    }
}
