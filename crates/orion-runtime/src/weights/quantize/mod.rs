//! Stores a model's matrices in another element type, as a GGUF file.
//!
//! Which tensors change: matrices (two axes or more) go to the wanted type, the token embedding and the output matrix
//! with them. Vectors, norms, biases, router matrices and position tables go to `f32`, which llama.cpp expects of
//! them and which costs next to nothing. A matrix whose rows are no whole blocks of 256 goes to the nearest type
//! with blocks of 32, as in llama.cpp (`q4_k` to `q5_0`, `q5_k` to `q5_1`, `q6_k` to `q8_0`); one whose rows are no
//! whole blocks of 32 goes to `f16`.

mod rows;

use std::path::{Path, PathBuf};

use orion_compiler::DType;

use super::{
    Description, LoadError, ModelFile, Place, WeightEntry, WeightSource,
    error::Quoted,
    gguf::{self, Metadata, SaveError, TensorSpec, Value, Writer},
    require,
};
use rows::RowReader;

/// How llama.cpp counts revisions of its block layouts; all of Orion's are of revision 2.
const QUANTIZATION_VERSION: u32 = 2;

/// A model that cannot be stored in another type.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// The input lacks something.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The output cannot be written.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The wanted type does not store weights.
    #[error("weights cannot be stored as {0}; use q8_0, q4_0, q4_k, f16 or bf16")]
    Target(DType),
    /// A weight is NaN or infinite, or too large for the wanted type.
    #[error(
        "{}: tensor {}: value {value} cannot be stored as {target}; {}",
        .path.display(), Quoted(.tensor),
        if .value.is_finite() { "use bf16" } else { "the weights are broken: get them again" }
    )]
    Value {
        /// The input.
        path: PathBuf,
        /// The tensor's name in the input.
        tensor: String,
        /// The value.
        value: f32,
        /// The type that was to hold it.
        target: DType,
    },
}

/// What a model is in GGUF: the keys, and where each tensor comes from.
///
/// A GGUF input carries it ([`GgufNaming::carried_over`]). For other inputs, whoever knows the architecture makes it.
#[derive(Clone, Debug)]
pub struct GgufNaming {
    /// All keys but `general.file_type` and `general.quantization_version`, which [`quantize`] sets.
    pub metadata: Metadata,
    /// Vectors that GGUF keeps among the tensors and the source has none of, by name; they come first.
    pub constants: Vec<(String, Vec<f32>)>,
    /// The tensors in the order of the output.
    pub tensors: Vec<TensorNaming>,
}

/// Where one tensor of a GGUF file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorNaming {
    /// The name in the source.
    pub source: String,
    /// The name in GGUF.
    pub name: String,
    /// How the rows lie there.
    pub layout: Layout,
}

/// How the rows of a GGUF tensor follow from the source's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As they are.
    AsStored,
    /// Query and key projections of a Hugging Face Llama, whose rotary pairs are the two halves of a head: in GGUF
    /// they are neighbours. Row `2 i + half` of a head comes from row `half · head_dim / 2 + i`.
    RotaryPairs {
        /// Heads that the rows divide into.
        heads: usize,
    },
    /// Rows become columns: GPT-2's matrices are `[in, out]` in Hugging Face files.
    Transposed,
}

impl GgufNaming {
    /// The naming that a GGUF input has already; `None` for other formats.
    pub fn carried_over(input: &ModelFile) -> Option<Self> {
        let Description::Gguf(metadata) = &input.description else { return None };
        let as_is = |entry: &WeightEntry| TensorNaming {
            source: entry.name.clone(),
            name: entry.name.clone(),
            layout: Layout::AsStored,
        };
        let tensors = input.weights.entries().iter().map(as_is).collect();
        Some(Self { metadata: metadata.clone(), constants: Vec::new(), tensors })
    }
}

/// How far [`quantize`] is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The tensor at hand, by its GGUF name.
    pub tensor: &'a str,
    /// Bytes of the input that are done.
    pub done: u64,
    /// Bytes of the input in all.
    pub total: u64,
}

/// What [`quantize`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuantizeReport {
    /// Bytes of the tensors in the input.
    pub bytes_read: u64,
    /// Bytes of the tensors in the output.
    pub bytes_written: u64,
    /// Matrices that could not have the wanted type, with the one that they got.
    pub fallbacks: Vec<(String, DType)>,
    /// Matrices that were already quantised, in another type. Their loss adds to the new one.
    pub requantized: usize,
}

/// Writes `source` to `output` as GGUF with its matrices in type `target`; see the module for which tensors that is.
///
/// No more than a piece of a tensor is in memory. The output appears whole or not at all.
///
/// # Errors
/// When a tensor is missing or broken, or the output cannot be written.
pub fn quantize(
    source: &dyn WeightSource,
    naming: &GgufNaming,
    output: &Path,
    target: DType,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<QuantizeReport, QuantizeError> {
    let file_type = gguf::file_type(target).ok_or(QuantizeError::Target(target))?;
    let mut metadata = naming.metadata.clone();
    metadata.insert("general.file_type", Value::U32(file_type));
    metadata.insert("general.quantization_version", Value::U32(QUANTIZATION_VERSION));

    let mut report = QuantizeReport::default();
    let mut plan = Vec::with_capacity(naming.tensors.len());
    let mut total = 0;
    for tensor in &naming.tensors {
        let entry = require(source, &tensor.source)?;
        let shape = output_shape(source, entry, tensor.layout)?;
        let dtype = output_type(&tensor.name, &shape, entry.dtype, target);
        if dtype.is_block() && entry.dtype.is_block() && dtype != entry.dtype {
            report.requantized += 1;
        }
        if dtype != target && is_quantizable(&tensor.name, &shape, entry.dtype) {
            report.fallbacks.push((tensor.name.clone(), dtype));
        }
        total += entry.byte_len() as u64;
        plan.push((entry, tensor.layout, TensorSpec { name: tensor.name.clone(), dtype, shape }));
    }
    let constants = naming.constants.iter().map(|(name, values)| TensorSpec {
        name: name.clone(),
        dtype: DType::F32,
        shape: vec![values.len()],
    });
    let specs = constants.chain(plan.iter().map(|(.., spec)| spec.clone())).collect();
    let mut writer = Writer::create(output, &metadata, specs)?;
    for (_, values) in &naming.constants {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        writer.write(&bytes)?;
        report.bytes_written += bytes.len() as u64;
    }
    for (entry, layout, spec) in plan {
        let mut done = report.bytes_read;
        progress(Progress { tensor: &spec.name, done, total });
        let reader = RowReader::new(source, entry, layout, &spec);
        reader.convert(&mut |bytes, read| {
            writer.write(bytes)?;
            report.bytes_written += bytes.len() as u64;
            done += read as u64;
            progress(Progress { tensor: &spec.name, done, total });
            Ok(())
        })?;
        source.release(entry, 0..entry.byte_len());
        report.bytes_read += entry.byte_len() as u64;
    }
    writer.finish()?;
    Ok(report)
}

/// Whether a tensor is a matrix that the wanted type is for.
fn is_quantizable(name: &str, shape: &[usize], stored: DType) -> bool {
    const KEPT: &[&str] = &["position_embd.weight", "token_types.weight"];
    const KEPT_IN_LAYERS: &[&str] = &["_norm.weight", "ffn_gate_inp.weight"];
    shape.len() >= 2
        && stored.is_float()
        && name.ends_with(".weight")
        && !KEPT.contains(&name)
        && !KEPT_IN_LAYERS.iter().any(|kept| name.ends_with(kept))
}

fn output_type(name: &str, shape: &[usize], stored: DType, target: DType) -> DType {
    if !stored.is_float() {
        return stored;
    }
    if !is_quantizable(name, shape, stored) {
        return DType::F32;
    }
    let coarser_blocks = match target {
        DType::Q4K => DType::Q5_0,
        DType::Q5K => DType::Q5_1,
        DType::Q6K => DType::Q8_0,
        other => other,
    };
    let row_len = shape.last().copied().unwrap_or(1);
    [target, coarser_blocks]
        .into_iter()
        .find(|dtype| row_len.is_multiple_of(dtype.block_len()))
        .unwrap_or(DType::F16)
}

/// The shape in GGUF; an error if the layout does not suit the tensor.
fn output_shape(
    source: &dyn WeightSource,
    entry: &WeightEntry,
    layout: Layout,
) -> Result<Vec<usize>, LoadError> {
    let refused = |rule: String| {
        LoadError::malformed(source.origin(), Place::Tensor(entry.name.clone()), rule)
    };
    match (layout, entry.shape.as_slice()) {
        (Layout::AsStored, shape) => Ok(shape.to_vec()),
        (Layout::RotaryPairs { heads }, shape @ [rows, ..])
            if heads > 0
                && rows.is_multiple_of(2 * heads)
                && (shape.len() > 1 || !entry.dtype.is_block()) =>
        {
            Ok(shape.to_vec())
        }
        (Layout::Transposed, &[rows, columns]) if !entry.dtype.is_block() => {
            Ok(vec![columns, rows])
        }
        (Layout::RotaryPairs { heads }, shape) => Err(refused(format!(
            "{} of shape {shape:?} does not divide into rotary pairs of {heads} heads",
            entry.dtype
        ))),
        (Layout::Transposed, shape) => Err(refused(format!(
            "{} of shape {shape:?} is no dense matrix that could be transposed",
            entry.dtype
        ))),
    }
}
