//! Which side a node belongs to.

use crate::ir::program::{Definition, Node};
use crate::{DType, Op, Program};

/// What becomes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the engine's.
    Engine,
    /// It is the host's.
    Host,
    /// It depends on weights and constants only.
    Constant,
}

/// A place for each node, by [`NodeId::index`](crate::NodeId::index).
pub(super) fn sides(program: &Program) -> Vec<Place> {
    let mut places = vec![Place::Host; program.nodes.len()];
    for (id, node) in program.nodes() {
        places[id.index()] = if is_constant(program, node, &places) {
            Place::Constant
        } else if computes_in_f16(program, node) {
            Place::Engine
        } else {
            Place::Host
        };
    }
    keep_weight_gradients(program, &mut places);
    keep_reshapes(program, &mut places);
    places
}

/// Gives the host what only changes the shape of what it reads: it need not leave the engine twice.
fn keep_reshapes(program: &Program, places: &mut [Place]) {
    let mut read_by_host = vec![false; program.value_count()];
    let mut read_by_engine = vec![false; program.value_count()];
    for output in program.outputs() {
        read_by_engine[output.value.index()] = true;
    }
    for (id, node) in program.nodes().rev() {
        let read = |list: &[bool]| node.outputs.iter().any(|value| list[value.index()]);
        let is_host_only = read(&read_by_host) && !read(&read_by_engine);
        if places[id.index()] == Place::Engine && matches!(node.op, Op::Reshape(_)) && is_host_only
        {
            places[id.index()] = Place::Host;
        }
        let readers = match places[id.index()] {
            Place::Host => &mut read_by_host,
            Place::Engine | Place::Constant => &mut read_by_engine,
        };
        node.inputs.iter().for_each(|value| readers[value.index()] = true);
    }
}

fn is_constant(program: &Program, node: &Node, places: &[Place]) -> bool {
    node.inputs.iter().all(|&value| match program.definition(value) {
        Definition::Weight(_) => true,
        Definition::Node(id, _) => places[id.index()] == Place::Constant,
        Definition::Input(_) | Definition::State(_) => false,
    })
}

fn computes_in_f16(program: &Program, node: &Node) -> bool {
    let is_f16 = |&value: &crate::ValueId| program.type_of(value).dtype == DType::F16;
    node.inputs.iter().all(is_f16) && node.outputs.iter().all(is_f16)
}

/// Gives the host what leads to gradients of weights and nowhere else.
fn keep_weight_gradients(program: &Program, places: &mut [Place]) {
    // Values that somebody reads for anything but a gradient of a weight.
    let mut wanted = vec![false; program.value_count()];
    for output in program.outputs().iter().filter(|output| !output.name.starts_with("grad.")) {
        wanted[output.value.index()] = true;
    }
    let mut on_the_way = vec![false; program.value_count()];
    for output in program.outputs().iter().filter(|output| output.name.starts_with("grad.")) {
        on_the_way[output.value.index()] = true;
    }
    for (id, node) in program.nodes().rev() {
        let leads = node.outputs.iter().any(|value| on_the_way[value.index()]);
        let other = node.outputs.iter().any(|value| wanted[value.index()]);
        let sums = matches!(
            node.op,
            Op::Matmul(_)
                | Op::ReduceSum(_)
                | Op::Reshape(_)
                | Op::Transpose(_)
                | Op::Cast(_)
                | Op::Mul(_)
                | Op::Add(_)
                | Op::Slice(_)
                | Op::Pad(_)
        );
        let only_gradient = leads && !other && sums;
        if only_gradient && places[id.index()] == Place::Engine {
            places[id.index()] = Place::Host;
        }
        // The operands of the product that is the gradient were made for more than the gradient.
        let ends = matches!(node.op, Op::Matmul(_) | Op::Mul(_)) || !only_gradient;
        for value in &node.inputs {
            if ends {
                wanted[value.index()] = true;
            } else {
                on_the_way[value.index()] = true;
            }
        }
    }
}
