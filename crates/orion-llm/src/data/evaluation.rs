//! Batches for evaluation: the validation part of a token file from its first token to its last, once.

use super::batches::{Batch, Split};
use super::token_file::TokenFile;

/// The label where nothing is to be predicted: give it to `cross_entropy` as the label to ignore.
pub const IGNORED: i32 = -100;

/// The validation part in order. All batches have the same shape; what is behind the end of the file is padding,
/// whose labels are [`IGNORED`].
pub struct EvaluationBatches<'f> {
    file: &'f TokenFile,
    sequence: usize,
    batch: usize,
    window: usize,
    /// One more than the last window, which can be a short one.
    end: usize,
}

impl<'f> EvaluationBatches<'f> {
    /// Goes through the validation part of `split`, which has been made for `file`, in batches of `batch` windows.
    /// Nothing comes of a split without validation part.
    pub fn new(file: &'f TokenFile, split: Split, batch: usize) -> Self {
        let (sequence, window) = (split.sequence.max(1), split.train_windows);
        let all = (file.len() - 1).div_ceil(sequence);
        let end = if split.validation_windows == 0 { window } else { all };
        Self { file, sequence, batch: batch.max(1), window, end }
    }
}

impl Iterator for EvaluationBatches<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.window >= self.end {
            return None;
        }
        let mut batch = Batch { tokens: Vec::new(), labels: Vec::new(), counted: 0 };
        for window in self.window..self.end.min(self.window + self.batch) {
            batch.push_window(self.file, self.sequence, window);
        }
        self.window += self.batch;
        batch.tokens.resize(self.batch * self.sequence, 0);
        batch.labels.resize(self.batch * self.sequence, IGNORED);
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::super::batches::tests::counting_file;
    use super::*;

    #[test]
    fn every_token_of_the_validation_part_is_predicted_once() {
        for (len, batch) in [(101, 4), (105, 3), (108, 1), (102, 100)] {
            let file = counting_file(len);
            let split = Split::new(&file, 10, 0.3).unwrap();
            assert_eq!((split.train_windows, split.validation_windows), (7, 3));
            let batches: Vec<Batch> = EvaluationBatches::new(&file, split, batch).collect();
            let mut targets = Vec::new();
            for one in &batches {
                assert_eq!((one.tokens.len(), one.labels.len()), (batch * 10, batch * 10));
                let pairs = one.tokens.iter().zip(&one.labels);
                let counted: Vec<_> = pairs.filter(|pair| *pair.1 != IGNORED).collect();
                assert_eq!(counted.len(), one.counted);
                assert!(counted.iter().all(|(input, target)| **input + 1 == **target));
                targets.extend(counted.iter().map(|pair| *pair.1));
            }
            assert!(targets.into_iter().eq(71..len as i32), "{len} {batch}");
        }
    }

    #[test]
    fn no_validation_part_gives_no_batches() {
        let file = counting_file(105);
        let split = Split::new(&file, 10, 0.0).unwrap();
        assert_eq!(EvaluationBatches::new(&file, split, 4).count(), 0);
    }
}
