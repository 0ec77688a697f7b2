//! What a run shows: a bar on a terminal, lines elsewhere, sample texts, and a summary at the end.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use orion_compiler::DType;
use orion_kernels::memory::peak_resident_bytes;
use orion_llm::data::end_of_text;
use orion_llm::generate::{Request, Sampler, Sampling, generate};
use orion_llm::metrics::{MetricsLog, StepMetrics, ValidationMetrics};
use orion_llm::tokenizer::{AddSpecial, ParseSpecial, Tokenizer};
use orion_llm::train::{Ending, Event, Run, RunState, StepReport};
use orion_llm::{Checkpoint, LanguageModel, LoadOptions};
use orion_runtime::cpu::Cpu;
use serde_json::json;

use super::super::training_device::Breakdown;
use super::Train;
use crate::failure::Failure;
use crate::output;

/// Lines of a run that nobody watches.
const LINES: u64 = 50;
const SAMPLE_TOKENS: usize = 64;

/// Listens to a run.
pub(super) struct Progress<'t> {
    options: &'t Train,
    out: PathBuf,
    bar: ProgressBar,
    /// Steps between lines, where there is no bar.
    line_every: u64,
    tokenizer: Option<Tokenizer>,
    metrics: MetricsLog,
}

impl<'t> Progress<'t> {
    /// Says what is about to be trained.
    pub(super) fn start(
        options: &'t Train,
        out: &Path,
        run: &Run,
        resumed_at: Option<u64>,
    ) -> Result<Self, Failure> {
        let state = run.state();
        let settings = &state.settings;
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {prefix}\n{wide_msg}");
        let is_silent = options.quiet || options.json;
        let bar = if is_silent { ProgressBar::hidden() } else { ProgressBar::new(settings.steps) };
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_position(state.step);
        // The tokenizer is opened again, as the run owns its own.
        let tokenizer = run.model().tokenizer.as_ref().map(Tokenizer::source);
        let tokenizer = tokenizer.and_then(|path| Tokenizer::open(path, None).ok());
        let line_every = (settings.steps / LINES).max(1);
        let csv = options.csv.as_deref();
        // What a run wrote after the checkpoint that it goes on from, or before its first, did not happen.
        let metrics = MetricsLog::resume(out, csv, resumed_at.unwrap_or(0))?;
        let progress = Self { metrics, options, out: out.to_owned(), bar, line_every, tokenizer };
        let parameters: usize = run.trainer().parameters().iter().map(|p| p.values.len()).sum();
        progress.say(&format!(
            "training {:.1} million parameters on {} tokens from {}\n{} steps of {} tokens ({} × {} × {}), learning \
             rate {:.1e}, in {}",
            parameters as f64 / 1e6,
            settings.dataset_tokens,
            settings.dataset.display(),
            settings.steps,
            settings.tokens_per_step(),
            settings.accumulation,
            settings.batch,
            settings.sequence,
            settings.optimizer.schedule.peak,
            out.display(),
        ))?;
        match resumed_at {
            Some(step) if step >= settings.steps => progress.say(&format!(
                "all {step} steps of this run are done; --steps N with a larger N goes on"
            ))?,
            Some(step) => progress.say(&format!("going on after step {step}"))?,
            None => {}
        }
        Ok(progress)
    }

    pub(super) fn hear(&mut self, event: &Event<'_>) -> Result<(), Failure> {
        match event {
            Event::Step { report, state, tokens_per_second } => {
                self.step(*report, state, *tokens_per_second)
            }
            Event::Validation { step, tokens, loss, is_best } => {
                self.metrics.record(ValidationMetrics {
                    step: *step,
                    validation_loss: *loss as f32,
                    perplexity: loss.exp(),
                    tokens: *tokens,
                })?;
                let best = if *is_best { ", the lowest so far" } else { "" };
                self.say(&format!("step {step}: validation loss {loss:.4}{best}"))
            }
            Event::Saved { step, path } => {
                self.say(&format!("step {step}: saved {}", path.display()))?;
                match self.sample(path) {
                    Some(text) => self.say(&format!("step {step}: {text}")),
                    None => Ok(()),
                }
            }
        }
    }

    fn step(&mut self, report: StepReport, state: &RunState, rate: f64) -> Result<(), Failure> {
        let StepReport { step, loss, rate: learning_rate, .. } = report;
        self.metrics.record(StepMetrics {
            step,
            loss,
            smoothed_loss: state.smoothed_loss.unwrap_or_default() as f32,
            learning_rate,
            gradient_norm: report.gradient_norm,
            tokens: state.tokens,
            tokens_per_second: rate,
            seconds: state.seconds,
            resident_bytes: peak_resident_bytes(),
        })?;
        let steps = state.settings.steps;
        let left = steps.saturating_sub(step) as f64 * state.settings.tokens_per_step() as f64;
        let left = format!("{} left", duration(left / rate.max(1e-9)));
        let losses =
            format!("loss {loss:.4} · smoothed {:.4}", state.smoothed_loss.unwrap_or_default());
        let speed = format!("{rate:.0} tok/s");
        let rest = format!(
            "lr {learning_rate:.2e} · {}",
            peak_resident_bytes().map_or_else(|| "memory unknown".to_owned(), output::bytes)
        );
        self.bar.set_position(step);
        if !self.bar.is_hidden() {
            // Two lines: one of 80 columns would hold half of it.
            self.bar.set_prefix(left);
            self.bar.set_message(format!("{losses} · {speed} · {rest}"));
            return Ok(());
        }
        if step == 1 || step == steps || step.is_multiple_of(self.line_every) {
            self.say(&format!("step {step}/{steps}: {losses} · {speed} · {left} · {rest}"))?;
        }
        Ok(())
    }

    /// A line that stays, for as long as somebody reads.
    fn say(&self, text: &str) -> Result<(), Failure> {
        if self.options.quiet || self.options.json {
            return Ok(());
        }
        match self.bar.suspend(|| output::write_line(text)) {
            // Nobody reads any more; the run goes on.
            Err(Failure::OutputClosed) => Ok(()),
            written => written,
        }
    }

    /// Text by the model of a checkpoint; a failure to write some is no reason to end a run.
    fn sample(&self, checkpoint: &Path) -> Option<String> {
        if self.options.no_sample || self.options.quiet || self.options.json {
            return None;
        }
        let tokenizer = self.tokenizer.as_ref()?;
        let prompt = match &self.options.sample {
            Some(text) => tokenizer.encode(text, AddSpecial::Yes, ParseSpecial::Yes).ok()?,
            None => vec![tokenizer.bos().or_else(|| end_of_text(tokenizer).ok())?],
        };
        let checkpoint = Checkpoint::open(checkpoint, None).ok()?;
        let options = LoadOptions { context: prompt.len() + SAMPLE_TOKENS, cache: DType::F16 };
        let cpu = Cpu::new(usize::from(self.options.threads));
        let model =
            LanguageModel::load(checkpoint.model, checkpoint.weights, &cpu, options).ok()?;
        let request =
            Request { prompt: &prompt, max_tokens: SAMPLE_TOKENS, stop: &[], ignore_eos: false };
        let mut sampler = Sampler::new(Sampling::default()).ok()?;
        let ignore = &mut |_: &str| ControlFlow::Continue(());
        let generated =
            generate(&mut model.converse(), tokenizer, &mut sampler, &request, ignore).ok()?;
        let start = self.options.sample.as_deref().unwrap_or_default();
        let text = format!("{start}{}", generated.text);
        Some(format!("“{}”", text.split_whitespace().collect::<Vec<_>>().join(" ")))
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    pub(super) fn summary(
        &self,
        run: &Run,
        ending: Ending,
        model: &str,
        breakdown: Option<&Breakdown>,
    ) -> Result<(), Failure> {
        let state = run.state();
        if self.options.json {
            let report = json!({
                "finished": ending == Ending::Finished,
                "step": state.step,
                "tokens": state.tokens,
                "seconds": state.seconds,
                "smoothed_loss": state.smoothed_loss,
                "best_validation_loss": state.best.map(|(_, loss)| loss),
                "best_step": state.best.map(|(step, _)| step),
                "model": self.out.display().to_string(),
                "neural_engine": breakdown.map(Breakdown::object),
                "peak_resident_bytes": peak_resident_bytes(),
            });
            return output::write_line(&report.to_string());
        }
        let how = match ending {
            Ending::Finished => "finished",
            Ending::Stopped => "stopped; go on with --resume",
        };
        let best = state.best.map_or_else(String::new, |(step, loss)| {
            format!(
                ", lowest validation loss {loss:.4} (perplexity {:.2}) at step {step}",
                loss.exp()
            )
        });
        let rate = state.tokens as f64 / state.seconds.max(1e-9);
        self.say(&format!(
            "{how}: {} steps, {} tokens in {}, {rate:.0} tok/s, smoothed loss {:.4}{best}\nmodel {model}: {}",
            state.step,
            state.tokens,
            duration(state.seconds),
            state.smoothed_loss.unwrap_or_default(),
            self.out.display(),
        ))?;
        match breakdown.filter(|_| self.options.verbose) {
            Some(breakdown) => self.say(&breakdown.table()),
            None => Ok(()),
        }
    }
}

fn duration(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.round()).unwrap_or_default().as_secs();
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {seconds:02} s"),
        _ => format!("{hours} h {minutes:02} min"),
    }
}
