//! How much memory a program works on at each of its operations, on the Neural Engine, where every element takes two bytes.
//!
//! How much stays on the chip is disputed (facts §1.3), so that there are two pictures to compare with: that of a memory for
//! everything that lives, and that of one for what a single operation touches. [`limits`] has both.

use std::fmt;
use std::fmt::Write;

use crate::lint::Confidence;
use crate::target::{Chip, Family};
use crate::{NodeId, Program, ValueId};

/// Bytes of an element on the engine.
const ELEMENT: u64 = 2;

/// The memory of a program, operation by operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkingSet {
    /// One entry for each node, in execution order.
    pub nodes: Vec<NodeBytes>,
    /// The most bytes that live at once.
    pub peak: u64,
    /// The first node at which they do; `None` for a program without nodes.
    pub peak_at: Option<NodeId>,
    /// The most bytes that one node touches.
    pub most_touched: u64,
    /// The first node that does; `None` for a program without nodes.
    pub most_touched_by: Option<NodeId>,
    /// Bytes of weights and of what depends on them and on constants only, as far as others read it. They are read from memory
    /// as they are needed and do not count as living.
    pub fixed: u64,
}

/// The memory of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeBytes {
    /// The node.
    pub node: NodeId,
    /// Bytes of inputs, states and results that live while it runs: what it or a later node, an output or a state reads.
    pub live: u64,
    /// Bytes of its operands, weights among them, and of its results.
    pub touched: u64,
}

/// A limit of the memory on a chip, according to one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What it limits.
    pub of: Picture,
    /// Bytes.
    pub bytes: u64,
    /// Who found it, and how, by the keys of [`lint::SOURCES`](crate::lint::SOURCES).
    pub source: &'static str,
    /// How well it is known for this chip.
    pub confidence: Confidence,
}

/// What a memory on the chip is thought to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    /// Everything that lives: [`NodeBytes::live`].
    Live,
    /// What one operation touches: [`NodeBytes::touched`].
    Touched,
}

/// What is thought to fit on a chip: both pictures.
pub fn limits(chip: Chip) -> [Limit; 2] {
    let is = |family| chip.family() == family;
    let live = Limit {
        of: Picture::Live,
        bytes: 32 << 20,
        source: "MD: a product's throughput fell by 30 % between 24 and 96 MB on M4",
        confidence: if is(Family::A16) { Confidence::Disputed } else { Confidence::Claimed },
    };
    let (bytes, source) = match chip.family() {
        Family::A17 => (4_720_000, "GD: a step at 4.72 MB on M5"),
        _ => (2 << 20, "GD: the compiler's bound of operands, with a step at 2.3 MB on M1"),
    };
    let confidence = match chip.family() {
        Family::A13 | Family::A17 => Confidence::Measured,
        _ => Confidence::Decoded,
    };
    [live, Limit { of: Picture::Touched, bytes, source, confidence }]
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (of, confidence) = (
            match self.of {
                Picture::Live => "living at once",
                Picture::Touched => "touched by one operation",
            },
            self.confidence.name(),
        );
        write!(f, "{:.1} MB {of} ({}; {confidence})", self.bytes as f64 / 1e6, self.source)
    }
}

/// Measures a program.
pub fn working_set(program: &Program) -> WorkingSet {
    let fixed = program.fixed_values();
    let bytes = |value: ValueId| ELEMENT.saturating_mul(program.type_of(value).elements() as u64);
    let count = program.order().len();
    // The position of the last node that reads each value; behind the last node for what a run gives back.
    let mut last = vec![None; program.value_count()];
    for (position, (_, node)) in program.nodes().enumerate() {
        node.inputs.iter().for_each(|value| last[value.index()] = Some(position));
    }
    let results = program.outputs().iter().map(|output| output.value);
    for value in results.chain(program.states().iter().map(|state| state.next)) {
        last[value.index()] = Some(count);
    }
    // Bytes that come to life before each node, and that are dead after it.
    let (mut born, mut dead) = (vec![0_u64; count + 1], vec![0_u64; count + 1]);
    let mut result = WorkingSet::default();
    let parameters = program.inputs().iter().chain(program.weights()).map(|p| p.value);
    let mut note = |value: ValueId, at: usize| {
        let Some(end) = last[value.index()] else {
            // A result that nobody reads lives while it is made.
            if at < count {
                (born[at], dead[at]) = (born[at] + bytes(value), dead[at] + bytes(value));
            }
            return;
        };
        if !fixed[value.index()] {
            (born[at], dead[end]) = (born[at] + bytes(value), dead[end] + bytes(value));
        }
    };
    for value in parameters.chain(program.states().iter().map(|state| state.value)) {
        if last[value.index()].is_some() {
            note(value, 0);
        }
    }
    for (position, (_, node)) in program.nodes().enumerate() {
        node.outputs.iter().for_each(|&value| note(value, position));
    }

    let mut live = 0_u64;
    let mut counted = vec![false; program.value_count()];
    for (position, (id, node)) in program.nodes().enumerate() {
        live = live.saturating_add(born[position]);
        let mut seen: Vec<ValueId> = Vec::with_capacity(node.inputs.len() + node.outputs.len());
        for &value in node.inputs.iter().chain(&node.outputs) {
            if !seen.contains(&value) {
                seen.push(value);
            }
        }
        let touched = seen.iter().map(|&value| bytes(value)).fold(0, u64::saturating_add);
        let runs = !node.outputs.iter().all(|value| fixed[value.index()]);
        for &value in node.inputs.iter().filter(|value| runs && fixed[value.index()]) {
            if !std::mem::replace(&mut counted[value.index()], true) {
                result.fixed = result.fixed.saturating_add(bytes(value));
            }
        }
        if result.peak_at.is_none() || live > result.peak {
            (result.peak, result.peak_at) = (live, Some(id));
        }
        // What is known when the program is loaded is not computed by a run.
        let touched = if runs { touched } else { 0 };
        if result.most_touched_by.is_none() || touched > result.most_touched {
            (result.most_touched, result.most_touched_by) = (touched, Some(id));
        }
        result.nodes.push(NodeBytes { node: id, live, touched });
        live = live.saturating_sub(dead[position]);
    }
    result
}

impl WorkingSet {
    /// Nodes that work on more than a limit allows.
    pub fn beyond(&self, limit: Limit) -> impl Iterator<Item = NodeBytes> + '_ {
        let bytes = move |node: &NodeBytes| match limit.of {
            Picture::Live => node.live,
            Picture::Touched => node.touched,
        };
        self.nodes.iter().copied().filter(move |node| bytes(node) > limit.bytes)
    }

    /// The text of the program that was measured, with the bytes of each node as a comment. It reads back as the program.
    pub fn annotate(&self, program: &Program) -> String {
        let parameters = program.inputs().len() + program.weights().len() + program.states().len();
        let mut text = String::new();
        for (line, content) in program.to_string().lines().enumerate() {
            text.push_str(content);
            let node = line.checked_sub(1 + parameters).and_then(|at| self.nodes.get(at));
            if let Some(node) = node {
                let kib = |bytes: u64| bytes as f64 / 1024.0;
                let _ = write!(
                    text,
                    " // live {:.1} KiB, touched {:.1} KiB",
                    kib(node.live),
                    kib(node.touched)
                );
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn measured(text: &str) -> (Program, WorkingSet) {
        let program = parse(text).expect("a program");
        let set = working_set(&program);
        (program, set)
    }

    #[test]
    fn values_live_from_where_they_are_made_to_their_last_reader() {
        // Bytes: x 16, y 8, a 16, b 16, c 8; the weight is not alive, but touched.
        let (program, set) = measured(
            "program p {
               input %x \"x\": f16[8]
               input %y \"y\": f32[4]
               weight %w \"w\": f16[8]
               %w2: f16[8] = neg(%w)
               %a: f16[8] = mul(%x, %w2)
               %b: f16[8] = add(%a, %a)
               %c: f32[4] = exp(%y)
               output %b \"b\"
               output %c \"c\"
             }",
        );
        let live: Vec<u64> = set.nodes.iter().map(|node| node.live).collect();
        assert_eq!(live, [24, 40, 40, 32]);
        let touched: Vec<u64> = set.nodes.iter().map(|node| node.touched).collect();
        assert_eq!(touched, [0, 48, 32, 16]);
        assert_eq!((set.peak, set.most_touched, set.fixed), (40, 48, 16));
        assert_eq!(set.peak_at, program.order().get(1).copied());
        let text = set.annotate(&program);
        assert!(text.contains("exp(%y) // live 0.0 KiB"), "{text}");
        assert_eq!(parse(&text).expect("a program").to_string(), program.to_string());
    }

    #[test]
    fn states_live_like_inputs_and_outputs() {
        let (_, set) = measured(
            "program p {
               state %s \"s\": f16[4] -> %n
               state %k \"kept\": f16[4] -> %k
               %n: f16[4] = neg(%s)
             }",
        );
        // The old and the next value of one, and the other, which stays.
        assert_eq!(set.peak, 24);
    }

    #[test]
    fn both_pictures_are_compared() {
        let (_, set) = measured(
            "program p {
               input %x \"x\": f16[1024,1024]
               %y: f16[1024,1024] = neg(%x)
               output %y \"y\"
             }",
        );
        let [live, touched] = limits(Chip::M1);
        assert_eq!(set.beyond(live).count(), 0);
        assert_eq!(set.beyond(touched).count(), 1);
        assert_eq!(set.beyond(limits(Chip::M5)[1]).count(), 0);
        assert!(touched.to_string().starts_with("2.1 MB touched by one operation (GD"));
    }
}
