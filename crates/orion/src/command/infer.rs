//! `orion infer`: continues a text.

use std::io::Read;
use std::ops::ControlFlow;
use std::time::Instant;

use clap::Args;
use orion_kernels::memory::peak_resident_bytes;
use orion_llm::generate::{Generated, Request, generate};
use orion_llm::tokenizer::{AddSpecial, ParseSpecial};
use serde_json::json;

use super::model::{Loaded, ModelOptions, generation_failed};
use super::program_cache;
use super::run_trace::{RunTrace, TraceOption};
use super::sampling::SamplingOptions;
use crate::failure::Failure;
use crate::output;

/// Continue a text.
#[derive(Debug, Args)]
pub(crate) struct Infer {
    #[command(flatten)]
    model: ModelOptions,
    /// Text to continue; `-` reads standard input
    #[arg(long, short, value_name = "TEXT")]
    prompt: String,
    /// Most tokens to write
    #[arg(
        long,
        short = 'n',
        visible_alias = "max_tokens",
        allow_negative_numbers = true,
        default_value_t = 256,
        value_name = "N"
    )]
    max_tokens: usize,
    #[command(flatten)]
    sampling: SamplingOptions,
    /// Text that ends the answer; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Go on after the token that ends texts
    #[arg(long)]
    ignore_eos: bool,
    /// Leave the prompt out of the output
    #[arg(long)]
    no_echo: bool,
    /// Write one JSON object with the text, its tokens and timings, instead of the text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    trace: TraceOption,
}

impl Infer {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let start = Instant::now();
        let mut sampler = self.sampling.sampler()?;
        let prompt = self.prompt()?;
        let trace = self.trace.begin()?;
        let recorder = trace.as_ref().map(RunTrace::recorder);
        let Loaded { model, tokenizer, cache } = self.model.load(recorder)?;
        let loaded = start.elapsed();

        let tokens = tokenizer.encode(&prompt, AddSpecial::Yes, ParseSpecial::Yes)?;
        let tokens = if tokens.is_empty() { tokenizer.bos().into_iter().collect() } else { tokens };
        let mut conversation = model.converse();
        let request = Request {
            prompt: &tokens,
            max_tokens: self.max_tokens,
            stop: &self.stop,
            ignore_eos: self.ignore_eos,
        };
        let streams = !self.json;
        if streams && !self.no_echo {
            output::write(&prompt)?;
        }
        let mut broken = None;
        let generated =
            generate(&mut conversation, &tokenizer, &mut sampler, &request, &mut |text| {
                if !streams {
                    return ControlFlow::Continue(());
                }
                match output::write(text) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(failure) => {
                        broken = Some(failure);
                        ControlFlow::Break(())
                    }
                }
            });
        if let Some(failure) = broken {
            return Err(failure);
        }
        let generated = generated.map_err(|error| {
            // What was written so far stays a line of its own.
            if streams && !self.no_echo {
                let _ = output::write_line("");
            }
            generation_failed(self.model.name(), error)
        })?;
        if self.json {
            output::write_line(&report(&prompt, &generated).to_string())?;
        } else {
            output::write_line("")?;
        }
        trace.map_or(Ok(()), RunTrace::finish)?;
        if self.model.verbose {
            let timing = &generated.timing;
            output::note(&format!(
                "load {:.0} ms · prompt {} tokens, {:.1} tok/s · first token after {:.0} ms · generated {} tokens, \
                 {:.1} tok/s · ended by {} · peak memory {}",
                loaded.as_secs_f64() * 1e3,
                timing.prompt_tokens,
                timing.prompt_rate(),
                (loaded + timing.first_token).as_secs_f64() * 1e3,
                timing.generated_tokens,
                timing.generation_rate(),
                generated.finish.name(),
                peak_resident_bytes().map_or_else(|| "unknown".to_owned(), output::bytes),
            ));
            cache.iter().for_each(|cache| program_cache::tell(cache));
        }
        Ok(())
    }

    fn prompt(&self) -> Result<String, Failure> {
        if self.prompt != "-" {
            return Ok(self.prompt.clone());
        }
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::Failed(format!("cannot read standard input: {error}")))?;
        String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Failure::Failed(format!(
                "standard input is not UTF-8 from byte {at} on; convert it first"
            ))
        })
    }
}

fn report(prompt: &str, generated: &Generated) -> serde_json::Value {
    let timing = &generated.timing;
    json!({
        "prompt": prompt,
        "text": generated.text,
        "tokens": generated.tokens,
        "finish": generated.finish.name(),
        "prompt_tokens": timing.prompt_tokens,
        "generated_tokens": timing.generated_tokens,
        "prefill_tokens_per_second": timing.prompt_rate(),
        "decode_tokens_per_second": timing.generation_rate(),
        "first_token_ms": timing.first_token.as_secs_f64() * 1e3,
        "peak_resident_bytes": peak_resident_bytes(),
    })
}
