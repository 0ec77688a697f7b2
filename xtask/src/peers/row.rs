//! The comparisons: which work on which model, and what Orion sets out to reach there.

use orion_compiler::DType;

use super::{
    engine::{Load, Speed},
    shape::{GPT2_124M, STORIES_15M, STORIES_110M, Shape},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Tokens per second one by one, from a short prompt.
    Decode,
    /// Tokens per second of a prompt of so many tokens.
    Prefill(usize),
    /// Milliseconds from process start to the first token.
    Start,
    /// Peak resident bytes over a context of 1,024 tokens.
    Memory,
}

/// Least ratios, or for [`Work::Start`] and [`Work::Memory`] the highest value.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Target {
    /// Orion's speed over llama.cpp's as it comes.
    pub(super) mapped: Option<f64>,
    /// Orion's speed over llama.cpp's in its best setting.
    pub(super) best: Option<f64>,
    /// Orion's speed over what the machine's memory or arithmetic allows.
    pub(super) limit: Option<f64>,
    /// Milliseconds, or bytes beyond those of the stored weights.
    pub(super) ceiling: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) shape: &'static Shape,
    pub(super) format: DType,
    pub(super) work: Work,
    pub(super) threads: usize,
    pub(super) target: Target,
}

impl Row {
    pub(super) fn name(&self) -> String {
        let work = match self.work {
            Work::Decode => "decode, tok/s".into(),
            Work::Prefill(tokens) => format!("prefill {tokens}, tok/s"),
            Work::Start => "first token, ms".into(),
            Work::Memory => "peak memory, MiB".into(),
        };
        format!("{} {} {}t {work}", self.shape.name, self.format, self.threads)
    }

    pub(super) fn load(&self) -> Load {
        let (prompt, tokens) = match self.work {
            Work::Decode => (16, 128),
            Work::Prefill(prompt) => (prompt, 1),
            Work::Start => (8, 1),
            Work::Memory => (1000, 16),
        };
        Load { prompt, tokens, threads: self.threads }
    }

    /// The figure of a run that this row is about, in the unit that [`Row::name`] says.
    pub(super) fn figure(&self, speed: Speed) -> f64 {
        match self.work {
            Work::Decode => speed.decode,
            Work::Prefill(_) => speed.prefill,
            Work::Start => speed.first_token_ms,
            Work::Memory => speed.peak_bytes / f64::from(1 << 20),
        }
    }

    /// The highest figure that the target allows, where small figures are good.
    pub(super) fn ceiling(&self) -> Option<f64> {
        let stored = self.shape.stored_bytes(self.format) as f64;
        self.target.ceiling.map(|ceiling| match self.work {
            Work::Memory => (stored + ceiling) / f64::from(1 << 20),
            _ => ceiling,
        })
    }
}

/// What Orion sets out to reach, on Stories110M and within a tenth of it on GPT-2.
pub(super) fn targets() -> Vec<Row> {
    let ratios = |mapped, best, limit| {
        let nonzero = |ratio: f64| (ratio > 0.0).then_some(ratio);
        Target {
            mapped: nonzero(mapped),
            best: nonzero(best),
            limit: nonzero(limit),
            ceiling: None,
        }
    };
    let ceiling = |value| Target { ceiling: Some(value), ..Target::default() };
    let rows = [
        (DType::BF16, Work::Decode, ratios(1.25, 1.12, 0.85)),
        (DType::Q8_0, Work::Decode, ratios(1.6, 1.2, 0.85)),
        (DType::Q4_0, Work::Decode, ratios(1.55, 1.35, 0.80)),
        (DType::BF16, Work::Prefill(512), ratios(1.6, 0.0, 0.80)),
        (DType::BF16, Work::Memory, ceiling(60e6)),
        (DType::BF16, Work::Start, ceiling(150.0)),
    ];
    let of = |shape, slack: f64| {
        rows.map(|(format, work, target)| {
            let least = |ratio: Option<f64>| ratio.map(|ratio| ratio * slack);
            let target = Target {
                mapped: least(target.mapped),
                best: least(target.best),
                limit: least(target.limit),
                ceiling: target.ceiling.map(|value| value / slack),
            };
            Row { shape, format, work, threads: 2, target }
        })
    };
    let small = Row {
        shape: &STORIES_15M,
        format: DType::Q8_0,
        work: Work::Decode,
        threads: 2,
        target: ratios(3.0, 3.0, 0.0),
    };
    [&of(&STORIES_110M, 1.0)[..], &[small], &of(&GPT2_124M, 0.9)[..]].concat()
}

/// [`targets`] and every other pair of format and work on Stories110M, with one thread and with two.
pub(super) fn all() -> Vec<Row> {
    let mut rows = targets();
    for threads in [1, 2] {
        for format in [DType::F32, DType::BF16, DType::Q8_0, DType::Q4_0] {
            for work in [Work::Decode, Work::Prefill(64), Work::Prefill(512), Work::Memory] {
                let row =
                    Row { shape: &STORIES_110M, format, work, threads, target: Target::default() };
                if rows.iter().all(|known| known.name() != row.name()) {
                    rows.push(row);
                }
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_comparison_is_listed_twice() {
        let mut names: Vec<_> = all().iter().map(Row::name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!((names.len(), targets().len()), (count, 13));
    }

    #[test]
    fn memory_may_exceed_the_stored_weights_by_sixty_megabytes() {
        let row =
            targets().into_iter().find(|row| row.work == Work::Memory).expect("a row about memory");
        let stored = (109_529_856 - 25 * 768) as f64 * 2.0 + 25.0 * 768.0 * 4.0;
        assert_eq!(row.ceiling(), Some((stored + 60e6) / f64::from(1 << 20)));
    }
}
