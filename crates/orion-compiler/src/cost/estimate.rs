//! Time and energy of a call: the parts of it that can be told apart.

use super::chips;
use super::constant::Constant;
use super::notch;
use super::operation::Class;
use super::parameters::{Common, Parameters};
use super::preparation::Preparation;
use super::situation::{HOST, Host, Situation};
use super::work::{Operation, Weight, Work};
use crate::mil::syntax::Function;
use crate::target::{Route, Target};

/// Seconds of a call, by what they are spent on. Of work that goes on at the same time only the longest counts, so that
/// the parts add up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parts {
    /// From the call to the answer, for a program that does nothing.
    pub floor: f64,
    /// Convolutions and products.
    pub compute: f64,
    /// Constants that arrive from memory.
    pub weights: f64,
    /// What the notch adds to that.
    pub notch: f64,
    /// Inputs, results, and values that do not fit on the chip.
    pub activations: f64,
    /// Operations on single elements: norms, softmax, reductions, moves.
    pub elements: f64,
    /// What each operation costs by itself.
    pub operations: f64,
    /// Copies and conversions by the host.
    pub staging: f64,
    /// Waking the engine, and Core ML.
    pub around: f64,
}

impl Parts {
    /// The parts with their names.
    pub const fn named(&self) -> [(&'static str, f64); 9] {
        [
            ("floor", self.floor),
            ("compute", self.compute),
            ("weights", self.weights),
            ("notch", self.notch),
            ("activations", self.activations),
            ("elements", self.elements),
            ("operations", self.operations),
            ("staging", self.staging),
            ("around", self.around),
        ]
    }

    /// All of them.
    pub fn total(&self) -> f64 {
        self.named().iter().map(|(_, seconds)| seconds).sum()
    }

    /// Those that the engine spends, with its driver: all but the host's.
    pub fn engine(&self) -> f64 {
        self.total() - self.staging - self.around
    }

    /// The largest part.
    pub fn bound(&self) -> &'static str {
        let longest = self.named().into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        longest.map_or("floor", |(name, _)| name)
    }

    /// Adds another call's parts.
    pub fn add(&mut self, other: &Self) {
        self.floor += other.floor;
        self.compute += other.compute;
        self.weights += other.weights;
        self.notch += other.notch;
        self.activations += other.activations;
        self.elements += other.elements;
        self.operations += other.operations;
        self.staging += other.staging;
        self.around += other.around;
    }

    fn scale(&mut self, factor: f64) {
        for part in [
            &mut self.compute,
            &mut self.weights,
            &mut self.notch,
            &mut self.activations,
            &mut self.elements,
            &mut self.operations,
        ] {
            *part *= factor;
        }
    }
}

/// What an operation of a program is thought to take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OperationTime {
    /// The statement of the function, by index.
    pub statement: usize,
    /// What kind of work it is.
    pub class: Class,
    /// Its parts.
    pub parts: Parts,
    /// Bytes of weights for each core, where that is a multiple of 1 MiB and slow.
    pub in_notch: Option<u64>,
}

/// What a call is thought to take. Modelled, never measured: say so wherever it is shown, with the chip's name.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// The chip and the route.
    pub target: Target,
    /// Seconds.
    pub parts: Parts,
    /// What each operation takes, in order; the floor, inputs and results are in none of them.
    pub operations: Vec<OperationTime>,
    /// Multiplications and additions.
    pub flops: u64,
    /// Bytes that cross the memory bus.
    pub bytes: u64,
    /// Joules of the engine, where its power was measured.
    pub energy: Option<f64>,
    /// Before the first call.
    pub preparation: Preparation,
}

impl Estimate {
    /// Seconds of a call.
    pub fn seconds(&self) -> f64 {
        self.parts.total()
    }

    /// Multiplications and additions in a second of the whole call.
    pub fn flops_per_second(&self) -> f64 {
        self.flops as f64 / self.seconds()
    }
}

/// What a call of a function is thought to take on a chip.
///
/// ```
/// use orion_compiler::cost::{self, Situation};
/// use orion_compiler::{mil, target::Target};
///
/// let text = "program(1.3) { func main<ios18>(tensor<fp16, [1, 64]> x) { tensor<fp16, [1, 64]> y = relu(x = x); } -> (y); }";
/// let document = mil::parse(text)?;
/// let call = cost::estimate(&document.functions[0], Target::default(), &Situation::default());
/// assert_eq!(call.parts.bound(), "floor");
/// # Ok::<(), orion_compiler::Diagnostics>(())
/// ```
pub fn estimate(function: &Function<'_>, target: Target, situation: &Situation) -> Estimate {
    Work::of(function).estimate(target, situation)
}

impl Work {
    /// What a call takes on a chip, with a host as in [`HOST`].
    pub fn estimate(&self, target: Target, situation: &Situation) -> Estimate {
        let parameters = chips::row(target.chip).parameters();
        self.estimate_with(&parameters, target, situation, &HOST)
    }

    /// What a call takes with other figures than the table's.
    pub fn estimate_with(
        &self,
        parameters: &Parameters,
        target: Target,
        situation: &Situation,
        host: &Host,
    ) -> Estimate {
        let mut parts = Parts::default();
        let mut bytes = self.inputs.saturating_add(self.results);
        let mut operations = Vec::with_capacity(self.operations.len());
        for operation in &self.operations {
            let (time, moved) = of_operation(operation, parameters);
            parts.add(&time.parts);
            bytes = bytes.saturating_add(moved);
            operations.push(time);
        }
        let interface = self.inputs.saturating_add(self.results);
        parts.activations += interface as f64 / parameters.activations;
        parts.scale(situation.slowness());
        parts.floor = match target.route {
            Route::InMemory => parameters.floor_in_memory,
            Route::E5rt => parameters.floor_e5rt,
        };
        parts.staging = situation.staging.seconds(host);
        let core_ml = if situation.through_core_ml { parameters.common.core_ml } else { 0.0 };
        parts.around = situation.wake() + core_ml;
        let flops = self.flops();
        let convolutions = self.operations.iter().filter(|o| o.class == Class::Convolution);
        let convolved = convolutions.map(|o| o.flops).fold(0, u64::saturating_add);
        let energy = parameters.power.map(|power| {
            power.standing * parts.engine()
                + power.per_convolution_flop * convolved as f64
                + power.per_product_flop * flops.saturating_sub(convolved) as f64
                + power.per_byte * bytes as f64
        });
        let preparation = Preparation::of(self);
        Estimate { target, parts, operations, flops, bytes, energy, preparation }
    }
}

/// Time of an operation, and the bytes that it moves over the memory bus.
fn of_operation(operation: &Operation, p: &Parameters) -> (OperationTime, u64) {
    let spilled: u64 = operation
        .reads
        .iter()
        .chain(&operation.writes)
        .filter(|operand| !operand.is_interface && operand.bytes > p.on_chip)
        .map(|operand| operand.bytes)
        .fold(0, u64::saturating_add);
    let spill = spilled as f64 / p.activations;
    let stream = weights(operation, p);
    let mut parts = Parts { operations: p.common.operation, ..Parts::default() };
    match operation.class {
        Class::Convolution => convolution(operation, p, &stream, spill, &mut parts),
        Class::Product => {
            parts.compute = operation.flops as f64 / product_rate(operation, p);
            parts.weights = stream.seconds;
            parts.notch = stream.lost;
            parts.activations = spill;
        }
        Class::Attention => {
            parts.compute = operation.flops as f64 / product_rate(operation, p);
            parts.elements = operation.elements as f64 * p.common.softmax / p.elements;
            parts.activations = spill;
        }
        class => {
            let each = match class {
                Class::Broadcast => p.common.broadcast,
                Class::Division => p.common.division,
                Class::Reduction => p.common.reduction,
                Class::Softmax => p.common.softmax,
                Class::Norm => p.common.norm,
                Class::Movement => p.common.movement,
                _ => 1.0,
            };
            let touched = operation.elements as f64 * each / p.elements;
            if touched >= spill {
                parts.elements = touched;
            } else {
                parts.activations = spill;
            }
            parts.weights = stream.seconds;
            parts.notch = stream.lost;
        }
    }
    let time = OperationTime {
        statement: operation.statement,
        class: operation.class,
        parts,
        in_notch: (stream.lost > 0.0).then_some(stream.of_core),
    };
    (time, spilled.saturating_add(stream.bytes))
}

/// Weights arrive while sums are formed, and so do values that do not fit: the longest counts.
fn convolution(
    operation: &Operation,
    p: &Parameters,
    stream: &Stream,
    spill: f64,
    parts: &mut Parts,
) {
    let faster = if operation.is_int8 { p.common.int8_arithmetic } else { 1.0 };
    let rate = if operation.is_windowed { p.windowed } else { p.convolution };
    let compute = operation.flops as f64 / (rate * faster);
    // An image of one row that does not fit is read again and again.
    let again = if operation.is_single_row && operation.staying > p.on_chip {
        compute / p.common.single_row - compute
    } else {
        0.0
    };
    let arriving = stream.seconds + stream.lost;
    if compute + again >= arriving.max(spill) {
        (parts.compute, parts.activations) = (compute, again);
    } else if arriving >= spill {
        (parts.weights, parts.notch) = (stream.seconds, stream.lost);
    } else {
        parts.activations = spill;
    }
}

fn product_rate(operation: &Operation, p: &Parameters) -> f64 {
    let deep = if operation.depth > Common::DEPTH { p.common.deep } else { 1.0 };
    p.matmul * deep
}

/// How constants of an operation arrive.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    seconds: f64,
    /// More seconds, in the notch.
    lost: f64,
    bytes: u64,
    of_core: u64,
}

fn weights(operation: &Operation, p: &Parameters) -> Stream {
    let mut stream = Stream::default();
    // What stays on the chip is cut into tiles that fit; each tile sees the other operand once.
    let tiles = if operation.class == Class::Product {
        operation.staying.div_ceil(p.on_chip.max(1)).max(1)
    } else {
        1
    };
    for weight in &operation.weights {
        let bytes = arriving(weight, &weight.constant, p);
        if bytes == 0 {
            continue;
        }
        let of_core = notch::of_core(bytes, weight.channels);
        let seconds = bytes as f64 / p.weights;
        let lost = seconds / notch::share(of_core, p.notch) - seconds;
        if lost > stream.lost {
            stream.of_core = of_core;
        }
        stream.seconds += seconds * tiles as f64;
        stream.lost += lost;
        stream.bytes = stream.bytes.saturating_add(bytes.saturating_mul(tiles));
    }
    let again = operation.streaming.saturating_mul(tiles - 1);
    stream.seconds += again as f64 / p.activations;
    stream.bytes = stream.bytes.saturating_add(again);
    stream
}

/// Bytes of a constant that arrive: none where it is still there from an operation before.
const fn arriving(weight: &Weight, constant: &Constant, p: &Parameters) -> u64 {
    let bytes = constant.streamed(&p.formats);
    if weight.is_repeated && bytes <= Common::KERNEL_MEMORY { 0 } else { bytes }
}
