//! Draws the next token from logits. The order is that of Hugging Face's transformers: repetition penalty, temperature,
//! top-k, top-p, min-p.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::tokenizer::TokenId;

/// How tokens are drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits: 0 always takes the likeliest token, 1 draws from the model's own distribution.
    pub temperature: f32,
    /// Keeps this many of the likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the likeliest tokens that together have this probability.
    pub top_p: f32,
    /// Drops tokens less likely than this fraction of the likeliest one.
    pub min_p: f32,
    /// Divides (or, below zero, multiplies) the logits of tokens that occurred recently; 1 changes nothing (Keskar et
    /// al., 2019).
    pub repetition_penalty: f32,
    /// How many tokens back count as recent.
    pub repetition_window: usize,
    /// Where the random numbers start: the same seed gives the same text.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 0,
            top_p: 0.95,
            min_p: 0.0,
            repetition_penalty: 1.0,
            repetition_window: 64,
            seed: 0,
        }
    }
}

/// Why no token can be drawn.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplingError {
    /// An option is outside of its range.
    #[error("{option} = {value} is out of range: {rule}")]
    Option {
        /// The option.
        option: &'static str,
        /// What it was set to.
        value: f32,
        /// What it must be.
        rule: &'static str,
    },
    /// The model gave something that is no number.
    #[error(
        "the model's logits are not numbers (NaN): its weights are damaged, or it overflowed; check the file"
    )]
    NotANumber,
}

/// Draws tokens, keeping the state of the random numbers.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: Sampling,
    random: Xoshiro256PlusPlus,
    /// Kept from token to token: `(logit or probability, token)`.
    candidates: Vec<(f32, TokenId)>,
}

impl Sampler {
    /// A sampler, if the options are in range.
    pub fn new(options: Sampling) -> Result<Self, SamplingError> {
        let check = |option, value: f32, ok: bool, rule| {
            if ok { Ok(()) } else { Err(SamplingError::Option { option, value, rule }) }
        };
        let Sampling { temperature, top_p, min_p, repetition_penalty, .. } = options;
        check(
            "temperature",
            temperature,
            temperature >= 0.0 && temperature.is_finite(),
            "0 or more",
        )?;
        check("top_p", top_p, top_p > 0.0 && top_p <= 1.0, "above 0, at most 1")?;
        check("min_p", min_p, (0.0..=1.0).contains(&min_p), "0 to 1")?;
        let positive = repetition_penalty > 0.0 && repetition_penalty.is_finite();
        check("repetition_penalty", repetition_penalty, positive, "above 0")?;
        let random = Xoshiro256PlusPlus::seed_from_u64(options.seed);
        Ok(Self { options, random, candidates: Vec::new() })
    }

    /// The next token after `recent`, the text so far.
    pub fn draw(&mut self, logits: &[f32], recent: &[TokenId]) -> Result<TokenId, SamplingError> {
        if logits.iter().any(|x| x.is_nan()) {
            return Err(SamplingError::NotANumber);
        }
        self.candidates.clear();
        self.candidates.extend(logits.iter().copied().zip(0..));
        self.penalise(recent);
        if self.options.temperature == 0.0 {
            return Ok(likeliest(&self.candidates));
        }
        let temperature = self.options.temperature;
        self.candidates.iter_mut().for_each(|(logit, _)| *logit /= temperature);
        if self.options.top_k > 0 && self.options.top_k < self.candidates.len() {
            self.candidates.select_nth_unstable_by(self.options.top_k, likelier);
            self.candidates.truncate(self.options.top_k);
        }
        self.normalise()?;
        self.keep_nucleus();
        if self.options.min_p > 0.0 {
            let most = self.candidates.iter().map(|&(p, _)| p).fold(0.0, f32::max);
            let least = most * self.options.min_p;
            self.candidates.retain(|&(p, _)| p >= least);
        }
        Ok(self.choose())
    }

    fn penalise(&mut self, recent: &[TokenId]) {
        let penalty = self.options.repetition_penalty;
        if penalty == 1.0 {
            return;
        }
        let window = &recent[recent.len().saturating_sub(self.options.repetition_window)..];
        let mut seen: Vec<TokenId> = window.to_vec();
        seen.sort_unstable();
        seen.dedup();
        for token in seen {
            if let Some((logit, _)) = self.candidates.get_mut(token as usize) {
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
    }

    /// Logits to probabilities.
    fn normalise(&mut self) -> Result<(), SamplingError> {
        let most =
            self.candidates.iter().map(|&(logit, _)| logit).fold(f32::NEG_INFINITY, f32::max);
        if !most.is_finite() {
            return Err(SamplingError::NotANumber);
        }
        let mut sum = 0.0;
        for (value, _) in &mut self.candidates {
            *value = (*value - most).exp();
            sum += *value;
        }
        self.candidates.iter_mut().for_each(|(value, _)| *value /= sum);
        Ok(())
    }

    /// Keeps the likeliest tokens whose probabilities first reach `top_p` together.
    fn keep_nucleus(&mut self) {
        let top_p = self.options.top_p;
        if top_p >= 1.0 {
            return;
        }
        // A token below this share cannot be in the nucleus, as all the others together do not leave it room; most of
        // the vocabulary goes before anything is sorted.
        let share = (1.0 - top_p) / self.candidates.len().max(2).saturating_sub(1) as f32;
        self.candidates.retain(|&(p, _)| p >= share);
        self.candidates.sort_unstable_by(likelier);
        let mut sum = 0.0;
        let reached = self.candidates.iter().position(|&(p, _)| {
            sum += p;
            sum >= top_p
        });
        self.candidates.truncate(reached.map_or(self.candidates.len(), |at| at + 1));
    }

    fn choose(&mut self) -> TokenId {
        let total: f32 = self.candidates.iter().map(|&(p, _)| p).sum();
        // 24 random bits: every value of an f32 in 0..1 with equal steps.
        let mut left = (self.random.next_u32() >> 8) as f32 / (1 << 24) as f32 * total;
        for &(p, token) in &self.candidates {
            left -= p;
            if left < 0.0 {
                return token;
            }
        }
        likeliest(&self.candidates)
    }
}

/// Higher values first; of equal ones the smaller token, so that the order never depends on the sort.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that sorting takes")]
fn likelier(a: &(f32, TokenId), b: &(f32, TokenId)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

fn likeliest(candidates: &[(f32, TokenId)]) -> TokenId {
    candidates.iter().min_by(|a, b| likelier(a, b)).map_or(0, |&(_, token)| token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 4] = [1.0, 3.0, 2.0, -1.0];

    fn frequencies(options: Sampling) -> [f64; 4] {
        let mut sampler = Sampler::new(options).unwrap();
        let mut counts = [0_u32; 4];
        for _ in 0..20_000 {
            counts[sampler.draw(&LOGITS, &[]).unwrap() as usize] += 1;
        }
        counts.map(|count| f64::from(count) / 20_000.0)
    }

    fn all(temperature: f32) -> Sampling {
        Sampling { temperature, top_p: 1.0, ..Sampling::default() }
    }

    #[test]
    fn temperature_zero_takes_the_likeliest_and_the_first_of_equals() {
        let mut sampler = Sampler::new(all(0.0)).unwrap();
        assert_eq!(sampler.draw(&LOGITS, &[]), Ok(1));
        assert_eq!(sampler.draw(&[2.0, 5.0, 5.0], &[]), Ok(1));
    }

    #[test]
    fn frequencies_follow_the_softmax_of_logits_over_temperature() {
        for temperature in [0.5_f64, 1.0, 2.0] {
            let weights = LOGITS.map(|x| (f64::from(x) / temperature).exp());
            let sum: f64 = weights.iter().sum();
            for (found, weight) in frequencies(all(temperature as f32)).iter().zip(weights) {
                assert!((found - weight / sum).abs() < 0.015, "{found} against {}", weight / sum);
            }
        }
    }

    #[test]
    fn top_k_top_p_and_min_p_keep_only_the_likeliest() {
        let two = frequencies(Sampling { top_k: 2, ..all(1.0) });
        assert!(two[0] == 0.0 && two[3] == 0.0 && two[2] > 0.2);
        // softmax(3, 2, 1, -1) = 0.657, 0.242, 0.089, 0.012
        let nucleus = frequencies(Sampling { top_p: 0.7, ..all(1.0) });
        assert!(nucleus[0] == 0.0 && nucleus[3] == 0.0 && nucleus[2] > 0.2);
        let near = frequencies(Sampling { min_p: 0.3, ..all(1.0) });
        assert!(near[0] == 0.0 && near[3] == 0.0 && near[2] > 0.2);
    }

    #[test]
    fn penalty_divides_positive_and_multiplies_negative_logits_of_recent_tokens() {
        let mut sampler = Sampler::new(Sampling { repetition_penalty: 2.0, ..all(0.0) }).unwrap();
        // 3/2 falls behind 2.
        assert_eq!(sampler.draw(&LOGITS, &[1, 1, 3]), Ok(2));
        let mut short = Sampling { repetition_penalty: 2.0, ..all(0.0) };
        short.repetition_window = 1;
        assert_eq!(Sampler::new(short).unwrap().draw(&LOGITS, &[1, 3]), Ok(1));
    }

    #[test]
    fn a_seed_gives_the_same_tokens_again() {
        let draw = |seed| {
            let mut sampler = Sampler::new(Sampling { seed, ..all(1.5) }).unwrap();
            (0..50).map(|_| sampler.draw(&LOGITS, &[]).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn nan_logits_and_options_out_of_range_are_refused() {
        let mut sampler = Sampler::new(all(1.0)).unwrap();
        assert_eq!(sampler.draw(&[1.0, f32::NAN], &[]), Err(SamplingError::NotANumber));
        assert_eq!(sampler.draw(&[f32::INFINITY, 0.0], &[]), Err(SamplingError::NotANumber));
        for options in [
            Sampling { temperature: -1.0, ..all(1.0) },
            Sampling { top_p: 7.0, ..all(1.0) },
            Sampling { min_p: f32::NAN, ..all(1.0) },
            Sampling { repetition_penalty: 0.0, ..all(1.0) },
        ] {
            assert!(matches!(Sampler::new(options), Err(SamplingError::Option { .. })));
        }
    }
}
