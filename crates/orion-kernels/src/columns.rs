//! Columns of a matrix that repeat: an engine's programs have a fixed width, and what fills the rest of it is often one column
//! again and again.

/// Which columns of a matrix `[rows, width]` are new, and which repeat the one to their left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distinct {
    /// For every column, the number of the new one that it repeats or is.
    number: Vec<usize>,
    /// For every new column, where it is.
    first: Vec<usize>,
}

impl Distinct {
    /// Compares the columns of `x` bit for bit; `None` when less than half of them repeat their neighbour, so that nothing
    /// would be won.
    ///
    /// # Panics
    /// When `x` is no whole number of rows.
    pub fn of(x: &[f32], width: usize) -> Option<Self> {
        assert!(width > 0 && x.len().is_multiple_of(width), "whole rows");
        let mut is_new = vec![false; width];
        is_new[0] = true;
        for row in x.chunks_exact(width) {
            for (is_new, pair) in is_new[1..].iter_mut().zip(row.windows(2)) {
                *is_new |= pair[0].to_bits() != pair[1].to_bits();
            }
            if 2 * is_new.iter().filter(|is_new| **is_new).count() > width {
                return None;
            }
        }
        let mut distinct = Self { number: Vec::with_capacity(width), first: Vec::new() };
        for (column, is_new) in is_new.into_iter().enumerate() {
            if is_new {
                distinct.first.push(column);
            }
            distinct.number.push(distinct.first.len() - 1);
        }
        (2 * distinct.first.len() <= width).then_some(distinct)
    }

    /// How many columns are new.
    pub fn count(&self) -> usize {
        self.first.len()
    }

    /// `out [rows, count]` has the new columns of `x [rows, width]`.
    pub fn gather(&self, x: &[f32], out: &mut [f32]) {
        let rows = x.chunks_exact(self.number.len()).zip(out.chunks_exact_mut(self.count()));
        for (row, out) in rows {
            out.iter_mut().zip(&self.first).for_each(|(out, &column)| *out = row[column]);
        }
    }

    /// `out [rows, width]` has the columns of `x [rows, count]` wherever they belong.
    pub fn spread(&self, x: &[f32], out: &mut [f32]) {
        let rows = x.chunks_exact(self.count()).zip(out.chunks_exact_mut(self.number.len()));
        for (row, out) in rows {
            out.iter_mut().zip(&self.number).for_each(|(out, &number)| *out = row[number]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_columns_are_found_gathered_and_spread() {
        let x = [1.0, 2.0, 2.0, 2.0, 3.0, 5.0, 5.0, 5.0];
        let distinct = Distinct::of(&x, 4).unwrap();
        assert_eq!(distinct.count(), 2);
        let (mut few, mut all) = ([0.0; 4], [0.0; 8]);
        distinct.gather(&x, &mut few);
        assert_eq!(few, [1.0, 2.0, 3.0, 5.0]);
        distinct.spread(&few, &mut all);
        assert_eq!(all, x);
    }

    #[test]
    fn zeros_of_both_signs_differ_and_few_repetitions_are_not_worth_it() {
        assert_eq!(Distinct::of(&[0.0, -0.0], 2), None);
        assert_eq!(Distinct::of(&[1.0, 1.0, 2.0, 3.0], 4), None);
        assert_eq!(Distinct::of(&[1.0, 1.0, 1.0], 3).map(|distinct| distinct.count()), Some(1));
        assert_eq!(Distinct::of(&[7.0], 1), None);
    }
}
