//! Pieces as programs of their own.

use std::collections::{BTreeMap, BTreeSet};

use super::label::{Label, Stages, Way, layer_of, way_of};
use super::side::Place;
use super::{Expression, Options, Partition, Piece, Port, Side};
use crate::ir::program::{Definition, Node, Parameter};
use crate::ir::types::TypeError;
use crate::op::Constant;
use crate::{BuildError, Builder, DType, NodeId, Op, Program, TensorType, Value, ValueId};

/// A piece by its place in the order: the host's part before an engine piece, or the piece.
type Key = (usize, Side);

/// Cuts a program whose nodes have places and stages.
pub(super) fn pieces(
    program: &Program,
    places: &[Place],
    stages: &Stages,
    options: Options,
) -> Result<Partition, BuildError> {
    let mut cutter = Cutter { program, places, stages, options, between: BTreeSet::new() };
    cutter.between = cutter.between_programs();
    let mut members: BTreeMap<Key, Vec<NodeId>> = BTreeMap::new();
    for (id, _) in program.nodes() {
        let at = stages.of[id.index()];
        match places[id.index()] {
            Place::Host => members.entry((at, Side::Host)).or_default().push(id),
            Place::Engine => members.entry((at, Side::Engine)).or_default().push(id),
            Place::Constant => {}
        }
    }
    // Results that no piece makes are given by the host: parameters handed through, and constants.
    let made_outside = |value: ValueId| match program.definition(value) {
        Definition::Node(id, _) => places[id.index()] == Place::Constant,
        _ => false,
    };
    if program.outputs().iter().any(|output| made_outside(output.value)) {
        members.entry((stages.labels.len(), Side::Host)).or_default();
    }
    let readers = cutter.readers();
    let last = members.keys().next_back().copied();
    let pieces = (members.iter())
        .map(|(&key, nodes)| cutter.piece(key, nodes, &readers, Some(key) == last))
        .collect::<Result<_, _>>()?;
    Ok(Partition { program: program.clone(), pieces })
}

struct Cutter<'p> {
    program: &'p Program,
    places: &'p [Place],
    stages: &'p Stages,
    options: Options,
    /// Values that one of the engine's programs makes for another.
    between: BTreeSet<ValueId>,
}

impl Cutter<'_> {
    fn between_programs(&self) -> BTreeSet<ValueId> {
        let mut between = BTreeSet::new();
        for (id, node) in self.program.nodes() {
            let reader = self.key(id);
            if reader.is_some_and(|(_, side)| side == Side::Engine) {
                let from_other = |value: &&ValueId| {
                    let maker = self.program.producer(**value).and_then(|id| self.key(id));
                    maker.is_some() && maker != reader
                };
                between.extend(node.inputs.iter().filter(from_other));
            }
        }
        between
    }

    fn key(&self, id: NodeId) -> Option<Key> {
        match self.places[id.index()] {
            Place::Host => Some((self.stages.of[id.index()], Side::Host)),
            Place::Engine => Some((self.stages.of[id.index()], Side::Engine)),
            Place::Constant => None,
        }
    }

    /// Values that a piece makes and another piece, or the program's caller, reads.
    fn readers(&self) -> BTreeSet<ValueId> {
        let mut crossing: BTreeSet<ValueId> =
            self.program.outputs().iter().map(|output| output.value).collect();
        for (id, node) in self.program.nodes() {
            for &value in &node.inputs {
                let value = self.source(value, self.key(id));
                let maker = self.program.producer(value).and_then(|id| self.key(id));
                if maker.is_some() && maker != self.key(id) {
                    crossing.insert(value);
                }
            }
        }
        crossing
    }

    /// What a reader has to be handed: the host changes shapes itself, so that a value need not leave the engine twice. What
    /// goes to another of the engine's programs leaves it as that wants it.
    fn source(&self, value: ValueId, reader: Option<Key>) -> ValueId {
        let mut source = value;
        while reader.is_some_and(|(_, side)| side == Side::Host)
            && !self.between.contains(&source)
            && let Some(id) = self.program.producer(source)
            && self.places[id.index()] == Place::Engine
            && let (Op::Reshape(_), &[x]) =
                (&self.program.node(id).op, self.program.node(id).inputs.as_slice())
        {
            source = x;
        }
        source
    }

    fn piece(
        &self,
        key: Key,
        nodes: &[NodeId],
        crossing: &BTreeSet<ValueId>,
        is_last: bool,
    ) -> Result<Piece, BuildError> {
        let (at, side) = key;
        let label = match side {
            Side::Engine => self.stages.labels.get(at).cloned(),
            Side::Host => None,
        };
        let label = label.unwrap_or_else(|| Label { layer: None, part: format!("host {at}") });
        let b = Builder::new(label.part.replace(' ', "_"));
        let mut copy = Copy {
            cutter: self,
            b: &b,
            side,
            own_layer: label.layer,
            layer: label.layer.unwrap_or(0),
            values: BTreeMap::new(),
            names: BTreeSet::new(),
            inputs: Vec::new(),
            weights: Vec::new(),
        };
        for &id in nodes {
            copy.node(self.program.node(id));
        }
        let mut outputs = Vec::new();
        let mut names = BTreeSet::new();
        let made = nodes.iter().flat_map(|&id| &self.program.node(id).outputs);
        for &value in made.filter(|value| crossing.contains(value)) {
            let name = free(&mut names, &copy.output_name(value));
            b.output(name.clone(), copy.values[&value]);
            outputs.push(Port { name, value });
        }
        if is_last {
            for output in self.program.outputs() {
                let maker = self.program.producer(output.value).and_then(|id| self.key(id));
                if maker.is_none() {
                    let value = copy.operand(output.value);
                    let name = free(&mut names, &output.name);
                    b.output(name.clone(), value);
                    outputs.push(Port { name, value: output.value });
                }
            }
        }
        let (inputs, weights) = (copy.inputs, copy.weights);
        let program = b.finish()?;
        let form = self.options.weights;
        let program = program.with_weights_as_inputs(|name| {
            let reads = weights.iter().find(|expression| expression.name == name);
            let mut reads = reads.iter().flat_map(|found| found.program.weights());
            side == Side::Engine && reads.any(|weight| form.is_input(&weight.name))
        });
        Ok(Piece { side, label: label.shown(), program, inputs, outputs, weights })
    }

    /// Whether a value depends on weights and constants only.
    fn is_constant(&self, value: ValueId) -> bool {
        match self.program.definition(value) {
            Definition::Weight(_) => true,
            Definition::Node(id, _) => self.places[id.index()] == Place::Constant,
            _ => false,
        }
    }
}

/// A piece under construction.
struct Copy<'c, 'p> {
    cutter: &'c Cutter<'p>,
    b: &'c Builder,
    side: Side,
    /// The piece's first layer, if it is in one, and for names 0 if not.
    own_layer: Option<usize>,
    layer: usize,
    values: BTreeMap<ValueId, Value>,
    names: BTreeSet<String>,
    inputs: Vec<Port>,
    weights: Vec<Expression>,
}

impl Copy<'_, '_> {
    fn node(&mut self, node: &Node) {
        let operands: Vec<Value> = node.inputs.iter().map(|&value| self.operand(value)).collect();
        let scope = relative(&node.scope, self.layer);
        let results = self.b.scoped(&scope, || match (&node.op, self.side) {
            (Op::Cast(cast), Side::Host) if cast.dtype == DType::F16 => {
                // The host keeps numbers in f32; they are rounded on their way to the engine.
                vec![operands[0]]
            }
            (op, _) => self.b.apply(op.clone(), &operands),
        });
        for (&old, new) in node.outputs.iter().zip(results) {
            self.values.insert(old, new);
        }
    }

    fn operand(&mut self, value: ValueId) -> Value {
        if let Some(&known) = self.values.get(&value) {
            return known;
        }
        let program = self.cutter.program;
        let ty = match program.definition(value) {
            Definition::Weight(_) => program.type_of(value).clone(),
            _ => self.held(program.type_of(value)),
        };
        let copied = match program.producer_of::<Constant>(value) {
            // A number is part of the text.
            Some((_, constant)) if constant.values.len() == 1 => {
                let constant = Constant { dtype: ty.dtype, ..constant.clone() };
                self.b.apply1(constant, &[])
            }
            // The host computes what it needs of weights and constants when it needs it.
            _ if self.side == Side::Host && self.cutter.is_constant(value) => {
                match program.producer(value) {
                    Some(id) => {
                        self.node(program.node(id));
                        return self.values.get(&value).copied().unwrap_or_else(|| {
                            self.b.fail("constant", TypeError::new("a constant has no value"))
                        });
                    }
                    None => self.expression(value, ty),
                }
            }
            _ if self.cutter.is_constant(value) => self.expression(value, ty),
            _ if self.side == Side::Host && self.is_reshape(value) => {
                if let Some(id) = program.producer(value) {
                    self.node(program.node(id));
                }
                return self.values.get(&value).copied().unwrap_or_else(|| {
                    self.b.fail("reshape", TypeError::new("a reshape has no value"))
                });
            }
            _ => {
                let name = self.input_name(value);
                let name = free(&mut self.names, &name);
                let input = self.b.input(name.clone(), ty);
                self.inputs.push(Port { name, value });
                input
            }
        };
        self.values.insert(value, copied);
        copied
    }

    /// Whether the engine only changes a value's shape.
    fn is_reshape(&self, value: ValueId) -> bool {
        self.cutter.source(value, Some((0, Side::Host))) != value
    }

    /// The type in which this side keeps a value.
    fn held(&self, ty: &TensorType) -> TensorType {
        match (self.side, ty.dtype) {
            (Side::Host, DType::F16) => ty.with_dtype(DType::F32),
            _ => ty.clone(),
        }
    }

    /// A weight of the piece, with how it is made.
    fn expression(&mut self, value: ValueId, ty: TensorType) -> Value {
        let program = self.cutter.program;
        let slice = Slice::of(program, value);
        let stem = match slice.weights.as_slice() {
            [one] => relative(one, self.layer),
            _ => "constant".to_owned(),
        };
        let name = free(&mut self.names, &stem);
        let expression = slice.program(&ty);
        let weight = self.b.weight(name.clone(), ty);
        self.weights.push(Expression { name, program: expression });
        weight
    }

    /// Where a value comes from, without the number of the layer.
    fn input_name(&self, value: ValueId) -> String {
        let program = self.cutter.program;
        let parameter = |list: &[Parameter]| {
            list.iter().find(|parameter| parameter.value == value).map(|found| found.name.clone())
        };
        match program.definition(value) {
            Definition::Input(_) => {
                relative(&parameter(program.inputs()).unwrap_or_default(), self.layer)
            }
            Definition::State(index) => relative(&program.states()[index].name, self.layer),
            _ => match self.name_of_stream(value) {
                Some(name) => name.to_owned(),
                None => self.made_name(value),
            },
        }
    }

    fn output_name(&self, value: ValueId) -> String {
        let outputs = self.cutter.program.outputs();
        match outputs.iter().find(|output| output.value == value) {
            Some(output) => relative(&output.name, self.layer),
            None => self.made_name(value),
        }
    }

    /// What comes from another layer, or from before all layers, is called alike in all of them.
    fn name_of_stream(&self, value: ValueId) -> Option<&'static str> {
        let program = self.cutter.program;
        let maker = program.producer(value)?;
        let scope = &program.node(maker).scope;
        let (forward, way) = way_of(scope.split('/').next().unwrap_or_default());
        let is_elsewhere = self.cutter.places[maker.index()] == Place::Host
            || layer_of(forward).is_none_or(|(layer, _)| Some(layer) != self.own_layer);
        let ty = program.type_of(value);
        let is_stream = ty.rank() == 4 && ty.dim(2) == 1 && ty.dim(1) > 1;
        match (self.side, way) {
            (Side::Engine, Way::Backward) if is_elsewhere && is_stream => Some("grad.hidden"),
            (Side::Engine, _) if is_elsewhere && is_stream => Some("hidden"),
            _ => None,
        }
    }

    /// A made value is called as the part of the model that made it: `self_attn.q_proj`.
    fn made_name(&self, value: ValueId) -> String {
        let program = self.cutter.program;
        let Some(id) = program.producer(value) else { return "value".to_owned() };
        let node = program.node(id);
        let scope = node.scope.split('/').next().unwrap_or_default();
        let (scope, way) = way_of(scope);
        let gradient = if way == Way::Backward { "grad." } else { "" };
        let place = layer_of(scope).map_or(scope, |(_, rest)| rest);
        match place {
            "" if gradient.is_empty() && layer_of(scope).is_some() => "hidden".to_owned(),
            "" => format!("{gradient}{}", node.op.name()),
            place => format!("{gradient}{place}"),
        }
    }
}

/// What a constant value is computed from.
struct Slice<'p> {
    program: &'p Program,
    root: ValueId,
    nodes: BTreeSet<NodeId>,
    weights: Vec<String>,
}

impl<'p> Slice<'p> {
    fn of(program: &'p Program, root: ValueId) -> Self {
        let mut slice = Self { program, root, nodes: BTreeSet::new(), weights: Vec::new() };
        let mut open = vec![root];
        while let Some(value) = open.pop() {
            match program.definition(value) {
                Definition::Node(id, _) if slice.nodes.insert(id) => {
                    open.extend(&program.node(id).inputs);
                }
                Definition::Weight(index) => {
                    let name = &program.weights()[index].name;
                    if !slice.weights.contains(name) {
                        slice.weights.push(name.clone());
                    }
                }
                _ => {}
            }
        }
        slice.weights.sort();
        slice
    }

    /// The way from the weights to the value, as `ty`.
    fn program(&self, ty: &TensorType) -> Program {
        let b = Builder::new("weight");
        let mut values: BTreeMap<ValueId, Value> = BTreeMap::new();
        for weight in self.program.weights() {
            if self.weights.contains(&weight.name) {
                let held = self.program.type_of(weight.value).clone();
                values.insert(weight.value, b.weight(weight.name.clone(), held));
            }
        }
        for (_, node) in self.program.nodes().filter(|(id, _)| self.nodes.contains(id)) {
            let operands: Vec<Value> =
                node.inputs.iter().filter_map(|value| values.get(value).copied()).collect();
            let results = b.apply(node.op.clone(), &operands);
            values.extend(node.outputs.iter().copied().zip(results));
        }
        if let Some(&value) = values.get(&self.root) {
            b.output("value", b.cast(value, ty.dtype));
        }
        // Copies of nodes that fitted once fit again.
        b.finish().unwrap_or_default()
    }
}

/// A name or scope in which the number of the layer is counted from `first`.
fn relative(name: &str, first: usize) -> String {
    let Some((layer, _)) = layer_of(name) else { return name.to_owned() };
    let mut done = false;
    let parts: Vec<String> = (name.split('.'))
        .map(|part| match part.parse::<usize>() {
            Ok(number) if !done && number == layer => {
                done = true;
                number.saturating_sub(first).to_string()
            }
            _ => part.to_owned(),
        })
        .collect();
    parts.join(".")
}

/// `name`, or with a number behind it where it is taken.
pub(super) fn free(taken: &mut BTreeSet<String>, name: &str) -> String {
    let mut chosen = name.to_owned();
    let mut count = 1;
    while !taken.insert(chosen.clone()) {
        count += 1;
        chosen = format!("{name}.{count}");
    }
    chosen
}
