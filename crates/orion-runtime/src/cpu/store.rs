//! Weights in the forms that kernels read, made once and shared by all programs of an executable: matrices packed,
//! vectors decoded to `f32`.

use std::collections::BTreeMap;
use std::sync::Arc;

use orion_compiler::TensorType;
use orion_kernels::matmul::PackedMatrix;
use orion_kernels::pool::Pool;

use crate::backend::CompileError;
use crate::weights::WeightSet;

pub(super) struct WeightStore {
    weights: Arc<WeightSet>,
    pool: Arc<Pool>,
    packed: BTreeMap<String, Arc<PackedMatrix>>,
    dense: BTreeMap<String, Arc<Vec<f32>>>,
}

impl WeightStore {
    pub(super) fn new(weights: Arc<WeightSet>, pool: Arc<Pool>) -> Self {
        Self { weights, pool, packed: BTreeMap::new(), dense: BTreeMap::new() }
    }

    /// A matrix `[rows, columns]` in the element type of `ty`, packed.
    pub(super) fn packed(
        &mut self,
        name: &str,
        ty: &TensorType,
    ) -> Result<Arc<PackedMatrix>, CompileError> {
        if let Some(known) = self.packed.get(name) {
            return Ok(Arc::clone(known));
        }
        let matrix = Arc::new(self.weights.pack(&self.pool, name, ty)?);
        self.packed.insert(name.to_owned(), Arc::clone(&matrix));
        Ok(matrix)
    }

    /// All elements as `f32`.
    pub(super) fn dense(
        &mut self,
        name: &str,
        ty: &TensorType,
    ) -> Result<Arc<Vec<f32>>, CompileError> {
        if let Some(known) = self.dense.get(name) {
            return Ok(Arc::clone(known));
        }
        let values = Arc::new(self.weights.read(name, ty)?);
        self.dense.insert(name.to_owned(), Arc::clone(&values));
        Ok(values)
    }
}
