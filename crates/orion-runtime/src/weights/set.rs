//! A model's weights under the names and in the orientation that its programs use, whatever file they come from, and
//! the element type they are to run in. Backends read weights only through this.

use std::collections::BTreeMap;
use std::sync::Arc;

use orion_compiler::{DType, TensorType};
use orion_kernels::format::{WeightFormat, decode};
use orion_kernels::matmul::{MatrixSource, PackedMatrix};
use orion_kernels::pool::Pool;
use xxhash_rust::xxh3::Xxh3;

use super::{WeightEntry, WeightSource};
use crate::backend::CompileError;

/// How a file stores a weight, compared with what a program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Arrangement {
    /// Row by row, as read.
    #[default]
    AsStored,
    /// Column by column: `[in, out]` where the program reads `[out, in]`.
    Transposed,
    /// Rows of each head interleaved for rotary pairs `(0, 1), (2, 3) …` where the program pairs halves
    /// `(0, d/2), (1, d/2 + 1) …`; as GGUF and llama2.c store the projections of queries and keys.
    InterleavedPairs {
        /// Number of heads that the rows are divided into.
        heads: usize,
    },
}

/// Weights by the names that programs use.
#[derive(Clone)]
pub struct WeightSet {
    source: Arc<dyn WeightSource>,
    weights: BTreeMap<String, Bound>,
    naming: Arc<Naming>,
}

/// The file's name of the weight that programs call so; `None` where it is the same.
type Naming = dyn Fn(&str) -> Option<String> + Send + Sync;

#[derive(Clone, Debug)]
struct Bound {
    entry: WeightEntry,
    arrangement: Arrangement,
    ty: TensorType,
}

impl std::fmt::Debug for WeightSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WeightSet({}, {} weights)", self.source.origin().display(), self.weights.len())
    }
}

impl WeightSet {
    /// No weights yet, from this source.
    pub fn new(source: Arc<dyn WeightSource>) -> Self {
        Self { source, weights: BTreeMap::new(), naming: Arc::new(|_| None) }
    }

    /// The same set with what the file calls a weight, for messages about weights that are not there.
    pub fn with_naming(
        self,
        naming: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { naming: Arc::new(naming), ..self }
    }

    /// What the file calls the weight that programs call `name`, or would call it.
    pub fn stored_name(&self, name: &str) -> String {
        match self.weights.get(name) {
            Some(bound) => bound.entry.name.clone(),
            None => (self.naming)(name).unwrap_or_else(|| name.to_owned()),
        }
    }

    /// Binds a program's `name` to an entry of the source. Matrices run in `dtype` where it is given and the row length
    /// allows, else as stored; vectors (norms and biases) always run in `f32`.
    pub fn bind(
        &mut self,
        name: impl Into<String>,
        entry: &WeightEntry,
        arrangement: Arrangement,
        dtype: Option<DType>,
    ) {
        let mut shape = entry.shape.clone();
        if arrangement == Arrangement::Transposed {
            shape.reverse();
        }
        let row = shape.last().copied().unwrap_or(1);
        let dtype = match dtype {
            _ if shape.len() < 2 => DType::F32,
            Some(dtype) if row.is_multiple_of(dtype.block_len()) => dtype,
            _ => entry.dtype,
        };
        let ty = TensorType::new(dtype, shape);
        self.weights.insert(name.into(), Bound { entry: entry.clone(), arrangement, ty });
    }

    /// The type that a weight runs in.
    pub fn type_of(&self, name: &str) -> Option<&TensorType> {
        self.weights.get(name).map(|bound| &bound.ty)
    }

    /// Names and types of all weights, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TensorType)> {
        self.weights.iter().map(|(name, bound)| (name.as_str(), &bound.ty))
    }

    /// The file that the weights come from.
    pub fn source(&self) -> &Arc<dyn WeightSource> {
        &self.source
    }

    /// What tells these weights from others without reading them: the files, where each weight lies in them and how it is
    /// read, in 128 bits (XXH3). `None` where weights are in no file, or a file has just been changed.
    pub fn identity(&self) -> Option<u128> {
        let mut hash = Xxh3::new();
        for file in self.source.files()? {
            hash.update(file.as_bytes());
            hash.update(b"\n");
        }
        for (name, bound) in &self.weights {
            hash.update(format!("{name:?} {bound:?}\n").as_bytes());
        }
        Some(hash.digest128())
    }

    fn find(&self, name: &str, ty: &TensorType) -> Result<&Bound, CompileError> {
        let origin = || self.source.origin().display().to_string();
        let name = || name.to_owned();
        let Some(bound) = self.weights.get(&name()) else {
            return Err(CompileError::MissingWeight { name: name(), origin: origin() });
        };
        if bound.ty.shape != ty.shape {
            let (expected, found) = (ty.clone(), bound.ty.clone());
            return Err(CompileError::WeightType {
                name: name(),
                origin: origin(),
                expected,
                found,
            });
        }
        Ok(bound)
    }

    /// All elements as `f32`, in the order that programs read. The file's pages are given back.
    pub fn read(&self, name: &str, ty: &TensorType) -> Result<Vec<f32>, CompileError> {
        let bound = self.find(name, ty)?;
        let bytes = self.source.bytes(&bound.entry);
        let mut stored = vec![0.0; bound.ty.elements()];
        decode(self.format(name, bound.entry.dtype)?, bytes, &mut stored);
        self.source.release(&bound.entry, 0..bytes.len());
        let columns = bound.ty.dim(-1);
        Ok(match bound.arrangement {
            Arrangement::AsStored => stored,
            Arrangement::Transposed => {
                let rows = bound.ty.elements() / columns.max(1);
                let places =
                    (0..rows).flat_map(|row| (0..columns).map(move |column| column * rows + row));
                places.map(|at| stored[at]).collect()
            }
            Arrangement::InterleavedPairs { heads } => {
                // A bias has rows of one element.
                let columns = if bound.ty.shape.len() == 1 { 1 } else { columns };
                let rows = bound.ty.elements() / columns.max(1);
                let order = halves_from_pairs(rows, heads);
                (0..rows)
                    .flat_map(|row| stored[order(row) * columns..][..columns].to_vec())
                    .collect()
            }
        })
    }

    /// A matrix in the element type of `ty`, in the layout of the CPU's kernels. Pages of the file are given back as
    /// they are read.
    pub fn pack(
        &self,
        pool: &Pool,
        name: &str,
        ty: &TensorType,
    ) -> Result<PackedMatrix, CompileError> {
        let bound = self.find(name, ty)?;
        let &[rows, columns] = bound.ty.shape.as_slice() else {
            return Err(self.form(name, format!("is {}, a matrix is needed", bound.ty)));
        };
        let heads = match bound.arrangement {
            Arrangement::InterleavedPairs { heads } => heads,
            _ => 1,
        };
        let order = halves_from_pairs(rows, heads);
        let release = |bytes: std::ops::Range<usize>| self.source.release(&bound.entry, bytes);
        let source = MatrixSource {
            format: self.format(name, bound.entry.dtype)?,
            rows,
            columns,
            bytes: self.source.bytes(&bound.entry),
            transposed: bound.arrangement == Arrangement::Transposed,
            row_order: matches!(bound.arrangement, Arrangement::InterleavedPairs { .. })
                .then_some(&order as &(dyn Fn(usize) -> usize + Sync)),
            release: Some(&release),
        };
        PackedMatrix::pack(pool, self.format(name, ty.dtype)?, &source)
            .map_err(|error| self.form(name, error.to_string()))
    }

    fn format(&self, name: &str, dtype: DType) -> Result<WeightFormat, CompileError> {
        super::weight_format(dtype)
            .ok_or_else(|| self.form(name, format!("{dtype} is no element type of weights")))
    }

    fn form(&self, name: &str, reason: String) -> CompileError {
        let origin = self.source.origin().display().to_string();
        CompileError::WeightForm { name: name.to_owned(), origin, reason }
    }
}

/// For each row of the half-paired order, the row of the interleaved order: within a head of `d` rows, row `i` of the
/// first half is stored at `2i` and row `i` of the second at `2i + 1`.
fn halves_from_pairs(rows: usize, heads: usize) -> impl Fn(usize) -> usize + Sync {
    let head = rows / heads.max(1);
    let half = (head / 2).max(1);
    move |row| {
        let (start, within) = (row - row % head.max(1), row % head.max(1));
        start + 2 * (within % half) + within / half
    }
}
