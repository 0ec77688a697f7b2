//! Which statement of one function belongs to which of another.

use std::collections::BTreeMap;
use std::ops::Range;

use super::canonical::Canonical;

/// Insertions and deletions between two anchors beyond which the rest is matched only by its operations.
const MOST: usize = 1000;

/// The partner of each node of `a`. First those that compute the same, then in between those of the same operation with the
/// same constants and types (Myers, 1986), then in between those of the same operation.
pub(super) fn align(a: &Canonical<'_, '_>, b: &Canonical<'_, '_>) -> Vec<Option<usize>> {
    let keys = |side: &Canonical<'_, '_>| -> Vec<[u32; 2]> {
        side.nodes.iter().map(|node| [node.id, node.local]).collect()
    };
    let (x, y) = (keys(a), keys(b));
    let mut partner = vec![None; x.len()];
    equal(&x, &y, &mut partner);
    for (from, to) in gaps(&partner, y.len()) {
        let (old, new): (Vec<u32>, Vec<u32>) =
            (from.clone().map(|at| x[at][1]).collect(), to.clone().map(|at| y[at][1]).collect());
        for (i, j) in common(&old, &new) {
            partner[from.start + i] = Some(to.start + j);
        }
    }
    for (from, to) in gaps(&partner, y.len()) {
        let mut next = to.start;
        for at in from {
            let op = a.nodes[at].statement.op.text;
            let same = (next..to.end).find(|&other| b.nodes[other].statement.op.text == op);
            if let Some(other) = same {
                partner[at] = Some(other);
                next = other + 1;
            }
        }
    }
    partner
}

/// Anchors: nodes that compute the same, in ascending order in both.
fn equal(x: &[[u32; 2]], y: &[[u32; 2]], partner: &mut [Option<usize>]) {
    let mut places: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    y.iter().enumerate().rev().for_each(|(at, key)| places.entry(key[0]).or_default().push(at));
    let mut next = 0;
    for (at, key) in x.iter().enumerate() {
        let Some(list) = places.get_mut(&key[0]) else { continue };
        while list.last().is_some_and(|&place| place < next) {
            list.pop();
        }
        if let Some(place) = list.pop() {
            partner[at] = Some(place);
            next = place + 1;
        }
    }
}

/// Stretches of both sides between partners that follow one another in both.
fn gaps(partner: &[Option<usize>], length: usize) -> Vec<(Range<usize>, Range<usize>)> {
    let mut gaps = Vec::new();
    let (mut from, mut to) = (0, 0);
    for at in 0..=partner.len() {
        let end = match partner.get(at) {
            Some(Some(other)) => *other,
            Some(None) => continue,
            None => length,
        };
        if from < at && to < end {
            gaps.push((from..at, to..end));
        }
        (from, to) = (at + 1, end + 1);
    }
    gaps
}

/// A longest common subsequence as pairs of indices; nothing where the two differ too much for that.
fn common(old: &[u32], new: &[u32]) -> Vec<(usize, usize)> {
    let (n, m) = (old.len().cast_signed(), new.len().cast_signed());
    let most = (old.len() + new.len()).min(MOST).cast_signed();
    let at = |row: &[isize], k: isize| row[(k + most + 1).cast_unsigned()];
    let mut row = vec![0_isize; (2 * most + 3).cast_unsigned()];
    let mut history = Vec::new();
    for d in 0..=most {
        history.push(row.clone());
        for k in (-d..=d).step_by(2) {
            let down = k == -d || (k != d && at(&row, k - 1) < at(&row, k + 1));
            let mut x = if down { at(&row, k + 1) } else { at(&row, k - 1) + 1 };
            let mut y = x - k;
            while x < n
                && y < m
                && x >= 0
                && y >= 0
                && old[x.cast_unsigned()] == new[y.cast_unsigned()]
            {
                (x, y) = (x + 1, y + 1);
            }
            row[(k + most + 1).cast_unsigned()] = x;
            if x >= n && y >= m {
                return walk_back(&history, d, most, (n, m));
            }
        }
    }
    Vec::new()
}

fn walk_back(
    history: &[Vec<isize>],
    d: isize,
    most: isize,
    (n, m): (isize, isize),
) -> Vec<(usize, usize)> {
    let at = |row: &[isize], k: isize| row[(k + most + 1).cast_unsigned()];
    let (mut x, mut y) = (n, m);
    let mut pairs = Vec::new();
    for d in (0..=d).rev() {
        let row = &history[d.cast_unsigned()];
        let k = x - y;
        let down = k == -d || (k != d && at(row, k - 1) < at(row, k + 1));
        let before = if down { k + 1 } else { k - 1 };
        let from = at(row, before);
        // Where the insertion or deletion led to; equal ones follow.
        let (start, start_y) = if d == 0 { (0, 0) } else { (from, from - before) };
        let turn = if d == 0 {
            (0, 0)
        } else if down {
            (start, start_y + 1)
        } else {
            (start + 1, start_y)
        };
        while x > turn.0 && y > turn.1 {
            (x, y) = (x - 1, y - 1);
            pairs.push((x.cast_unsigned(), y.cast_unsigned()));
        }
        (x, y) = (start, start_y);
    }
    pairs.reverse();
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_subsequence_is_a_longest_one() {
        let cases: [(&[u32], &[u32], usize); 6] = [
            (&[1, 2, 3], &[1, 2, 3], 3),
            (&[1, 2, 3], &[2, 3, 4], 2),
            (&[], &[1], 0),
            (&[1, 2, 3, 1, 2, 2, 1], &[3, 2, 1, 2, 1, 3], 4),
            (&[5], &[6], 0),
            (&[1, 9, 2, 9, 3], &[1, 2, 3], 3),
        ];
        for (old, new, length) in cases {
            let pairs = common(old, new);
            assert_eq!(pairs.len(), length, "{old:?} {new:?} {pairs:?}");
            assert!(pairs.iter().all(|&(i, j)| old[i] == new[j]));
            assert!(pairs.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1));
        }
    }
}
