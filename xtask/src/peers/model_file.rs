//! GGUF files with random weights of a shape: speed does not depend on what a model knows.

use std::path::{Path, PathBuf};

use orion_compiler::DType;
use orion_kernels::{WeightFormat, format::encode};
use orion_runtime::weights::gguf::{Metadata, TensorSpec, Value, Writer, file_type};

use super::shape::{Architecture, Shape};
use crate::Failure;

/// Values that are encoded at a time; a multiple of every block's length.
const PIECE: usize = 1 << 16;

/// The file of `shape` in `format` inside `folder`, written unless it is there.
pub(super) fn provide(folder: &Path, shape: &Shape, format: DType) -> Result<PathBuf, Failure> {
    let path = folder.join(format!("{}-{format}.gguf", shape.name));
    if !path.exists() {
        println!("writing {}", path.display());
        write(&path, shape, format).map_err(|error| error.to_string())?;
    }
    Ok(path)
}

fn write(path: &Path, shape: &Shape, format: DType) -> Result<(), Box<dyn std::error::Error>> {
    let tensors = shape.tensors();
    let specs = tensors.iter().map(|tensor| TensorSpec {
        name: tensor.name.clone(),
        dtype: if tensor.is_multiplied() { format } else { DType::F32 },
        shape: tensor.shape.clone(),
    });
    let specs: Vec<_> = specs.collect();
    let mut writer = Writer::create(path, &metadata(path, shape, format), specs.clone())?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for spec in specs {
        let is_gain = spec.name.ends_with("norm.weight");
        let storage = storage(spec.dtype)?;
        let mut left: usize = spec.shape.iter().product();
        while left > 0 {
            let count = left.min(PIECE);
            let values: Vec<f32> =
                (0..count).map(|_| if is_gain { 1.0 } else { random.weight() }).collect();
            let mut bytes = vec![0; count / storage.block_len() * storage.block_bytes()];
            encode(storage, &values, &mut bytes);
            writer.write(&bytes)?;
            left -= count;
        }
    }
    Ok(writer.finish()?)
}

fn storage(dtype: DType) -> Result<WeightFormat, Failure> {
    Ok(match dtype {
        DType::F32 => WeightFormat::F32,
        DType::F16 => WeightFormat::F16,
        DType::BF16 => WeightFormat::BF16,
        DType::Q8_0 => WeightFormat::Q8_0,
        DType::Q4_0 => WeightFormat::Q4_0,
        DType::Q4K => WeightFormat::Q4K,
        other => return Err(format!("no comparison is made in {other}")),
    })
}

/// Keys that llama.cpp and Orion need to run a model that has no vocabulary.
fn metadata(path: &Path, shape: &Shape, format: DType) -> Metadata {
    let mut metadata = Metadata::new(path);
    let architecture = if shape.architecture == Architecture::Gpt2 { "gpt2" } else { "llama" };
    let text = |text: &str| Value::String(text.into());
    let number = |number: usize| Value::U32(number as u32);
    metadata.insert("general.architecture", text(architecture));
    metadata.insert("general.name", text(shape.name));
    metadata.insert("general.file_type", Value::U32(file_type(format).unwrap_or_default()));
    metadata.insert("tokenizer.ggml.model", text("no_vocab"));
    let mut add = |key: &str, value| metadata.insert(format!("{architecture}.{key}"), value);
    add("vocab_size", number(shape.vocab));
    add("block_count", number(shape.layers));
    add("context_length", number(shape.context));
    add("embedding_length", number(shape.width));
    add("feed_forward_length", number(shape.hidden));
    add("attention.head_count", number(shape.heads));
    match shape.architecture {
        Architecture::Gpt2 => add("attention.layer_norm_epsilon", Value::F32(1e-5)),
        Architecture::Llama => {
            add("attention.head_count_kv", number(shape.heads));
            add("rope.dimension_count", number(shape.width / shape.heads));
            add("attention.layer_norm_rms_epsilon", Value::F32(1e-5))
        }
    };
    metadata
}

/// Marsaglia's xorshift with 64 bits (2003): the same files everywhere.
struct Random(u64);

impl Random {
    /// Uniform, with the deviation 0.02 that GPT-2 is initialised with.
    fn weight(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let unit = (self.0 >> 40) as f32 / (1 << 24) as f32;
        (unit * 2.0 - 1.0) * 0.02 * 3f32.sqrt()
    }
}
