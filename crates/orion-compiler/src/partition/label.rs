//! Where pieces begin and end.

use std::collections::BTreeMap;

use super::side::Place;
use crate::ir::program::Node;
use crate::{Op, Program, ValueId};

/// How much one engine program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// As [`Parts`](Self::Parts), with norms backward, projections before attention, and the last norm in programs of their
    /// own: the programs that this project's seed wrote by hand.
    Blocks,
    /// A part of a layer: up to a residual sum, forward; backward, the attention's core in two programs and its projections in
    /// a third.
    Parts,
    /// As many whole layers; what comes before and behind them goes with the first and the last.
    Layers(usize),
    /// All layers with the head behind them; two programs where the host does something in between.
    Whole,
}

/// Names of the engine's pieces in order, and each node's piece.
#[derive(Debug)]
pub(super) struct Stages {
    /// A label for each piece of the engine.
    pub(super) labels: Vec<Label>,
    /// For each node by index: of an engine's node its piece; of a host's the number of engine pieces before it.
    pub(super) of: Vec<usize>,
}

/// What a piece is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Label {
    /// The first layer, if it is in one.
    pub(super) layer: Option<usize>,
    /// `attention`, `layers`, `head`.
    pub(super) part: String,
}

impl Label {
    /// `layer 3 attention`.
    pub(super) fn shown(&self) -> String {
        match self.layer {
            Some(layer) => format!("layer {layer} {}", self.part),
            None => self.part.clone(),
        }
    }
}

/// Which way through the model a node belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Forward,
    Backward,
    /// Forward, but computed again where the way back needs it.
    Again,
}

/// The forward scope that a scope stands for, and the way.
pub(super) fn way_of(scope: &str) -> (&str, Way) {
    match scope {
        "backward" => return ("", Way::Backward),
        "again" => return ("", Way::Again),
        _ => {}
    }
    // Gradients of composites go back through what they compute again.
    let stripped = scope.trim_end_matches(".backward");
    match stripped.strip_suffix(".again") {
        Some(forward) => (forward, Way::Again),
        None if stripped.len() < scope.len() => (stripped, Way::Backward),
        None => (scope, Way::Forward),
    }
}

/// Number of the layer in a scope, and what follows it: `model.layers.3.mlp` is `(3, "mlp")`.
pub(super) fn layer_of(scope: &str) -> Option<(usize, &str)> {
    let mut rest = scope;
    loop {
        let (part, behind) = rest.split_once('.').unwrap_or((rest, ""));
        if let Ok(number) = part.parse() {
            return Some((number, behind));
        }
        if behind.is_empty() {
            return None;
        }
        rest = behind;
    }
}

/// Labels every node.
///
/// # Errors
/// When two pieces would wait for each other.
pub(super) fn stages(program: &Program, places: &[Place], cut: Cut) -> Result<Stages, String> {
    if cut == Cut::Whole
        && let Ok(stages) = stages_of(program, places, cut, false)
    {
        return Ok(stages);
    }
    stages_of(program, places, cut, true)
}

/// `head_apart`: whether the head is a piece of its own.
fn stages_of(
    program: &Program,
    places: &[Place],
    cut: Cut,
    head_apart: bool,
) -> Result<Stages, String> {
    let mut namer = Namer {
        cut,
        head_apart,
        parts: BTreeMap::new(),
        made: BTreeMap::new(),
        current: None,
        in_softmax: false,
    };
    let mut labels: Vec<Label> = Vec::new();
    let mut of = vec![0; program.nodes.len()];
    for (id, node) in program.nodes() {
        if places[id.index()] != Place::Engine {
            continue;
        }
        let label = namer.label(program, node);
        let known = labels.iter().rposition(|known| *known == label);
        let at = known.unwrap_or_else(|| {
            labels.push(label);
            labels.len() - 1
        });
        of[id.index()] = at;
    }
    // A host's node runs as soon as the pieces that it reads of are done.
    for (id, node) in program.nodes() {
        let place = places[id.index()];
        let earliest = (node.inputs.iter())
            .filter_map(|&value| program.producer(value))
            .filter(|producer| places[producer.index()] != Place::Constant)
            .map(|producer| match (places[producer.index()], place) {
                (Place::Engine, Place::Host) => of[producer.index()] + 1,
                _ => of[producer.index()],
            })
            .max()
            .unwrap_or(0);
        match place {
            Place::Host => of[id.index()] = earliest,
            Place::Engine if earliest > of[id.index()] => {
                let (own, other) = (&labels[of[id.index()]], labels.get(earliest));
                return Err(format!(
                    "`{}` of {} in `{}` reads what `{}` makes, which runs later; cut into smaller pieces",
                    node.op.name(),
                    node.scope,
                    own.shown(),
                    other.map_or_else(|| "the host".to_owned(), Label::shown),
                ));
            }
            Place::Engine | Place::Constant => {}
        }
    }
    Ok(Stages { labels, of })
}

struct Namer {
    cut: Cut,
    head_apart: bool,
    /// Parts of forward scopes: of a layer's `self_attn.q_proj` the part's number.
    parts: BTreeMap<String, usize>,
    /// Where forward values were made.
    made: BTreeMap<ValueId, Made>,
    current: Option<Label>,
    /// Whether the gradient of a softmax was met since the last projection.
    in_softmax: bool,
}

/// Where a forward value was made: in which layer and part, whether it is the part's residual sum, and whether it is, or comes
/// from, what the projections are for.
#[derive(Clone, Copy)]
struct Made {
    layer: usize,
    part: usize,
    is_residual: bool,
    is_core: bool,
}

impl Namer {
    fn label(&mut self, program: &Program, node: &Node) -> Label {
        let scope = node.scope.split('/').next().unwrap_or_default();
        let (forward, way) = way_of(scope);
        let is_backward = way != Way::Forward;
        let layer = layer_of(forward);
        let label = match (self.cut, layer) {
            (Cut::Whole, Some(_)) => Label { layer: None, part: direction("model", is_backward) },
            (Cut::Layers(count), Some((layer, _))) => {
                let first = layer - layer % count.max(1);
                Label { layer: Some(first), part: direction("layers", is_backward) }
            }
            (Cut::Parts | Cut::Blocks, Some((layer, rest))) => {
                let label = self.part(program, node, layer, rest, is_backward);
                if self.cut == Cut::Blocks { self.block(label, rest, way, node) } else { label }
            }
            // What belongs to no layer stays with its neighbour, or is the head behind the last layer.
            (_, None) => match &self.current {
                Some(current) if forward.is_empty() => current.clone(),
                _ if self.cut == Cut::Blocks && is_norm(forward) => {
                    Label { layer: None, part: direction("final norm", is_backward) }
                }
                _ if self.cut == Cut::Blocks => {
                    Label { layer: None, part: direction("classifier", is_backward) }
                }
                _ => {
                    let part = if self.head_apart { "head" } else { "model" };
                    Label { layer: None, part: direction(part, is_backward) }
                }
            },
        };
        self.current = Some(label.clone());
        label
    }

    /// A smaller piece than the part that a node belongs to.
    fn block(&self, label: Label, rest: &str, way: Way, node: &Node) -> Label {
        // What is computed again belongs to what reads it.
        let is_norm = is_norm(rest) && way == Way::Backward;
        let made = node.outputs.first().and_then(|value| self.made.get(value));
        let part = match label.part.as_str() {
            "attention" if made.is_some_and(|made| !made.is_core) => {
                "attention projection".to_owned()
            }
            "qkv backward" if is_norm => "attention norm backward".to_owned(),
            "ffn backward" if is_norm => "ffn norm backward".to_owned(),
            _ => return label,
        };
        Label { part, ..label }
    }

    /// Whether what lies in a layer at this place is what its projections are for.
    fn is_core(&self, rest: &str) -> bool {
        rest.is_empty()
            || self
                .parts
                .keys()
                .any(|known| known.strip_prefix(rest).is_some_and(|behind| behind.starts_with('.')))
    }

    fn part(
        &mut self,
        program: &Program,
        node: &Node,
        layer: usize,
        rest: &str,
        is_backward: bool,
    ) -> Label {
        let name = |part: usize| match part {
            0 => "attention".to_owned(),
            1 => "ffn".to_owned(),
            more => format!("part {more}"),
        };
        if !is_backward {
            // A residual sum closes its part; what reads it begins the next.
            let operands = node.inputs.iter().filter_map(|value| self.made.get(value));
            let inside: Vec<Made> = operands.filter(|made| made.layer == layer).copied().collect();
            let part = inside.iter().map(|made| made.part + usize::from(made.is_residual)).max();
            let part = part.unwrap_or(0);
            let follows = inside.iter().any(|made| made.is_core && made.part == part);
            let made = Made {
                layer,
                part,
                is_residual: rest.is_empty() && is_residual(program, node),
                is_core: follows || self.is_core(rest),
            };
            self.made.extend(node.outputs.iter().map(|&value| (value, made)));
            self.parts.entry(rest.to_owned()).or_insert(part);
            return Label { layer: Some(layer), part: name(part) };
        }
        let part = match (self.parts.get(rest).filter(|_| !rest.is_empty()), &self.current) {
            (Some(&part), _) => name(part),
            // The core of attention where its scope is the layer's, or a sum where two ways meet.
            (None, Some(current)) if current.part.starts_with("attention backward") => name(0),
            (None, Some(current)) if current.layer == Some(layer) => return current.clone(),
            (None, _) => name(1),
        };
        if part != "attention" {
            self.in_softmax = false;
            return Label { layer: Some(layer), part: format!("{part} backward") };
        }
        let reads_softmax = node.inputs.iter().any(|&value| {
            program.producer(value).is_some_and(|id| matches!(program.node(id).op, Op::Softmax(_)))
        });
        let is_core = self.is_core(rest);
        if is_core && reads_softmax && matches!(node.op, Op::Mul(_)) {
            self.in_softmax = true;
        }
        let step = match (is_core, self.in_softmax) {
            (true, true) => "attention backward 2",
            (false, true) => "qkv backward",
            (_, false) => "attention backward 1",
        };
        Label { layer: Some(layer), part: step.to_owned() }
    }
}

/// Whether a node adds what a part has computed to what it was given: both `[batch, channels, 1, tokens]`.
fn is_residual(program: &Program, node: &Node) -> bool {
    let Some(&result) = node.outputs.first() else { return false };
    let ty = program.type_of(result);
    matches!(node.op, Op::Add(_))
        && ty.rank() == 4
        && ty.dim(2) == 1
        && node.inputs.iter().all(|&value| program.type_of(value) == ty)
}

fn is_norm(place: &str) -> bool {
    let last = place.rsplit('.').next().unwrap_or_default();
    last.contains("norm") || last.starts_with("ln_")
}

fn direction(part: &str, is_backward: bool) -> String {
    if is_backward { format!("{part} backward") } else { part.to_owned() }
}
