//! Thins out curves that have more points than the picture has columns.

/// Cuts a curve at its gaps and keeps, for each stretch of it inside of one column of pixels, the first, the lowest, the
/// highest and the last point: what is drawn looks the same. Points are horizontal place in columns and vertical value;
/// `None` is a gap.
pub(super) fn thin(points: impl Iterator<Item = Option<(f64, f64)>>) -> Vec<Vec<(f64, f64)>> {
    let mut lines = Vec::new();
    let mut line = Vec::new();
    let mut column = Column::default();
    // The gap at the end finishes the last line.
    for point in points.chain([None]) {
        match point {
            Some(point) if column.has(point) => column.add(point),
            Some(point) => {
                column.finish(&mut line);
                column = Column::starting_with(point);
            }
            None => {
                std::mem::take(&mut column).finish(&mut line);
                if !line.is_empty() {
                    lines.push(std::mem::take(&mut line));
                }
            }
        }
    }
    lines
}

/// Points of one column with their order: first, lowest, highest, last.
#[derive(Default)]
struct Column {
    count: usize,
    kept: [(usize, (f64, f64)); 4],
}

impl Column {
    fn starting_with(point: (f64, f64)) -> Self {
        Self { count: 1, kept: [(0, point); 4] }
    }

    fn has(&self, point: (f64, f64)) -> bool {
        self.count > 0 && self.kept[0].1.0.floor() == point.0.floor()
    }

    fn add(&mut self, point: (f64, f64)) {
        let [_, lowest, highest, last] = &mut self.kept;
        if point.1 < lowest.1.1 {
            *lowest = (self.count, point);
        }
        if point.1 > highest.1.1 {
            *highest = (self.count, point);
        }
        *last = (self.count, point);
        self.count += 1;
    }

    fn finish(mut self, line: &mut Vec<(f64, f64)>) {
        if self.count == 0 {
            return;
        }
        self.kept.sort_by_key(|&(order, _)| order);
        let mut before = None;
        for (order, point) in self.kept {
            if before != Some(order) {
                line.push(point);
            }
            before = Some(order);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_keeps_its_first_lowest_highest_and_last_point() {
        let heights = [5.0, 6.0, 1.0, 4.0, 9.0, 8.0, 7.0];
        let points = heights.iter().enumerate().map(|(i, &y)| Some((0.1 * i as f64, y)));
        let kept: Vec<f64> = thin(points).concat().iter().map(|point| point.1).collect();
        assert_eq!(kept, [5.0, 1.0, 9.0, 7.0]);
    }

    #[test]
    fn few_points_are_all_kept_and_gaps_cut_the_line() {
        let points = [Some((0.0, 1.0)), Some((10.0, 2.0)), None, None, Some((30.0, 3.0))];
        let lines = thin(points.into_iter());
        assert_eq!(lines, [vec![(0.0, 1.0), (10.0, 2.0)], vec![(30.0, 3.0)]]);
    }

    #[test]
    fn a_million_points_become_at_most_four_a_column() {
        let points = (0..1_000_000_u64).map(|i| Some((i as f64 * 8e-4, (i * 7919 % 1000) as f64)));
        let lines = thin(points);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].len() <= 4 * 800, "{}", lines[0].len());
        let highest = lines[0].iter().map(|point| point.1).fold(0.0, f64::max);
        assert_eq!(highest, 999.0);
    }
}
