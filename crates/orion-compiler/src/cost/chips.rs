//! The table of figures: a row for each chip, and what all chips have in common. A figure is *measured* where a source gives
//! it as it stands, *fitted* where it follows from published times of the chip (rows of `calibration.tsv`; `cargo xtask
//! fit-cost` repeats the fit), and *inferred* where no measurement of the chip stands behind it.

use super::parameters::{Basis, Common, Figure, Formats, Notch, Power, Row};
use crate::target::Chip;

const fn measured(value: f64, source: &'static str) -> Figure {
    Figure { value, basis: Basis::Measured, source }
}

const fn fitted(value: f64, source: &'static str) -> Figure {
    Figure { value, basis: Basis::Fitted, source }
}

const fn inferred(value: f64, source: &'static str) -> Figure {
    Figure { value, basis: Basis::Inferred, source }
}

/// What is taken to be the same on all chips.
pub const COMMON: Common = Common {
    operation: 0.12e-6,
    reduction: 1.0,
    broadcast: 6.0,
    division: 75.0,
    softmax: 4.0,
    norm: 27.0,
    movement: 0.4,
    deep: 0.47,
    single_row: 0.27,
    int8_arithmetic: 1.9,
    core_ml: 86e-6,
};

/// The row of a chip.
pub fn row(chip: Chip) -> &'static Row {
    let found = CHIPS.iter().find(|row| row.chip == chip);
    // The table's test finds every chip in it.
    found.unwrap_or(&CHIPS[0])
}

const MIB: f64 = (1_u32 << 20) as f64;

/// No chip of these generations was seen to slow down (claimed of M1 by EY).
const NO_NOTCH: Notch = Notch {
    first: inferred(1.0, "nobody reports one"),
    further: inferred(1.0, "nobody reports one"),
};

/// Seen on M3, and taken over for its larger siblings.
const AS_M3: Notch = Notch { first: inferred(0.31, "M3"), further: inferred(0.33, "M3") };

/// Seen on M4, and taken over for its larger siblings.
const AS_M4: Notch = Notch { first: inferred(0.4, "M4"), further: inferred(0.55, "M4") };

/// M1.
const FIRST: Formats = Formats {
    int8: false,
    palette: true,
    blockwise: false,
    sparse: true,
    source: "GD, perhaps on M1 Max: int8 is widened, LUT 2.37× and sparse 1.6× faster",
};
/// M2 and its larger siblings.
const SECOND: Formats = Formats {
    int8: true,
    palette: true,
    blockwise: false,
    sparse: true,
    source: "AF: int8 streams from A14 on, blocks from A15 on",
};
/// M1 Max; taken over for M1 Pro and M1 Ultra.
const MAX_FIRST: Formats =
    Formats { source: "AF: int8 decodes 1.78× as fast (B3); GD found it widened", ..SECOND };
/// From M3 on.
const ALL: Formats = Formats { blockwise: true, ..SECOND };

/// M5 Pro; taken over for M5 Max.
const FIFTH_PRO: Formats = Formats {
    int8: false,
    source: "A34, B1: int8 is as fast as fp16 to three digits, LUT and sparse 1.9× faster",
    ..ALL
};

/// Every chip.
pub const CHIPS: &[Row] = &[
    Row {
        chip: Chip::M1,
        floor_e5rt: fitted(0.224e-3, "A9, A37"),
        floor_in_memory: inferred(0.24e-3, "M1 Max"),
        convolution: inferred(12.0e12, "M1 Max"),
        windowed: fitted(12.3e12, "A37, of which the host takes most"),
        matmul: fitted(12.8e12, "A9, of which the host takes most"),
        weights: fitted(58e9, "A35"),
        activations: inferred(58e9, "its weights"),
        elements: inferred(16.5e9, "M1 Max"),
        on_chip: inferred(2.0 * MIB, "M1 Max"),
        notch: NO_NOTCH,
        formats: FIRST,
        power: Some(Power {
            standing: 0.79,
            per_convolution_flop: 0.38e-12,
            per_product_flop: 0.77e-12,
            per_byte: 11e-12,
            source: "inferred: M1 Max",
        }),
    },
    Row {
        chip: Chip::M1Pro,
        floor_e5rt: inferred(0.23e-3, "M1 Max"),
        floor_in_memory: inferred(0.24e-3, "M1 Max"),
        convolution: inferred(12.0e12, "M1 Max"),
        windowed: inferred(12.3e12, "M1 Max"),
        matmul: inferred(11.9e12, "M1 Max"),
        weights: fitted(56e9, "A35"),
        activations: inferred(54e9, "M1 Max"),
        elements: inferred(16.5e9, "M1 Max"),
        on_chip: inferred(2.0 * MIB, "M1 Max"),
        notch: NO_NOTCH,
        formats: MAX_FIRST,
        power: None,
    },
    Row {
        chip: Chip::M1Max,
        floor_e5rt: fitted(0.23e-3, "A6, A8, A9, A18"),
        floor_in_memory: inferred(0.24e-3, "rane on M1 Pro"),
        convolution: measured(12.0e12, "GD, of a chain of products"),
        windowed: fitted(12.3e12, "A6, A8, A11, A37"),
        matmul: fitted(11.9e12, "A9, A12"),
        weights: fitted(54e9, "A35, B3"),
        activations: fitted(54e9, "A8, A9, A37"),
        elements: fitted(16.5e9, "A14 to A17"),
        on_chip: measured(2.0 * MIB, "GD"),
        notch: NO_NOTCH,
        formats: MAX_FIRST,
        power: Some(Power {
            standing: 0.79,
            per_convolution_flop: 0.38e-12,
            per_product_flop: 0.77e-12,
            per_byte: 11e-12,
            source: "P-m1-max",
        }),
    },
    Row {
        chip: Chip::M1Ultra,
        floor_e5rt: inferred(0.23e-3, "M1 Max"),
        floor_in_memory: inferred(0.24e-3, "M1 Max"),
        convolution: inferred(12.0e12, "M1 Max"),
        windowed: inferred(12.3e12, "M1 Max"),
        matmul: inferred(11.9e12, "M1 Max"),
        weights: fitted(55e9, "A35"),
        activations: inferred(54e9, "M1 Max"),
        elements: inferred(16.5e9, "M1 Max"),
        on_chip: inferred(2.0 * MIB, "M1 Max"),
        notch: NO_NOTCH,
        formats: MAX_FIRST,
        power: None,
    },
    Row {
        chip: Chip::M2,
        floor_e5rt: inferred(0.112e-3, "M2 Pro"),
        floor_in_memory: inferred(0.125e-3, "M2 Pro"),
        convolution: inferred(15.8e12, "M2 Pro"),
        windowed: inferred(18.2e12, "M2 Pro"),
        matmul: inferred(12.9e12, "M2 Pro"),
        weights: fitted(53.5e9, "A35"),
        activations: inferred(55e9, "M2 Pro"),
        elements: inferred(18.7e9, "M2 Pro"),
        on_chip: inferred(2.0 * MIB, "M1 Max"),
        notch: NO_NOTCH,
        formats: SECOND,
        power: None,
    },
    Row {
        chip: Chip::M2Pro,
        floor_e5rt: fitted(0.112e-3, "A9, A18"),
        floor_in_memory: inferred(0.125e-3, "a tenth more, as on M1 Max"),
        convolution: inferred(15.8e12, "what Apple states, which larger windows exceed"),
        windowed: fitted(18.2e12, "A11, A37"),
        matmul: fitted(12.9e12, "A9, A12"),
        weights: fitted(55e9, "A21, B3"),
        activations: inferred(55e9, "its weights"),
        elements: fitted(18.7e9, "A14 to A17"),
        on_chip: inferred(2.0 * MIB, "M1 Max"),
        notch: NO_NOTCH,
        formats: SECOND,
        power: Some(Power {
            standing: 1.43,
            per_convolution_flop: 0.3e-12,
            per_product_flop: 0.97e-12,
            per_byte: 18.5e-12,
            source: "P-m2-pro",
        }),
    },
    Row {
        chip: Chip::M2Max,
        floor_e5rt: inferred(0.112e-3, "M2 Pro"),
        floor_in_memory: inferred(0.125e-3, "M2 Pro"),
        convolution: inferred(15.8e12, "M2 Pro"),
        windowed: inferred(18.2e12, "M2 Pro"),
        matmul: inferred(12.9e12, "M2 Pro"),
        weights: fitted(62.5e9, "A35"),
        activations: inferred(55e9, "M2 Pro"),
        elements: inferred(18.7e9, "M2 Pro"),
        on_chip: inferred(2.0 * MIB, "M1 Max"),
        notch: NO_NOTCH,
        formats: SECOND,
        power: None,
    },
    Row {
        chip: Chip::M2Ultra,
        floor_e5rt: inferred(0.112e-3, "M2 Pro"),
        floor_in_memory: inferred(0.125e-3, "M2 Pro"),
        convolution: inferred(15.8e12, "M2 Pro"),
        windowed: inferred(18.2e12, "M2 Pro"),
        matmul: inferred(12.9e12, "M2 Pro"),
        weights: fitted(61.5e9, "A35"),
        activations: inferred(55e9, "M2 Pro"),
        elements: inferred(18.7e9, "M2 Pro"),
        on_chip: inferred(2.0 * MIB, "M1 Max"),
        notch: NO_NOTCH,
        formats: SECOND,
        power: None,
    },
    Row {
        chip: Chip::M3,
        floor_e5rt: inferred(0.08e-3, "between M2 Pro and M4"),
        floor_in_memory: fitted(0.085e-3, "A22, A23"),
        convolution: inferred(17.2e12, "M3 Pro"),
        windowed: inferred(17.2e12, "as 1×1"),
        matmul: inferred(13.4e12, "between M2 Pro and M4"),
        weights: fitted(58e9, "A22, A35, C8"),
        activations: inferred(58e9, "its weights"),
        elements: inferred(28e9, "between M2 Pro and M4"),
        on_chip: inferred(2.0 * MIB, "M1 Max"),
        notch: Notch { first: fitted(0.31, "A22, A23"), further: fitted(0.33, "C8") },
        formats: ALL,
        power: None,
    },
    Row {
        chip: Chip::M3Pro,
        floor_e5rt: inferred(0.08e-3, "M3"),
        floor_in_memory: fitted(0.156e-3, "A31"),
        convolution: fitted(17.2e12, "A31"),
        windowed: inferred(17.2e12, "as 1×1"),
        matmul: inferred(13.4e12, "M3"),
        weights: inferred(113e9, "M3 Max"),
        activations: inferred(113e9, "M3 Max"),
        elements: inferred(28e9, "M3"),
        on_chip: inferred(2.0 * MIB, "M1 Max"),
        notch: AS_M3,
        formats: ALL,
        power: None,
    },
    Row {
        chip: Chip::M3Max,
        floor_e5rt: inferred(0.08e-3, "M3"),
        floor_in_memory: measured(0.119e-3, "FG"),
        convolution: inferred(17.2e12, "M3 Pro"),
        windowed: inferred(17.2e12, "as 1×1"),
        matmul: inferred(13.4e12, "M3"),
        weights: fitted(113e9, "A35"),
        activations: measured(78e9, "FG"),
        elements: inferred(28e9, "M3"),
        on_chip: inferred(2.0 * MIB, "M1 Max"),
        notch: AS_M3,
        formats: ALL,
        power: None,
    },
    Row {
        chip: Chip::M3Ultra,
        floor_e5rt: inferred(0.17e-3, "a tenth less than in memory"),
        floor_in_memory: fitted(0.195e-3, "A30"),
        convolution: fitted(16.1e12, "A30"),
        windowed: inferred(16.1e12, "as 1×1"),
        matmul: inferred(13.4e12, "M3"),
        weights: fitted(124e9, "A35"),
        activations: inferred(124e9, "its weights"),
        elements: inferred(28e9, "M3"),
        on_chip: inferred(2.0 * MIB, "M1 Max"),
        notch: AS_M3,
        formats: ALL,
        power: None,
    },
    Row {
        chip: Chip::M4,
        floor_e5rt: fitted(0.066e-3, "A18; A9, A24 and A35 pull it down to 0.060"),
        floor_in_memory: fitted(0.086e-3, "A27 to A29"),
        convolution: fitted(18.4e12, "A28, A29, A32"),
        windowed: fitted(20.4e12, "A11, A38"),
        matmul: fitted(13.9e12, "A2, A9, A10"),
        weights: fitted(61e9, "A24, A27, A35"),
        activations: fitted(69e9, "A9, A32"),
        elements: fitted(36e9, "A14 to A17"),
        on_chip: inferred(2.0 * MIB, "the size that GD reads for this generation too"),
        notch: Notch { first: fitted(0.4, "A24, A25"), further: fitted(0.55, "A24, A25, A27") },
        formats: ALL,
        power: Some(Power {
            standing: 0.56,
            per_convolution_flop: 0.38e-12,
            per_product_flop: 0.69e-12,
            per_byte: 10e-12,
            source: "P-m4",
        }),
    },
    Row {
        chip: Chip::M4Pro,
        floor_e5rt: inferred(0.066e-3, "M4"),
        floor_in_memory: fitted(0.089e-3, "A31"),
        convolution: inferred(18.4e12, "M4"),
        windowed: inferred(20.4e12, "M4"),
        matmul: inferred(13.9e12, "M4"),
        weights: fitted(118e9, "A35"),
        activations: inferred(90e9, "M4 Max"),
        elements: inferred(36e9, "M4"),
        on_chip: inferred(2.0 * MIB, "M4"),
        notch: AS_M4,
        formats: ALL,
        power: None,
    },
    Row {
        chip: Chip::M4Max,
        floor_e5rt: inferred(0.066e-3, "M4"),
        floor_in_memory: fitted(0.095e-3, "A26"),
        convolution: fitted(15.5e12, "A26, A31"),
        windowed: inferred(15.5e12, "as 1×1"),
        matmul: inferred(13.9e12, "M4"),
        weights: fitted(115e9, "A35"),
        activations: fitted(90e9, "A26"),
        elements: inferred(36e9, "M4"),
        on_chip: inferred(2.0 * MIB, "M4"),
        notch: AS_M4,
        formats: ALL,
        power: None,
    },
    Row {
        chip: Chip::M5,
        floor_e5rt: fitted(0.069e-3, "A9, A37"),
        floor_in_memory: measured(0.106e-3, "AI"),
        convolution: fitted(19.3e12, "A31, and M5 Max"),
        windowed: fitted(25.8e12, "A37"),
        matmul: fitted(20.3e12, "A9"),
        weights: fitted(59.5e9, "A35, B3"),
        activations: measured(107e9, "electricapp/ane-bridge-rs"),
        elements: fitted(33e9, "E-m5"),
        on_chip: inferred(2.0 * MIB, "M4"),
        notch: NO_NOTCH,
        formats: ALL,
        power: Some(Power {
            standing: 0.57,
            per_convolution_flop: 0.21e-12,
            per_product_flop: 0.64e-12,
            per_byte: 13e-12,
            source: "P-m5",
        }),
    },
    Row {
        chip: Chip::M5Pro,
        floor_e5rt: fitted(0.078e-3, "A9, A18, A19"),
        floor_in_memory: inferred(0.106e-3, "M5"),
        convolution: inferred(19.3e12, "M5 Max"),
        windowed: fitted(29.1e12, "A11, A38"),
        matmul: fitted(12.5e12, "A9, A10, A12"),
        weights: fitted(158e9, "A19, A34, B1"),
        activations: inferred(158e9, "its weights"),
        elements: fitted(42e9, "A14 to A17, A20"),
        on_chip: measured(4.5 * MIB, "GD"),
        notch: NO_NOTCH,
        formats: FIFTH_PRO,
        power: Some(Power {
            standing: 0.54,
            per_convolution_flop: 0.39e-12,
            per_product_flop: 0.8e-12,
            per_byte: 9e-12,
            source: "P-m5-pro",
        }),
    },
    Row {
        chip: Chip::M5Max,
        floor_e5rt: inferred(0.078e-3, "M5 Pro"),
        floor_in_memory: inferred(0.106e-3, "M5"),
        convolution: measured(19.3e12, "MD PR 50"),
        windowed: inferred(29.1e12, "M5 Pro"),
        matmul: inferred(12.5e12, "M5 Pro"),
        weights: inferred(158e9, "M5 Pro"),
        activations: inferred(158e9, "M5 Pro"),
        elements: inferred(42e9, "M5 Pro"),
        on_chip: inferred(4.5 * MIB, "M5 Pro"),
        notch: NO_NOTCH,
        formats: FIFTH_PRO,
        power: None,
    },
];
