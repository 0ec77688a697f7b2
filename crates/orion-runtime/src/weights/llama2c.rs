//! llama2.c checkpoints (<https://github.com/karpathy/llama2.c>, `export.py`): a header of seven counts and the
//! weights in `f32`, back to back, each kind for all layers in turn.
//!
//! Version 0 has nothing but the counts; version 1 has a magic number and a padded header. The entries carry the
//! Hugging Face names of a Llama; the rows of the query and key projections are in Meta's order, where the two
//! halves of a rotary pair are neighbours (as in GGUF), not in Hugging Face's.

use std::path::Path;

use orion_compiler::DType;
use serde_json::{Map, Value, json};

use super::{
    LoadError, MappedWeights, Place, WeightEntry,
    cursor::Cursor,
    mapped::{self, EntryTable},
};

/// "ak42" as a little-endian number.
pub(crate) const MAGIC: [u8; 4] = 0x616b_3432_u32.to_le_bytes();
/// Length of the header from version 1 on.
const HEADER: usize = 256;
/// No count in a header is larger; products of a few of them stay far from overflow.
const MAX_COUNT: usize = 1 << 24;

/// The parsed head of a file.
#[derive(Debug)]
pub struct Checkpoint {
    /// What the header says, under the names of Hugging Face's `config.json`, with llama2.c's fixed constants.
    pub config: Map<String, Value>,
    table: EntryTable,
}

impl Checkpoint {
    /// The tensors, in file order.
    pub fn entries(&self) -> &[WeightEntry] {
        self.table.entries()
    }
}

/// Maps the checkpoint at `path` and reads its header.
///
/// # Errors
/// When it cannot be mapped, when the header makes no sense, or when the file's size is not what it implies.
pub fn open(path: &Path) -> Result<(Map<String, Value>, MappedWeights), LoadError> {
    let file = mapped::map(path)?;
    let checkpoint = parse(path, file.bytes())?;
    let weights = MappedWeights::new(path.to_owned(), vec![file], checkpoint.table, Vec::new());
    Ok((checkpoint.config, weights))
}

/// Reads the header of a checkpoint from the file's whole contents; `path` is for messages.
///
/// # Errors
/// As [`open`].
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Checkpoint, LoadError> {
    let mut cursor = Cursor::new(path, bytes);
    let (header, plan) = if bytes.starts_with(&MAGIC) {
        cursor.take(MAGIC.len(), "magic")?;
        let version = cursor.u32("version")?;
        if version != 1 {
            return Err(LoadError::Unsupported {
                path: path.to_owned(),
                place: Place::Offset(4),
                found: format!("llama2.c checkpoint version {version}"),
                remedy: "export it again as version 0 or 1",
            });
        }
        let mut header = Header::read(&mut cursor)?;
        header.shared_classifier = match cursor.array("shared classifier flag")? {
            [0] => false,
            [1] => true,
            [other] => {
                let rule = format!("the shared classifier flag is 0 or 1, not {other}");
                return Err(cursor.error_at(cursor.offset() - 1, rule));
            }
        };
        (header, header.plan_v1())
    } else {
        let header = Header::read(&mut cursor)?;
        (header, header.plan_v0())
    };
    plan.check_size(path, bytes.len())?;
    Ok(Checkpoint { config: header.config(), table: plan.entries(path)? })
}

/// The counts that describe a checkpoint.
#[derive(Clone, Copy)]
struct Header {
    dim: usize,
    hidden_dim: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    vocab: usize,
    max_seq: usize,
    shared_classifier: bool,
}

impl Header {
    /// The seven counts. A negative vocabulary size is version 0's sign for a separate classifier.
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, LoadError> {
        let mut count = |what: &str| {
            let at = cursor.offset();
            let value = cursor.i32(what)?;
            let size = value.unsigned_abs() as usize;
            if size == 0 || size > MAX_COUNT || (value < 0 && what != "vocab_size") {
                return Err(cursor.error_at(
                    at,
                    format!(
                        "a llama2.c header has a {what} from 1 to {MAX_COUNT} here, found {value}"
                    ),
                ));
            }
            Ok((size, value > 0))
        };
        let (dim, _) = count("dim")?;
        let (hidden_dim, _) = count("hidden_dim")?;
        let (layers, _) = count("n_layers")?;
        let (heads, _) = count("n_heads")?;
        let (kv_heads, _) = count("n_kv_heads")?;
        let (vocab, shared_classifier) = count("vocab_size")?;
        let (max_seq, _) = count("max_seq_len")?;
        let head_dim = dim / heads;
        if !dim.is_multiple_of(heads)
            || !heads.is_multiple_of(kv_heads)
            || !head_dim.is_multiple_of(2)
        {
            return Err(cursor.error_at(
                cursor.offset() - 7 * 4,
                format!(
                    "dim {dim} is a multiple of twice n_heads {heads}, which is a multiple of n_kv_heads {kv_heads}"
                ),
            ));
        }
        Ok(Self { dim, hidden_dim, layers, heads, kv_heads, vocab, max_seq, shared_classifier })
    }

    fn head_dim(&self) -> usize {
        self.dim / self.heads
    }

    fn config(&self) -> Map<String, Value> {
        let mut config = Map::new();
        for (key, value) in [
            ("model_type", json!("llama")),
            ("hidden_size", json!(self.dim)),
            ("intermediate_size", json!(self.hidden_dim)),
            ("num_hidden_layers", json!(self.layers)),
            ("num_attention_heads", json!(self.heads)),
            ("num_key_value_heads", json!(self.kv_heads)),
            ("vocab_size", json!(self.vocab)),
            ("max_position_embeddings", json!(self.max_seq)),
            ("tie_word_embeddings", json!(self.shared_classifier)),
            ("rms_norm_eps", json!(1e-5)),
            ("rope_theta", json!(10000.0)),
            ("hidden_act", json!("silu")),
        ] {
            config.insert(key.to_owned(), value);
        }
        config
    }

    fn layer_matrices(&self) -> [Section; 7] {
        let (dim, hidden, kv_dim) = (self.dim, self.hidden_dim, self.kv_heads * self.head_dim());
        [
            Section::layers("self_attn.q_proj.weight", vec![dim, dim]),
            Section::layers("self_attn.k_proj.weight", vec![kv_dim, dim]),
            Section::layers("self_attn.v_proj.weight", vec![kv_dim, dim]),
            Section::layers("self_attn.o_proj.weight", vec![dim, dim]),
            Section::layers("mlp.gate_proj.weight", vec![hidden, dim]),
            Section::layers("mlp.down_proj.weight", vec![dim, hidden]),
            Section::layers("mlp.up_proj.weight", vec![hidden, dim]),
        ]
    }

    fn embedding(&self) -> Section {
        Section::once("model.embed_tokens.weight", vec![self.vocab, self.dim])
    }

    fn norms(&self) -> [Section; 3] {
        [
            Section::layers("input_layernorm.weight", vec![self.dim]),
            Section::layers("post_attention_layernorm.weight", vec![self.dim]),
            Section::once("model.norm.weight", vec![self.dim]),
        ]
    }

    fn classifier(&self) -> Option<Section> {
        let head = || Section::once("lm_head.weight", vec![self.vocab, self.dim]);
        (!self.shared_classifier).then(head)
    }

    fn plan_v0(&self) -> Plan {
        let [attention_norm, ffn_norm, final_norm] = self.norms();
        let [q, k, v, o, gate, down, up] = self.layer_matrices();
        // The cosines and sines of the rotary embedding, which nobody needs: they follow from the positions.
        let table = vec![self.max_seq, self.head_dim() / 2];
        let tables = [Section::unused(table.clone()), Section::unused(table)];
        let mut sections = vec![
            self.embedding(),
            attention_norm,
            q,
            k,
            v,
            o,
            ffn_norm,
            gate,
            down,
            up,
            final_norm,
        ];
        sections.extend(tables);
        sections.extend(self.classifier());
        Plan { start: 7 * 4, layers: self.layers, sections }
    }

    fn plan_v1(&self) -> Plan {
        let mut sections = Vec::from(self.norms());
        sections.push(self.embedding());
        sections.extend(self.layer_matrices());
        sections.extend(self.classifier());
        Plan { start: HEADER, layers: self.layers, sections }
    }
}

/// Tensors of one kind, back to back.
struct Section {
    place: Tensors,
    shape: Vec<usize>,
}

enum Tensors {
    /// One tensor of this name.
    Once(&'static str),
    /// One tensor of this name in every layer.
    PerLayer(&'static str),
    /// Nothing that is read.
    Unused,
}

impl Section {
    fn once(name: &'static str, shape: Vec<usize>) -> Self {
        Self { place: Tensors::Once(name), shape }
    }

    fn layers(name: &'static str, shape: Vec<usize>) -> Self {
        Self { place: Tensors::PerLayer(name), shape }
    }

    fn unused(shape: Vec<usize>) -> Self {
        Self { place: Tensors::Unused, shape }
    }

    /// Bytes of one tensor.
    fn byte_len(&self) -> u128 {
        self.shape.iter().fold(size_of::<f32>() as u128, |product, &len| product * len as u128)
    }

    fn tensors(&self, layers: usize) -> usize {
        if matches!(self.place, Tensors::PerLayer(_)) { layers } else { 1 }
    }
}

/// The file from its first weight to its end.
struct Plan {
    start: usize,
    layers: usize,
    sections: Vec<Section>,
}

impl Plan {
    fn check_size(&self, path: &Path, found: usize) -> Result<(), LoadError> {
        let expected = self.sections.iter().fold(self.start as u128, |end, section| {
            end + section.byte_len() * section.tensors(self.layers) as u128
        });
        if expected == found as u128 {
            return Ok(());
        }
        Err(LoadError::malformed(
            path,
            Place::File,
            format!(
                "as a llama2.c checkpoint its header asks for {expected} bytes, the file has {found}"
            ),
        ))
    }

    /// The tensors with their positions; the size has been checked, so the positions fit.
    fn entries(&self, path: &Path) -> Result<EntryTable, LoadError> {
        let mut table = EntryTable::default();
        let mut start = self.start;
        for section in &self.sections {
            let len = section.byte_len() as usize;
            for layer in 0..section.tensors(self.layers) {
                let name = match section.place {
                    Tensors::Once(name) => Some(name.to_owned()),
                    Tensors::PerLayer(name) => Some(format!("model.layers.{layer}.{name}")),
                    Tensors::Unused => None,
                };
                if let Some(name) = name {
                    let shape = section.shape.clone();
                    let range = start..start + len;
                    table.insert(
                        path,
                        WeightEntry { name, dtype: DType::F32, shape, part: 0, range },
                    )?;
                }
                start += len;
            }
        }
        Ok(table)
    }
}
