//! Batches for training: windows of a token file in an order that seed and epoch decide.
//!
//! Window `w` reads tokens `w · sequence ..` and predicts the token after each, so neighbouring windows share one
//! token and every token is predicted once an epoch. The last windows can be set aside for validation.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::DataError;
use super::permutation::Permutation;
use super::token_file::TokenFile;

/// The windows of a token file and which of them are for validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Tokens that a window reads.
    pub sequence: usize,
    /// Number of windows to train on: the first ones.
    pub train_windows: usize,
    /// Number of whole windows after them, for validation. A rest shorter than a window belongs to it, too.
    pub validation_windows: usize,
}

impl Split {
    /// Cuts the file into windows and sets `validation_fraction` of them aside, rounded, one at least if it is not 0.
    ///
    /// # Errors
    /// A sequence of 0, a fraction outside of `0..1`, and files too short for a window of each kind.
    pub fn new(
        file: &TokenFile,
        sequence: usize,
        validation_fraction: f64,
    ) -> Result<Self, DataError> {
        if sequence == 0 {
            return Err(DataError::setting("a sequence has one token at least", "take 256"));
        }
        if !(0.0..1.0).contains(&validation_fraction) {
            let rule = format!("the validation part must be in 0..1, found {validation_fraction}");
            return Err(DataError::setting(rule, "take for example 0.1"));
        }
        let windows = (file.len() - 1) / sequence;
        let wanted = (windows as f64 * validation_fraction).round() as usize;
        let validation_windows = if validation_fraction > 0.0 { wanted.max(1) } else { 0 };
        let needed = if validation_fraction > 0.0 { 2 } else { 1 };
        if windows <= validation_windows {
            let rule = format!(
                "{} tokens are fewer than the {} that {needed} windows of {sequence} need{}",
                file.len(),
                sequence.saturating_mul(needed).saturating_add(1),
                if needed == 2 { ", one of them for validation" } else { "" }
            );
            let remedy = "give more text or take a shorter sequence";
            return Err(DataError::invalid(file.path(), "whole file", rule, remedy));
        }
        Ok(Self { sequence, train_windows: windows - validation_windows, validation_windows })
    }
}

/// How batches are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchOptions {
    /// Windows of a batch.
    pub batch: usize,
    /// Tokens of a window.
    pub sequence: usize,
    /// Decides the order.
    pub seed: u64,
    /// The part of the windows, from the end of the file, that is kept for validation; 0 keeps none.
    pub validation_fraction: f64,
}

/// Tokens and labels, `[batch, sequence]`, rows contiguous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Tokens that the model reads.
    pub tokens: Vec<i32>,
    /// The token after each; [`IGNORED`](super::IGNORED) where nothing is to be predicted.
    pub labels: Vec<i32>,
    /// Number of labels that count.
    pub counted: usize,
}

/// Where the order of windows has been left; enough to go on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchState {
    /// How often all windows have been seen.
    pub epoch: u64,
    /// How many windows of this epoch have been drawn.
    pub position: u64,
    /// What decides the order.
    pub seed: u64,
}

/// Training batches without end: when all windows have been drawn the next epoch begins, within a batch if need be.
pub struct Batches {
    file: Arc<TokenFile>,
    split: Split,
    batch: usize,
    state: BatchState,
    order: Permutation,
}

impl Batches {
    /// Starts at the first batch of the first epoch.
    ///
    /// # Errors
    /// As [`Split::new`], and a batch of 0.
    pub fn new(file: Arc<TokenFile>, options: BatchOptions) -> Result<Self, DataError> {
        let split = Split::new(&file, options.sequence, options.validation_fraction)?;
        if options.batch == 0 {
            return Err(DataError::setting("a batch has one window at least", "take 8"));
        }
        let state = BatchState { epoch: 0, position: 0, seed: options.seed };
        let order = Permutation::new(split.train_windows, state.seed, state.epoch);
        Ok(Self { file, split, batch: options.batch, state, order })
    }

    /// The windows that batches are drawn from.
    pub fn split(&self) -> Split {
        self.split
    }

    /// Where the next batch starts.
    pub fn state(&self) -> BatchState {
        self.state
    }

    /// Goes to where `state` was taken.
    ///
    /// # Errors
    /// A position that these windows do not have: the state is of another file or sequence.
    pub fn restore(&mut self, state: BatchState) -> Result<(), DataError> {
        let windows = self.split.train_windows as u64;
        if state.position >= windows {
            let rule = format!(
                "training was left at window {} of an epoch, now there are {windows}",
                state.position
            );
            let remedy = "resume with the token file, sequence and validation part of that run";
            return Err(DataError::invalid(self.file.path(), "whole file", rule, remedy));
        }
        self.state = state;
        self.order = Permutation::new(self.split.train_windows, state.seed, state.epoch);
        Ok(())
    }

    /// Draws the next batch.
    pub fn next_batch(&mut self) -> Batch {
        let size = self.batch * self.split.sequence;
        let (tokens, labels) = (Vec::with_capacity(size), Vec::with_capacity(size));
        let mut batch = Batch { tokens, labels, counted: 0 };
        for _ in 0..self.batch {
            let window = self.order.at(self.state.position as usize);
            batch.push_window(&self.file, self.split.sequence, window);
            self.state.position += 1;
            if self.state.position == self.split.train_windows as u64 {
                self.state.position = 0;
                self.state.epoch += 1;
                self.order =
                    Permutation::new(self.split.train_windows, self.state.seed, self.state.epoch);
            }
        }
        batch
    }
}

impl Batch {
    /// Appends as many tokens of the window as there are, each with the one after it.
    pub(super) fn push_window(&mut self, file: &TokenFile, sequence: usize, window: usize) {
        let start = window * sequence;
        let count = sequence.min((file.len() - 1).saturating_sub(start));
        let signed = |range| file.tokens(range).map(u32::cast_signed);
        self.tokens.extend(signed(start..start + count));
        self.labels.extend(signed(start + 1..start + 1 + count));
        self.counted += count;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::data::{TokenFileOptions, TokenWidth, TokenWriter};

    /// A file of the numbers `0..len`.
    pub(in crate::data) fn counting_file(len: u32) -> Arc<TokenFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.bin");
        let mut writer = TokenWriter::create(&path, TokenWidth::U32, len as usize).unwrap();
        writer.write(&(0..len).collect::<Vec<_>>()).unwrap();
        writer.finish(None, None).unwrap();
        // The mapping outlives the name.
        Arc::new(TokenFile::open(&path, TokenFileOptions::default()).unwrap())
    }

    const OPTIONS: BatchOptions =
        BatchOptions { batch: 4, sequence: 8, seed: 11, validation_fraction: 0.2 };

    #[test]
    fn an_epoch_predicts_every_token_of_the_training_part_once() {
        let mut batches = Batches::new(counting_file(8 * 50 + 4), OPTIONS).unwrap();
        let split = batches.split();
        assert_eq!((split.train_windows, split.validation_windows), (40, 10));
        for epoch in 1..3 {
            let mut targets = Vec::new();
            for _ in 0..10 {
                let batch = batches.next_batch();
                assert_eq!((batch.tokens.len(), batch.counted), (32, 32));
                assert!(batch.tokens.iter().zip(&batch.labels).all(|(i, t)| i + 1 == *t));
                targets.extend(batch.labels);
            }
            targets.sort_unstable();
            assert!(targets.into_iter().eq(1..=320));
            assert_eq!(batches.state(), BatchState { epoch, position: 0, seed: 11 });
        }
    }

    #[test]
    fn a_restored_order_goes_on_bit_for_bit() {
        let file = counting_file(8 * 23 + 1);
        let make = || Batches::new(Arc::clone(&file), OPTIONS).unwrap();
        let draw = |batches: &mut Batches, count: usize| -> Vec<Batch> {
            (0..count).map(|_| batches.next_batch()).collect()
        };
        let straight = draw(&mut make(), 20);
        for stop in 0..20 {
            let mut first = make();
            let mut all = draw(&mut first, stop);
            let text = serde_json::to_string(&first.state()).unwrap();
            let other_seed = BatchOptions { seed: 99, ..OPTIONS };
            let mut second = Batches::new(Arc::clone(&file), other_seed).unwrap();
            second.restore(serde_json::from_str(&text).unwrap()).unwrap();
            all.extend(draw(&mut second, 20 - stop));
            assert_eq!(all, straight, "{stop}");
        }
    }

    #[test]
    fn a_batch_may_be_larger_than_an_epoch() {
        let options = BatchOptions { batch: 7, validation_fraction: 0.0, ..OPTIONS };
        let mut batches = Batches::new(counting_file(8 * 2 + 1), options).unwrap();
        assert_eq!(batches.next_batch().tokens.len(), 56);
        assert_eq!(batches.state(), BatchState { epoch: 3, position: 1, seed: 11 });
    }

    #[track_caller]
    fn refused(len: u32, options: BatchOptions, part: &str) {
        let Err(error) = Batches::new(counting_file(len), options) else { panic!("was taken") };
        assert!(error.to_string().contains(part), "{error}");
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        refused(100, BatchOptions { batch: 0, ..OPTIONS }, "a batch has");
        refused(100, BatchOptions { sequence: 0, ..OPTIONS }, "a sequence has");
        refused(100, BatchOptions { validation_fraction: 1.0, ..OPTIONS }, "0..1");
        refused(100, BatchOptions { validation_fraction: f64::NAN, ..OPTIONS }, "0..1");
        refused(16, OPTIONS, "16 tokens are fewer than the 17 that 2 windows");
        refused(8, BatchOptions { validation_fraction: 0.0, ..OPTIONS }, "the 9 that 1 windows");
        let mut batches = Batches::new(counting_file(100), OPTIONS).unwrap();
        let state = BatchState { epoch: 0, position: 10, seed: 1 };
        assert!(batches.restore(state).unwrap_err().to_string().contains("window 10"));
    }
}
