//! The options that say how tokens are drawn; shared by the commands that write text.

use clap::Args;
use orion_llm::generate::{Sampler, Sampling};

use crate::failure::Failure;

/// How tokens are drawn.
#[derive(Clone, Debug, Args)]
pub(crate) struct SamplingOptions {
    /// 0 always takes the likeliest token; higher is more varied
    #[arg(long, default_value_t = 0.8, value_name = "T", allow_negative_numbers = true)]
    temperature: f32,
    /// Draw only from this many of the likeliest tokens; 0 draws from all
    #[arg(long, visible_alias = "top_k", default_value_t = 0, value_name = "N")]
    top_k: usize,
    /// Draw only from the likeliest tokens that together have this probability
    #[arg(
        long,
        visible_alias = "top_p",
        default_value_t = 0.95,
        value_name = "P",
        allow_negative_numbers = true
    )]
    top_p: f32,
    /// Leave out tokens less likely than this fraction of the likeliest
    #[arg(
        long,
        visible_alias = "min_p",
        default_value_t = 0.0,
        value_name = "P",
        allow_negative_numbers = true
    )]
    min_p: f32,
    /// Make recent tokens less likely; 1 changes nothing
    #[arg(
        long,
        visible_alias = "repetition_penalty",
        default_value_t = 1.0,
        value_name = "X",
        allow_negative_numbers = true
    )]
    repetition_penalty: f32,
    /// Start of the random numbers: the same seed gives the same text [default: different every time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl SamplingOptions {
    /// The sampler; options out of range are a mistake of usage.
    pub(crate) fn sampler(&self) -> Result<Sampler, Failure> {
        let options = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed.unwrap_or_else(seed_of_the_moment),
            ..Sampling::default()
        };
        Sampler::new(options).map_err(|error| Failure::Usage(format!("--{error}")))
    }
}

/// A seed that is another one at the next start.
fn seed_of_the_moment() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_nanos() as u64) ^ u64::from(std::process::id()).rotate_left(32)
}
