//! What a chip's engine is described by, and how well each figure is known.

use crate::target::Chip;

/// How a figure was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Published as it stands here.
    Measured,
    /// Fitted to published times of this chip; the source names the rows of the calibration.
    Fitted,
    /// No measurement of this chip: taken over from the chip that the source names.
    Inferred,
}

impl Basis {
    /// A word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Fitted => "fitted",
            Self::Inferred => "inferred",
        }
    }
}

/// A figure with what it rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// In the unit of its field.
    pub value: f64,
    /// How it was found.
    pub basis: Basis,
    /// Rows of the calibration, or another chip.
    pub source: &'static str,
}

/// Whether the engine reads constants of a format as they are stored. What it does not, its compiler widens to fp16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a line of a table")]
pub struct Formats {
    /// int8 with a scale for each channel, `constexpr_affine_dequantize`.
    pub int8: bool,
    /// Look-up tables, `constexpr_lut_to_dense`.
    pub palette: bool,
    /// A scale for each block, `constexpr_blockwise_shift_scale`.
    pub blockwise: bool,
    /// Masks with what is not zero, `constexpr_sparse_to_dense`.
    pub sparse: bool,
    /// Who says so.
    pub source: &'static str,
}

/// What is left of the weight stream where the weights of a core are a multiple of 1 MiB; 1 where nothing is lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Notch {
    /// At 1 MiB for each core, as a share of the undisturbed stream.
    pub first: Figure,
    /// At 2 MiB and further multiples.
    pub further: Figure,
}

/// Power of the engine while it works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Power {
    /// Watts that the engine draws for as long as a program is under way.
    pub standing: f64,
    /// Joules for a multiplication or addition of a convolution.
    pub per_convolution_flop: f64,
    /// Joules for one of a matrix product.
    pub per_product_flop: f64,
    /// Joules for a byte that crosses the memory bus.
    pub per_byte: f64,
    /// Rows of the calibration.
    pub source: &'static str,
}

/// A row of the table: what is known of a chip's engine.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The chip.
    pub chip: Chip,
    /// Seconds from the call to the answer of a program that does next to nothing, on the e5rt route.
    pub floor_e5rt: Figure,
    /// The same through the in-memory model.
    pub floor_in_memory: Figure,
    /// FLOP/s of convolutions with windows of 1×1, in fp16.
    pub convolution: Figure,
    /// FLOP/s of convolutions with larger windows.
    pub windowed: Figure,
    /// FLOP/s of matrix products in fp16.
    pub matmul: Figure,
    /// Bytes/s of constants from memory.
    pub weights: Figure,
    /// Bytes/s of inputs, results and values that do not fit on the chip.
    pub activations: Figure,
    /// Elements/s of an elementwise operation.
    pub elements: Figure,
    /// Bytes of a value that stays on the chip between two operations.
    pub on_chip: Figure,
    /// Where weights of a core are a multiple of 1 MiB.
    pub notch: Notch,
    /// Which formats of constants are streamed.
    pub formats: Formats,
    /// Power, where it was measured.
    pub power: Option<Power>,
}

/// The numbers of a [`Row`], for computing with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// Seconds, on the e5rt route.
    pub floor_e5rt: f64,
    /// Seconds, through the in-memory model.
    pub floor_in_memory: f64,
    /// FLOP/s.
    pub convolution: f64,
    /// FLOP/s.
    pub windowed: f64,
    /// FLOP/s.
    pub matmul: f64,
    /// Bytes/s.
    pub weights: f64,
    /// Bytes/s.
    pub activations: f64,
    /// Elements/s.
    pub elements: f64,
    /// Bytes.
    pub on_chip: u64,
    /// Share of the stream at 1 MiB for each core, and at further multiples.
    pub notch: [f64; 2],
    /// Which formats of constants are streamed.
    pub formats: Formats,
    /// Power, where it was measured.
    pub power: Option<Power>,
    /// What all chips have in common.
    pub common: Common,
}

/// What is taken to be the same on all chips.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Common {
    /// Seconds for each operation that is no part of another.
    pub operation: f64,
    /// An element of a reduction, in elements of an elementwise operation.
    pub reduction: f64,
    /// An element of an operation with an operand that is repeated.
    pub broadcast: f64,
    /// An element of a division.
    pub division: f64,
    /// An element of a softmax.
    pub softmax: f64,
    /// An element of a norm that is one operation.
    pub norm: f64,
    /// An element that is only moved: transposed, sliced, joined.
    pub movement: f64,
    /// What is left of the rate of matrix products whose depth exceeds [`Common::DEPTH`].
    pub deep: f64,
    /// What is left of the rate of convolutions whose image is one row and does not fit on the chip.
    pub single_row: f64,
    /// How much faster convolutions of int8 activations with int8 weights are.
    pub int8_arithmetic: f64,
    /// Seconds that Core ML adds to a call.
    pub core_ml: f64,
}

impl Common {
    /// Cores that output channels are spread over, on every chip and every die.
    pub const CORES: u64 = 16;
    /// Bytes of weights that all cores hold together: 64 KiB each.
    pub const KERNEL_MEMORY: u64 = 16 * 64 * 1024;
    /// The largest depth of a matrix product for which eight output channels of a core fit its 64 KiB.
    pub const DEPTH: u64 = 4096;
}

impl Common {
    /// Its figures: name, number, unit, and what it rests on.
    pub const fn figures(&self) -> [(&'static str, f64, &'static str, &'static str); 12] {
        const FITTED: &str = "fitted to all rows";
        [
            ("an operation by itself", self.operation, "s", FITTED),
            ("reduction", self.reduction, "elements", FITTED),
            ("operand that is repeated", self.broadcast, "elements", "A14, E layer_norm"),
            ("division", self.division, "elements", "A15, A20"),
            ("softmax", self.softmax, "elements", "A17, A20, E softmax"),
            (
                "norm in one operation",
                self.norm,
                "elements",
                "inferred: four repeated operands, two reductions, a pass",
            ),
            ("movement", self.movement, "elements", FITTED),
            (
                "products deeper than 4096",
                self.deep,
                "of the rate",
                "A10; eight channels of 4096 halves fill the 64 KiB of a core (GD)",
            ),
            (
                "one row that does not fit",
                self.single_row,
                "of the rate",
                "A26: 3072 to 768 channels",
            ),
            ("int8 by int8", self.int8_arithmetic, "× the rate", "A32 (M4); inferred elsewhere"),
            ("Core ML", self.core_ml, "s", "A24, A35"),
            (
                "weights that are still there",
                Self::KERNEL_MEMORY as f64,
                "B",
                "64 KiB each of 16 cores (GD, EY)",
            ),
        ]
    }
}

impl Row {
    /// Its numbers.
    pub const fn parameters(&self) -> Parameters {
        Parameters {
            floor_e5rt: self.floor_e5rt.value,
            floor_in_memory: self.floor_in_memory.value,
            convolution: self.convolution.value,
            windowed: self.windowed.value,
            matmul: self.matmul.value,
            weights: self.weights.value,
            activations: self.activations.value,
            elements: self.elements.value,
            on_chip: self.on_chip.value as u64,
            notch: [self.notch.first.value, self.notch.further.value],
            formats: self.formats,
            power: self.power,
            common: super::chips::COMMON,
        }
    }

    /// Its figures with their names and units.
    pub const fn figures(&self) -> [(&'static str, &'static str, Figure); 11] {
        [
            ("floor, e5rt", "s", self.floor_e5rt),
            ("floor, in memory", "s", self.floor_in_memory),
            ("convolution", "FLOP/s", self.convolution),
            ("larger windows", "FLOP/s", self.windowed),
            ("matrix product", "FLOP/s", self.matmul),
            ("weights", "B/s", self.weights),
            ("activations", "B/s", self.activations),
            ("elements", "1/s", self.elements),
            ("on chip", "B", self.on_chip),
            ("notch at 1 MiB", "", self.notch.first),
            ("notch further on", "", self.notch.further),
        ]
    }

    /// The names of figures that no measurement of this chip stands behind.
    pub fn inferred(&self) -> impl Iterator<Item = &'static str> {
        let figures = self.figures().into_iter();
        figures.filter(|(_, _, f)| f.basis == Basis::Inferred).map(|(name, _, _)| name)
    }
}
