//! A language model ready to run, and conversations with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use orion_compiler::engine::LAST;
use orion_compiler::{
    BuildError, Builder, DType, Diagnostics, Program, TensorType, Verified, verify,
};
use orion_runtime::backend::{Backend, CompileError, Executable, ProgramId, RunError, Session};
use orion_runtime::trace::Recorder;
use orion_runtime::weights::WeightSet;
use orion_runtime::{TensorView, TensorViewMut, Widths};

use super::SamplingError;
use crate::block::{Cache, Logits, ModelBuilder, Pass, Weights};
use crate::model::{Dimensions, Model};
use crate::tokenizer::{TokenId, TokenizerError};

/// Tokens that one run of a prompt takes at most. Longer chunks keep the matrix kernels no busier, and their
/// activations would only take memory.
const CHUNK: usize = 192;

/// How a model is run.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Longest text in tokens; bounded by the model's own limit. The cache grows with it.
    pub context: usize,
    /// Element type of the cache: `f16` or `f32`.
    pub cache: DType,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { context: 4096, cache: DType::F16 }
    }
}

/// Why text could not be generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The model's definition does not fit its weights.
    #[error("{origin}: {error}{remark}")]
    Build {
        /// The file of the weights.
        origin: String,
        /// What does not fit.
        error: BuildError,
        /// What the file holds instead, if that is known.
        remark: String,
    },
    /// The model's graph is not valid: a mistake in the model's definition.
    #[error("{0}")]
    Invalid(#[from] Diagnostics),
    /// The device cannot run the model.
    #[error("{0}")]
    Compile(#[from] CompileError),
    /// The device refused a run.
    #[error("{0}")]
    Run(#[from] RunError),
    /// The text is longer than the context.
    #[error(
        "the text has {tokens} tokens, the context holds {context}; shorten it, or raise --context if the model allows"
    )]
    ContextFull {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens that fit.
        context: usize,
    },
    /// A token that the model does not know.
    #[error(
        "token {token} is outside of the model's vocabulary of {vocabulary}: the tokenizer belongs to another model"
    )]
    UnknownToken {
        /// The token.
        token: TokenId,
        /// Tokens that the model knows.
        vocabulary: usize,
    },
    /// Nothing to continue: no prompt, and a tokenizer without a token that begins texts.
    #[error("the prompt is empty and the model has no token that begins a text; give a prompt")]
    EmptyPrompt,
    /// No token could be drawn.
    #[error("{0}")]
    Sampling(#[from] SamplingError),
    /// A token could not be turned into text.
    #[error("{0}")]
    Tokenizer(#[from] TokenizerError),
}

/// A model on a device. Conversations share its weights and compiled programs.
pub struct LanguageModel {
    model: Box<dyn Model>,
    weights: Arc<WeightSet>,
    executable: Arc<dyn Executable>,
    /// Compiled passes by number of tokens.
    programs: Mutex<BTreeMap<usize, ProgramId>>,
    context: usize,
    cache: DType,
    /// Tokens that programs take, from few to many; none if they take as many as there are.
    buckets: Vec<usize>,
    recorder: Option<Arc<Recorder>>,
}

impl LanguageModel {
    /// Brings a model onto a device. The program for single tokens is compiled at once, so that a weight that is
    /// missing or does not fit is reported here.
    pub fn load(
        model: Box<dyn Model>,
        weights: Arc<WeightSet>,
        backend: &dyn Backend,
        options: LoadOptions,
    ) -> Result<Self, GenerateError> {
        Self::load_traced(model, weights, backend, options, None)
    }

    /// The same, and who is told what conversations read.
    pub fn load_traced(
        model: Box<dyn Model>,
        weights: Arc<WeightSet>,
        backend: &dyn Backend,
        options: LoadOptions,
        recorder: Option<Arc<Recorder>>,
    ) -> Result<Self, GenerateError> {
        let executable = backend.load(Arc::clone(&weights))?;
        let context = options.context.clamp(1, model.dimensions().context);
        let programs = Mutex::default();
        let cache = options.cache;
        let mut buckets = match backend.widths() {
            Widths::Buckets(buckets) => buckets,
            Widths::Any => Vec::new(),
        };
        buckets.iter_mut().for_each(|tokens| *tokens = (*tokens).clamp(1, context));
        buckets.sort_unstable();
        buckets.dedup();
        let this = Self { model, weights, executable, programs, context, cache, buckets, recorder };
        this.pass(this.width(1))?;
        Ok(this)
    }

    /// The model's sizes.
    pub fn dimensions(&self) -> Dimensions {
        self.model.dimensions()
    }

    /// Longest text in tokens.
    pub fn context(&self) -> usize {
        self.context
    }

    /// A new conversation.
    pub fn converse(&self) -> Conversation<'_> {
        let vocabulary = self.dimensions().vocabulary;
        let session = self.executable.session();
        let (tokens, around) = (Vec::new(), Vec::new());
        Conversation { model: self, session, tokens, logits: vec![0.0; vocabulary], around }
    }

    /// Tokens that the program for this many new ones takes.
    fn width(&self, tokens: usize) -> usize {
        let fitting = self.buckets.iter().find(|&&bucket| tokens <= bucket);
        fitting.or(self.buckets.last()).copied().unwrap_or(tokens.min(CHUNK))
    }

    /// Which logits a pass of this many tokens gives.
    fn logits_of(&self) -> Logits {
        self.buckets.first().map_or(Logits::Last, |&few| Logits::Around(few))
    }

    /// The compiled pass of this many tokens.
    fn pass(&self, tokens: usize) -> Result<ProgramId, GenerateError> {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&known) = programs.get(&tokens) {
            return Ok(known);
        }
        let span = |recorder: &Arc<Recorder>| {
            recorder.span("prepare", format!("prepare a program for {tokens} tokens"))
        };
        let _span = self.recorder.as_ref().map(span);
        let cache = Some(Cache { capacity: self.context, dtype: self.cache });
        let pass = Pass { batch: 1, tokens, cache, logits: self.logits_of() };
        let program = self.executable.add(&forward(&*self.model, &self.weights, pass)?)?;
        programs.insert(tokens, program);
        Ok(program)
    }
}

/// The verified forward program of a model for one kind of pass. Inputs: `tokens i32[batch, tokens]` and, with a cache,
/// `position i32[]`, with logits around one token `last i32[]`; output: `logits f32[batch, tokens or fewer, vocabulary]`.
pub fn forward(
    model: &dyn Model,
    weights: &WeightSet,
    pass: Pass,
) -> Result<Verified<Program>, GenerateError> {
    let b = Builder::new(format!("forward_{}x{}", pass.batch, pass.tokens));
    let tokens = b.input("tokens", TensorType::new(DType::I32, [pass.batch, pass.tokens]));
    let position = match pass.cache {
        Some(_) => b.input("position", TensorType::scalar(DType::I32)),
        None => b.constant(DType::I32, &[], vec![0.0]),
    };
    let types = |name: &str| weights.type_of(name).cloned();
    let m = ModelBuilder::new(&b, Weights::Stored(&types), pass, position);
    let m = match pass.logits {
        Logits::Around(_) => m.with_last(b.input(LAST, TensorType::scalar(DType::I32))),
        _ => m,
    };
    b.output("logits", model.build(&m, tokens));
    let program = b.finish().map_err(|error| GenerateError::Build {
        origin: weights.source().origin().display().to_string(),
        remark: remark(weights, &error),
        error,
    })?;
    Ok(verify(program)?)
}

/// What else there is to say of the tensor that the error names: what the file calls it, and whether it is there in a
/// type that cannot be used.
fn remark(weights: &WeightSet, error: &BuildError) -> String {
    let Some(name) = error.error.0.split('`').nth(1) else { return String::new() };
    let stored = weights.stored_name(name);
    let alias = if stored == name { String::new() } else { format!(" (`{stored}` in the file)") };
    let mut skipped = weights.source().skipped().iter();
    let reason = skipped.find(|tensor| tensor.name == stored || tensor.name == name).map_or_else(
        || "; the file is incomplete, or its configuration is another model's".to_owned(),
        |tensor| {
            let stored = &tensor.stored_as;
            format!(
                ": it is stored as {stored}, which is not supported; store it as F32, F16 or BF16"
            )
        },
    );
    alias + &reason
}

/// A text that a model has read, and what it expects next.
pub struct Conversation<'a> {
    model: &'a LanguageModel,
    session: Box<dyn Session>,
    /// The tokens that the cache holds.
    tokens: Vec<TokenId>,
    logits: Vec<f32>,
    /// Logits of the tokens around the last, of programs that give several.
    around: Vec<f32>,
}

impl Conversation<'_> {
    /// The text so far.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// How many more tokens fit.
    pub fn room(&self) -> usize {
        self.model.context - self.tokens.len()
    }

    /// Longest text in tokens.
    pub fn context(&self) -> usize {
        self.model.context
    }

    /// Logits of the token that follows the text, one for each token of the vocabulary. Zeros before the first token.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Forgets everything behind the first `tokens` tokens. The logits are those of the text before until more is fed.
    pub fn truncate(&mut self, tokens: usize) {
        self.tokens.truncate(tokens);
    }

    /// Reads more text.
    pub fn feed(&mut self, tokens: &[TokenId]) -> Result<(), GenerateError> {
        let vocabulary = self.logits.len();
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(GenerateError::UnknownToken { token, vocabulary });
        }
        if tokens.len() > self.room() {
            let tokens = self.tokens.len() + tokens.len();
            return Err(GenerateError::ContextFull { tokens, context: self.model.context });
        }
        let at = self.tokens.len();
        let span = |recorder: &Arc<Recorder>| match tokens.len() {
            1 if at > 0 => recorder.span("token", format!("token {at}")),
            count => recorder.span("prompt", format!("{count} tokens from {at}")),
        };
        let _span = self.model.recorder.as_ref().map(span);
        match self.model.buckets.first() {
            None => self.feed_exactly(tokens),
            Some(&few) => self.feed_filled(tokens, few),
        }
    }

    /// Reads text in programs of just as many tokens.
    fn feed_exactly(&mut self, tokens: &[TokenId]) -> Result<(), GenerateError> {
        for chunk in tokens.chunks(CHUNK) {
            let program = self.model.pass(chunk.len())?;
            let ids: Vec<i32> = chunk.iter().map(|&token| token.cast_signed()).collect();
            let position = [self.tokens.len() as i32];
            let inputs = [TensorView::I32(&ids), TensorView::I32(&position)];
            self.session.run(program, &inputs, &mut [TensorViewMut::F32(&mut self.logits)])?;
            self.tokens.extend_from_slice(chunk);
        }
        Ok(())
    }

    /// Reads text in programs of fixed widths, filled up with the last token again, which comes to nothing.
    fn feed_filled(&mut self, tokens: &[TokenId], few: usize) -> Result<(), GenerateError> {
        let vocabulary = self.logits.len();
        let mut rest = tokens;
        while !rest.is_empty() {
            let width = self.model.width(rest.len());
            let (chunk, behind) = rest.split_at(rest.len().min(width));
            rest = behind;
            // At the end of the context the window begins earlier, with tokens that are read again.
            let start = self.tokens.len().min(self.model.context - width);
            let mut ids: Vec<i32> = self.tokens[start..]
                .iter()
                .chain(chunk)
                .map(|&token| token.cast_signed())
                .collect();
            let last = ids.len() - 1;
            ids.resize(width, ids.last().copied().unwrap_or(0));
            let program = self.model.pass(width)?;
            let (position, last_input) = ([start as i32], [last as i32]);
            let inputs = [&ids[..], &position, &last_input].map(TensorView::I32);
            self.around.resize(few.min(width) * vocabulary, 0.0);
            self.session.run(program, &inputs, &mut [TensorViewMut::F32(&mut self.around)])?;
            let first = if few < width { last.min(width - few) } else { 0 };
            let row = &self.around[(last - first) * vocabulary..][..vocabulary];
            self.logits.copy_from_slice(row);
            self.tokens.extend_from_slice(chunk);
        }
        Ok(())
    }
}
