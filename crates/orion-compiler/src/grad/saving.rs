//! What becomes of forward results that the backward pass reads. Kept as they are, they are most of the memory that
//! training takes: cheap ones can be computed again (Chen et al., 2016), others can wait in fewer bits. So can gradients,
//! for the optimiser.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{GRAD, again_scope};
use crate::ir::program::{Definition, NodeId, Program, ValueId};
use crate::op::Cast;
use crate::{DType, Op};

/// Nodes between the last forward and the first backward use of a value, below which it simply stays.
const SHORT_WAIT: usize = 8;
/// Elements below which a value is not worth the trouble.
const SMALL: usize = 4096;

/// How forward results are saved for the backward pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Saving {
    /// Whether results of such an operation are computed again instead of being kept; its operands are kept.
    pub recompute: Option<fn(&Op) -> bool>,
    /// The type in which the others wait; `None` keeps them as they are.
    pub dtype: Option<DType>,
    /// Whether the forward pass, too, reads such results of `linear` narrowed, as it rounds the operands where products are
    /// computed in that type: both passes then see the same numbers.
    pub narrows_linear: bool,
    /// The type in which gradients of matrices are given, narrowed as soon as they are whole; `None` gives them as they
    /// are.
    pub gradients: Option<DType>,
}

impl Saving {
    /// Whether computing an operation again costs far less than reading its result from memory would.
    pub fn is_cheap(op: &Op) -> bool {
        matches!(op, Op::RmsNorm(_) | Op::LayerNorm(_) | Op::Swiglu(_) | Op::Gelu(_))
    }

    /// Anything but sums and look-ups in tables: only what enters a layer's parts is kept, and each part is computed again
    /// when its backward pass begins.
    pub fn is_no_sum(op: &Op) -> bool {
        !matches!(op, Op::Add(_) | Op::Embedding(_))
    }
}

/// Rewrites a program whose first `forward` nodes are the forward pass.
pub(super) fn save(program: Program, forward: usize, saving: &Saving) -> Program {
    Rewrite { forward, saving, again: BTreeMap::new(), after: BTreeMap::new(), program }.run()
}

/// Rewrites a program so that its `grad.` outputs of matrices are of type `dtype`.
pub(super) fn narrow_gradients(mut program: Program, dtype: DType) -> Program {
    let mut behind: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    for index in 0..program.outputs.len() {
        let output = &program.outputs[index];
        let ty = program.type_of(output.value);
        let (Some(made), true) = (program.producer(output.value), output.name.starts_with(GRAD))
        else {
            continue;
        };
        if ty.rank() < 2 || ty.dtype != DType::F32 {
            continue;
        }
        let (inputs, results) = (vec![output.value], vec![ty.with_dtype(dtype)]);
        let scope = program.node(made).scope.clone();
        let cast = program.add_node(Op::Cast(Cast { dtype }), inputs, results, scope);
        program.outputs[index].value = program.node(cast).outputs[0];
        behind.entry(made).or_default().push(cast);
    }
    program.put_behind(behind);
    program
}

struct Rewrite<'s> {
    program: Program,
    forward: usize,
    saving: &'s Saving,
    /// What stands for a forward value in the backward pass.
    again: BTreeMap<ValueId, ValueId>,
    /// Nodes to insert behind others.
    after: BTreeMap<NodeId, Vec<NodeId>>,
}

impl Rewrite<'_> {
    fn run(mut self) -> Program {
        let order = self.program.order.clone();
        let position: BTreeMap<NodeId, usize> = order.iter().copied().zip(0..).collect();
        let mut last_read: BTreeMap<ValueId, NodeId> = BTreeMap::new();
        for &id in order.iter().filter(|id| self.is_forward(**id)) {
            let node = self.program.node(id);
            last_read.extend(node.inputs.iter().chain(&node.outputs).map(|&value| (value, id)));
        }
        let mut result = Vec::with_capacity(order.len());
        for (at, &id) in order.iter().enumerate() {
            if !self.is_forward(id) {
                for operand in 0..self.program.node(id).inputs.len() {
                    let value = self.program.node(id).inputs[operand];
                    let waits = |value: ValueId| {
                        let last = last_read.get(&value).and_then(|id| position.get(id));
                        last.is_some_and(|last| at - last > SHORT_WAIT)
                    };
                    let found = self.found_again(value, &waits, &last_read, &mut result);
                    self.program.nodes[id.index()].inputs[operand] = found;
                }
            }
            result.push(id);
        }
        self.program.order = result;
        self.program.put_behind(self.after);
        self.program
    }

    fn is_forward(&self, id: NodeId) -> bool {
        id.index() < self.forward
    }

    /// What stands for `value` in the backward pass; nodes that make it are added to `order`.
    fn found_again(
        &mut self,
        value: ValueId,
        waits: &dyn Fn(ValueId) -> bool,
        last_read: &BTreeMap<ValueId, NodeId>,
        order: &mut Vec<NodeId>,
    ) -> ValueId {
        if let Some(&known) = self.again.get(&value) {
            return known;
        }
        let Definition::Node(id, index) = self.program.definition(value) else { return value };
        let ty = self.program.type_of(value).clone();
        if !self.is_forward(id) || ty.elements() < SMALL || !waits(value) {
            // What stays for one reader stays for all.
            self.again.insert(value, value);
            return value;
        }
        let node = self.program.node(id).clone();
        let found = if self.is_recomputed(value) {
            let inputs = node.inputs.iter();
            let inputs =
                inputs.map(|&input| self.found_again(input, waits, last_read, order)).collect();
            let types = node.outputs.iter().map(|&v| self.program.type_of(v).clone()).collect();
            let scope = again_scope(&node.scope);
            let again = self.program.add_node(node.op, inputs, types, scope.into());
            order.push(again);
            let outputs = self.program.node(again).outputs.clone();
            self.again.extend(node.outputs.iter().copied().zip(outputs.iter().copied()));
            outputs[index]
        } else {
            let Some(dtype) = self.saving.dtype.filter(|_| ty.dtype == DType::F32) else {
                return value;
            };
            let scope = node.scope;
            let kept = self.cast(value, dtype, &scope);
            if self.saving.narrows_linear && matches!(node.op, Op::Linear(_)) {
                let wide = self.cast(self.program.node(kept).outputs[0], ty.dtype, &scope);
                self.read_instead(value, self.program.node(wide).outputs[0]);
                self.after.entry(id).or_default().extend([kept, wide]);
            } else {
                let behind = last_read.get(&value).copied().unwrap_or(id);
                self.after.entry(behind).or_default().push(kept);
            }
            let wide = self.cast(self.program.node(kept).outputs[0], ty.dtype, &scope);
            order.push(wide);
            self.program.node(wide).outputs[0]
        };
        self.again.insert(value, found);
        found
    }

    /// Adds a node that casts `value`, not yet to the order.
    fn cast(&mut self, value: ValueId, dtype: DType, scope: &Arc<str>) -> NodeId {
        let ty = self.program.type_of(value).with_dtype(dtype);
        self.program.add_node(Op::Cast(Cast { dtype }), vec![value], vec![ty], scope.clone())
    }

    /// Makes the forward pass read `other` where it reads `value`.
    fn read_instead(&mut self, value: ValueId, other: ValueId) {
        let inputs =
            self.program.nodes.iter_mut().take(self.forward).flat_map(|node| &mut node.inputs);
        inputs.filter(|input| **input == value).for_each(|input| *input = other);
    }

    /// Whether a forward value is computed again; a reshape is, if what it reshapes is.
    fn is_recomputed(&self, value: ValueId) -> bool {
        let Some(id) = self.program.producer(value) else { return false };
        let node = self.program.node(id);
        match (&node.op, self.saving.recompute) {
            (Op::Reshape(_), Some(_)) => self.is_recomputed(node.inputs[0]),
            (op, Some(is_cheap)) => is_cheap(op),
            (_, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grad::grad_saving;
    use crate::interpret::{Arguments, interpret};
    use crate::{Builder, Precision, Program, Tensor, TensorType, verify};

    /// Four layers, each of a norm and a product, of 64 × 64 values.
    fn layers() -> Program {
        let b = Builder::new("layers");
        let ty = TensorType::new(DType::F32, [64, 64]);
        let mut x = b.input("x", ty.clone());
        for layer in 0..4 {
            let norm = b.weight(format!("norm{layer}"), TensorType::new(DType::F32, [64]));
            let weight = b.weight(format!("weight{layer}"), ty.clone());
            let hidden = b.linear(b.rms_norm(x, norm, 1e-5), weight, None);
            x = b.add(x, b.tanh(hidden));
        }
        b.output("loss", b.reduce_mean(b.mul(x, x), &[0, 1], false));
        b.finish().unwrap()
    }

    fn gradients(saving: &Saving) -> (Program, Vec<Tensor>) {
        let program = layers();
        let roots: Vec<ValueId> = program.weights().iter().map(|weight| weight.value).collect();
        let program = grad_saving(&program, "loss", &roots, saving).unwrap();
        let noise = |ty: &TensorType, seed: usize| {
            let values =
                (0..ty.elements()).map(|i| ((i * 37 + seed * 101) % 199) as f64 / 400.0 - 0.25);
            Tensor::real(ty.clone(), values.collect())
        };
        let mut arguments = Arguments::default();
        for (seed, p) in program.inputs().iter().enumerate() {
            arguments.inputs.push(noise(program.type_of(p.value), seed + 9));
        }
        for (seed, p) in program.weights().iter().enumerate() {
            arguments.weights.push(noise(program.type_of(p.value), seed));
        }
        let verified = verify(program).unwrap();
        let results = interpret(&verified, &arguments, Precision::Declared).unwrap();
        (verified.into_inner(), results.outputs)
    }

    fn count(program: &Program, name: &str) -> usize {
        program.nodes().filter(|(_, node)| node.op.name() == name).count()
    }

    #[test]
    fn recomputed_results_give_the_same_gradients() {
        let (plain, expected) = gradients(&Saving::default());
        let recompute = Some(Saving::is_cheap as fn(&Op) -> bool);
        let (program, found) = gradients(&Saving { recompute, ..Saving::default() });
        assert!(found == expected, "the same to the last bit");
        // The last layers are back before their norms would have been dropped.
        let (before, after) = (count(&plain, "rms_norm"), count(&program, "rms_norm"));
        assert!(after > before && after <= 2 * before, "{before} became {after}");

        let recompute = Some(Saving::is_no_sum as fn(&Op) -> bool);
        let (program, found) = gradients(&Saving { recompute, ..Saving::default() });
        assert!(found == expected, "the same to the last bit");
        let (before, after) = (count(&plain, "linear"), count(&program, "linear"));
        assert!(after > before && after <= 2 * before, "{before} became {after}");
    }

    #[test]
    fn results_that_wait_in_bf16_are_narrowed_behind_their_last_reader() {
        let (_, expected) = gradients(&Saving::default());
        let (program, found) = gradients(&Saving { dtype: Some(DType::BF16), ..Saving::default() });
        for (found, expected) in found.iter().zip(&expected) {
            let distance: f64 =
                found.reals().iter().zip(expected.reals()).map(|(x, y)| (x - y).powi(2)).sum();
            let length: f64 = expected.reals().iter().map(|y| y * y).sum();
            assert!(distance <= 1e-4 * length, "{distance} of {length}");
        }
        assert!(found != expected, "something was rounded");
        let order: Vec<_> = program.nodes().collect();
        for (at, (_, node)) in order.iter().enumerate() {
            let is_narrow = |value: &ValueId| program.type_of(*value).dtype == DType::BF16;
            if !node.outputs.iter().any(is_narrow) {
                continue;
            }
            let readers = order.iter().enumerate().filter(|(_, (_, n))| n.inputs == node.outputs);
            let readers: Vec<usize> = readers.map(|(at, _)| at).collect();
            assert_eq!(readers.len(), 1, "one node widens it");
            assert!(readers[0] > at + SHORT_WAIT, "it waits");
            let later = order[at + 1..].iter().flat_map(|(_, n)| &n.inputs);
            assert!(
                !later.into_iter().any(|value| *value == node.inputs[0]),
                "the wide one is gone"
            );
        }
    }

    #[test]
    fn both_passes_read_the_narrow_result_of_a_linear() {
        let b = Builder::new("layers");
        let ty = TensorType::new(DType::F32, [64, 64]);
        let mut x = b.input("x", ty.clone());
        for layer in 0..6 {
            let hidden = b.linear(x, b.weight(format!("weight{layer}"), ty.clone()), None);
            x = b.add(x, b.mul(hidden, hidden));
        }
        b.output("loss", b.reduce_mean(x, &[0, 1], false));
        let program = b.finish().unwrap();
        let roots: Vec<ValueId> = program.weights().iter().map(|weight| weight.value).collect();
        let narrow = Saving { dtype: Some(DType::BF16), ..Saving::default() };
        let saving = Saving { narrows_linear: true, ..narrow };
        let program = grad_saving(&program, "loss", &roots, &saving).unwrap();
        verify(program.clone()).unwrap();
        let readers = |value: ValueId| {
            program.nodes().filter(move |(_, node)| node.inputs.contains(&value)).map(|(_, n)| n)
        };
        let names = |value| readers(value).map(|node| node.op.name()).collect::<Vec<_>>();
        let mut narrowed = 0;
        for (_, linear) in program.nodes().filter(|(_, node)| node.op.name() == "linear") {
            // The last layers' results do not wait.
            let [cast] = readers(linear.outputs[0]).collect::<Vec<_>>()[..] else { continue };
            if cast.op.name() == "cast" {
                assert_eq!(names(cast.outputs[0]), ["cast", "cast"], "one widens for each pass");
                narrowed += 1;
            }
        }
        assert!((3..6).contains(&narrowed), "{narrowed} of 6");
    }

    #[test]
    fn gradients_of_matrices_are_narrowed_where_they_are_made() {
        let (_, expected) = gradients(&Saving::default());
        let saving = Saving { gradients: Some(DType::BF16), ..Saving::default() };
        let (program, found) = gradients(&saving);
        for ((output, found), expected) in program.outputs().iter().zip(&found).zip(expected) {
            let is_matrix = output.name.starts_with("grad.") && found.ty().rank() == 2;
            let dtype = if is_matrix { DType::BF16 } else { DType::F32 };
            assert_eq!(found.ty().dtype, dtype, "{}", output.name);
            let narrow = Tensor::real(expected.ty().with_dtype(dtype), expected.reals().to_vec());
            assert!(*found == narrow.rounded(), "{} is the rounded gradient", output.name);
        }
        let order: Vec<_> = program.nodes().map(|(_, node)| node).collect();
        for pair in order.windows(2).filter(|pair| pair[1].op.name() == "cast") {
            assert!(pair[0].outputs.contains(&pair[1].inputs[0]), "right behind what makes it");
        }
        assert_eq!(count(&program, "cast"), 4);
    }
}
