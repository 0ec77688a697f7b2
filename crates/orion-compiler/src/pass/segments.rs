//! Which dimensions of two shapes of as many elements belong together.

use std::ops::Range;

/// A run of dimensions of each shape with as many elements, as short as can be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) from: Range<usize>,
    pub(super) to: Range<usize>,
}

/// Cuts two shapes into runs that correspond; `None` when a shape has no elements or they differ in number. Dimensions of one
/// element go with the next run, at the end with the last.
pub(super) fn segments(from: &[usize], to: &[usize]) -> Option<Vec<Segment>> {
    let mut found: Vec<Segment> = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < from.len() && j < to.len() {
        let start = (i, j);
        let (mut a, mut b) = (from[i], to[j]);
        (i, j) = (i + 1, j + 1);
        while a != b {
            let (side, product, at) =
                if a < b { (from, &mut a, &mut i) } else { (to, &mut b, &mut j) };
            *product = product.checked_mul(*side.get(*at)?)?;
            *at += 1;
        }
        found.push(Segment { from: start.0..i, to: start.1..j });
    }
    let rest = from.get(i..).into_iter().chain(to.get(j..)).flatten();
    if a_zero(from) || rest.copied().any(|dim| dim != 1) {
        return None;
    }
    match found.last_mut() {
        Some(last) => (last.from.end, last.to.end) = (from.len(), to.len()),
        None => found.push(Segment { from: 0..from.len(), to: 0..to.len() }),
    }
    Some(found)
}

fn a_zero(shape: &[usize]) -> bool {
    shape.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(from: &[usize], to: &[usize]) -> Option<Vec<(Range<usize>, Range<usize>)>> {
        let segments = segments(from, to)?;
        Some(segments.into_iter().map(|segment| (segment.from, segment.to)).collect())
    }

    #[test]
    fn shapes_are_cut_where_their_products_agree() {
        assert_eq!(
            cut(&[2, 12, 5], &[2, 3, 4, 5]),
            Some(vec![(0..1, 0..1), (1..2, 1..3), (2..3, 3..4)])
        );
        assert_eq!(cut(&[4, 6], &[3, 8]), Some(vec![(0..2, 0..2)]));
        assert_eq!(cut(&[1, 7, 1, 3], &[7, 3]), Some(vec![(0..2, 0..1), (2..4, 1..2)]));
        assert_eq!(cut(&[7], &[1, 7, 1, 1]), Some(vec![(0..1, 0..4)]));
        assert_eq!(cut(&[], &[1, 1]), Some(vec![(0..0, 0..2)]));
        assert_eq!(cut(&[2, 3], &[2, 2]), None);
        assert_eq!(cut(&[0, 3], &[0, 3]), None);
    }
}
