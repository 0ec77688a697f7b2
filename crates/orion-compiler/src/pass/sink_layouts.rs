//! Moves transposes and reshapes behind the elementwise operations that read them, where that makes no more of them: they meet
//! others there, and merge. Operations that read one another move together. Operands that are broadcast are turned the other
//! way: that is a reshape, or costs nothing because they depend on weights and constants only.
//!
//! ```oir
//! program p {
//!   input %0 "x": f32[1,6,5]
//!   weight %1 "scale": f32[6]
//!   %2: f32[1,5,6] = transpose(%0) {permutation = [0, 2, 1]}
//!   %3: f32[1,5,6] = sigmoid(%2)
//!   %4: f32[1,5,6] = mul(%2, %3)
//!   %5: f32[1,5,6] = mul(%4, %1)
//!   output %5 "y"
//! }
//! // ----
//! program p {
//!   input %0 "x": f32[1,6,5]
//!   weight %1 "scale": f32[6]
//!   %2: f32[1,6,5] = sigmoid(%0) @ sink-layouts
//!   %3: f32[1,6,5] = mul(%0, %2) @ sink-layouts
//!   %4: f32[1,6,1] = reshape(%1) {shape = [1, 6, 1]} @ sink-layouts
//!   %5: f32[1,6,5] = mul(%3, %4) @ sink-layouts
//!   %6: f32[1,5,6] = transpose(%5) {permutation = [0, 2, 1]} @ sink-layouts
//!   output %6 "y"
//! }
//! ```

use smallvec::SmallVec;

use super::fuse_transposes::swaps_matrix;
use super::segments::{Segment, segments};
use super::{Rewrite, Rule, View};
use crate::ir::patch::{Change, Patch};
use crate::op::{Reshape, Transpose};
use crate::{NodeId, Op, TensorType, ValueId};

/// See the [module](self).
pub const SINK_LAYOUTS: Rule =
    Rule { name: "sink-layouts", exact: true, rewrite: Rewrite::Node(rewrite) };

/// The most operations that move together.
const MOST: usize = 48;

fn rewrite(view: &View<'_>, id: NodeId) -> Option<Change> {
    let node = view.node(id);
    let (Op::Transpose(_) | Op::Reshape(_), &[x], &[y]) =
        (&node.op, node.inputs.as_slice(), node.outputs.as_slice())
    else {
        return None;
    };
    let moves = |id: &NodeId| view.node(*id).op.is_elementwise();
    if view.is_fixed(y) || view.is_result(y) || !view.readers(y).iter().all(moves) {
        return None;
    }
    let layout = Layout::of(view, id)?;
    let mut region = Region {
        view,
        layout,
        entries: SmallVec::new(),
        turned: SmallVec::new(),
        nodes: Vec::new(),
    };
    region.entries.push((y, x));
    region.grow(y);
    if region.nodes.is_empty() || !region.pays() {
        return None;
    }
    region.moved()
}

/// How a value lies differently from its operand.
struct Layout {
    /// The shape of the operand.
    from: Vec<usize>,
    /// The shape of the result.
    to: Vec<usize>,
    kind: Kind,
}

enum Kind {
    Transpose(Vec<usize>),
    Reshape(Vec<Segment>),
}

impl Layout {
    fn of(view: &View<'_>, id: NodeId) -> Option<Self> {
        let node = view.node(id);
        let (&[x], &[y]) = (node.inputs.as_slice(), node.outputs.as_slice()) else { return None };
        let shape = |value: ValueId| view.type_of(value).shape.clone();
        let kind = match &node.op {
            Op::Transpose(op) => Kind::Transpose(op.permutation.clone()),
            Op::Reshape(_) => {
                Kind::Reshape(segments(&view.type_of(x).shape, &view.type_of(y).shape)?)
            }
            _ => return None,
        };
        Some(Self { from: shape(x), to: shape(y), kind })
    }

    /// The operation.
    fn op(&self) -> Op {
        match &self.kind {
            Kind::Transpose(permutation) => Transpose { permutation: permutation.clone() }.into(),
            Kind::Reshape(_) => Reshape { shape: self.to.clone() }.into(),
        }
    }

    /// What a value was before the same operation made it.
    fn source(&self, view: &View<'_>, value: ValueId) -> Option<ValueId> {
        let node = view.node(view.producer(value)?);
        let &[x] = node.inputs.as_slice() else { return None };
        let same = match (&self.kind, &node.op) {
            (Kind::Transpose(permutation), Op::Transpose(op)) => op.permutation == *permutation,
            (Kind::Reshape(_), Op::Reshape(op)) => op.shape == self.to,
            _ => false,
        };
        (same && view.type_of(x).shape == self.from).then_some(x)
    }

    /// What a value of this type that is broadcast to `to` must become to be broadcast to `from` alike.
    fn turned_back(&self, ty: &TensorType, is_fixed: bool) -> Option<TurnedBack> {
        if ty.elements() == 1 {
            let fits = ty.rank() <= self.from.len();
            return Some(if fits { TurnedBack::AsItIs } else { TurnedBack::Reshape(Vec::new()) });
        }
        let lead = self.to.len().checked_sub(ty.rank())?;
        let full: Vec<usize> =
            std::iter::repeat_n(1, lead).chain(ty.shape.iter().copied()).collect();
        match &self.kind {
            Kind::Transpose(permutation) => {
                let mut inverse = vec![0; permutation.len()];
                permutation.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
                let shape = inverse.iter().map(|&axis| full[axis]).collect();
                let moves_nothing = inverse.iter().filter(|&&axis| full[axis] != 1).is_sorted();
                if moves_nothing {
                    Some(TurnedBack::Reshape(shape))
                } else {
                    is_fixed.then_some(TurnedBack::Transpose(full, inverse))
                }
            }
            Kind::Reshape(parts) => {
                let mut shape = Vec::with_capacity(self.from.len());
                for part in parts {
                    let own = &full[part.to.clone()];
                    if own == &self.to[part.to.clone()] {
                        shape.extend_from_slice(&self.from[part.from.clone()]);
                    } else if own.iter().all(|&dim| dim == 1) {
                        shape.extend(part.from.clone().map(|_| 1));
                    } else {
                        return None;
                    }
                }
                Some(TurnedBack::Reshape(shape))
            }
        }
    }

    /// Whether a reader of a value that lies so has no need of this operation.
    fn is_taken_in_by(&self, reader: &Op) -> bool {
        match (&self.kind, reader) {
            (Kind::Transpose(_), Op::Transpose(_)) | (Kind::Reshape(_), Op::Reshape(_)) => true,
            (Kind::Transpose(permutation), Op::Matmul(_)) => swaps_matrix(permutation),
            _ => false,
        }
    }
}

enum TurnedBack {
    AsItIs,
    Reshape(Vec<usize>),
    /// A reshape to as many dimensions, and a permutation.
    Transpose(Vec<usize>, Vec<usize>),
}

/// Elementwise operations that move before a change of layout.
struct Region<'a> {
    view: &'a View<'a>,
    layout: Layout,
    /// Values that the change of layout makes, and what of.
    entries: SmallVec<[(ValueId, ValueId); 4]>,
    /// Other operands, for which a run would have to turn the layout back.
    turned: SmallVec<[ValueId; 4]>,
    /// In an order in which they can run.
    nodes: Vec<NodeId>,
}

impl Region<'_> {
    fn grow(&mut self, entry: ValueId) {
        let mut candidates = self.view.readers(entry);
        let mut grown = true;
        while std::mem::take(&mut grown) {
            let mut at = 0;
            while at < candidates.len() && self.nodes.len() < MOST {
                let id = candidates[at];
                if self.nodes.contains(&id) || !self.admit(id) {
                    at += 1;
                    continue;
                }
                candidates.swap_remove(at);
                self.nodes.push(id);
                grown = true;
                for &value in &self.view.node(id).outputs {
                    let readers = self.view.readers(value);
                    candidates.extend(readers.into_iter().filter(|id| !self.nodes.contains(id)));
                }
            }
        }
    }

    /// Whether a node can move; notes the values that it reads in the other layout.
    fn admit(&mut self, id: NodeId) -> bool {
        let node = self.view.node(id);
        let is_whole = |value: ValueId| self.view.type_of(value).shape == self.layout.to;
        if !node.op.is_elementwise() || !node.outputs.iter().all(|&value| is_whole(value)) {
            return false;
        }
        let (entries, turned) = (self.entries.len(), self.turned.len());
        for &value in &node.inputs {
            if self.source(value).is_some() || self.made_by_region(value) {
                continue;
            }
            let (ty, is_fixed) = (self.view.type_of(value), self.view.is_fixed(value));
            if let Some(source) = self.layout.source(self.view, value) {
                self.entries.push((value, source));
                continue;
            }
            match self.layout.turned_back(ty, is_fixed) {
                None => {
                    self.entries.truncate(entries);
                    self.turned.truncate(turned);
                    return false;
                }
                Some(TurnedBack::Reshape(shape))
                    if !is_fixed && shape != ty.shape && !self.turned.contains(&value) =>
                {
                    self.turned.push(value);
                }
                Some(_) => {}
            }
        }
        true
    }

    fn source(&self, value: ValueId) -> Option<ValueId> {
        self.entries.iter().find(|(entry, _)| *entry == value).map(|(_, source)| *source)
    }

    fn made_by_region(&self, value: ValueId) -> bool {
        self.view.producer(value).is_some_and(|id| self.nodes.contains(&id))
    }

    /// Whether a value is read by something else than the region.
    fn leaves(&self, value: ValueId) -> bool {
        self.view.is_result(value)
            || self.view.readers(value).iter().any(|id| !self.nodes.contains(id))
    }

    fn exits(&self) -> Vec<ValueId> {
        let made = self.nodes.iter().flat_map(|&id| self.view.node(id).outputs.iter().copied());
        made.filter(|&value| self.leaves(value)).collect()
    }

    /// Whether fewer operations are left that change the layout than there were; or as many, all of them further down.
    fn pays(&self) -> bool {
        let gone = self.entries.iter().filter(|(entry, _)| !self.leaves(*entry)).count();
        let stays = |value: &ValueId| {
            let readers = self.view.readers(*value);
            let mut outside = readers.iter().filter(|id| !self.nodes.contains(id));
            self.view.is_result(*value)
                || !outside.all(|&id| self.layout.is_taken_in_by(&self.view.node(id).op))
        };
        let left = self.exits().iter().filter(|value| stays(value)).count();
        let added = self.turned.len();
        gone > 0 && left + added <= gone && (added == 0 || left + added < gone)
    }

    fn moved(&self) -> Option<Change> {
        let mut patch = self.view.patch();
        let mut made: Vec<(ValueId, ValueId)> = Vec::new();
        let mut pairs = Vec::new();
        for &id in &self.nodes {
            let node = self.view.node(id);
            patch.before(id);
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for &value in &node.inputs {
                let known = made.iter().find(|(old, _)| *old == value).map(|(_, new)| *new);
                inputs.push(match known.or_else(|| self.source(value)) {
                    Some(value) => value,
                    None => self.turn_back(&mut patch, value)?,
                });
            }
            let (result, &old) = (patch.node(node.op.clone(), &inputs)?, node.outputs.first()?);
            made.push((old, result));
            if self.leaves(old) {
                pairs.push((old, patch.node(self.layout.op(), &[result])?));
            }
        }
        patch.replace_all(&pairs)
    }

    fn turn_back(&self, patch: &mut Patch<'_>, value: ValueId) -> Option<ValueId> {
        let ty = self.view.type_of(value);
        match self.layout.turned_back(ty, self.view.is_fixed(value))? {
            TurnedBack::AsItIs => Some(value),
            TurnedBack::Reshape(shape) if shape == ty.shape => Some(value),
            TurnedBack::Reshape(shape) => patch.node(Reshape { shape }, &[value]),
            TurnedBack::Transpose(shape, permutation) => {
                let whole = patch.node(Reshape { shape }, &[value])?;
                patch.node(Transpose { permutation }, &[whole])
            }
        }
    }
}
