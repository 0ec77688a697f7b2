//! The page of the cost model: its terms, the table of chips with sources, and how near it comes to what others measured.

use std::fmt::Write as _;

use orion_compiler::cost::{
    Basis, Figure,
    calibration::{Comparison, Harness, Quantity, Role, SOURCES, Score, compare, rows},
    chips::{CHIPS, COMMON},
};
use orion_compiler::target::Chip;

use super::NOTICE;
use crate::Failure;

pub(super) fn page() -> Result<String, Failure> {
    let compared = compare()?;
    let mut page = format!("# Cost model\n\n{NOTICE}\n\n{INTRODUCTION}");
    page += &common();
    page += &chips();
    page += &harnesses();
    page += &scores(&compared);
    page += &far(&compared);
    page += &all(&compared);
    page += &excluded();
    page += "\n## Sources\n\nKeys that the [rules](engine-rules.md#sources) have too are explained there.\n\n";
    for (key, source) in SOURCES {
        let _ = writeln!(page, "* {key}: {source}");
    }
    Ok(page)
}

const INTRODUCTION: &str = "\
What a program is thought to take on a chip that is not there. `orion mil cost model.mil --target m4` prints it, \
`orion mil cost --calibration` compares it with what others have measured. Everything is modelled: we have seen no Mac.

## A call

A call takes the sum of these parts. Of work that goes on at the same time only the longest counts.

| part | what it is |
|---|---|
| floor | from the call to the answer, for a program that does nothing; it depends on the route |
| compute | convolutions and matrix products, at the chip's rate for each |
| weights | constants that arrive from memory, each once; stored in few bits they are fewer bytes where the chip streams the format, and fp16 where it does not |
| notch | what is added where the weights of one of the 16 cores, `ceil(channels / 16) × depth × bytes`, are a multiple of 1 MiB long or within 16 KiB of one (ANE058) |
| activations | inputs and results, and values between operations that do not fit on the chip, which are written and read again |
| elements | norms, softmax, reductions, moves: a time for each element |
| operations | a little for each operation by itself |
| staging | copies and conversions by the host, where they are asked for |
| around | waking an engine that was idle, and Core ML |

A convolution takes the longest of compute, weights and values that do not fit. A matrix product takes the sum of them: its \
weights arrive before they are used, and once for each tile of activations that fits on the chip. Scales, offsets and \
activation functions behind a convolution or product ride along for nothing if nobody else reads what is before them. Constants \
that are made of constants cost nothing but their bytes; one that an operation before has read is still there if it is small.

Energy is a standing power for as long as the engine is under way, and an amount for each multiplication or addition and for \
each byte that crosses the memory bus. Compiling takes 38 ms, and more for constants and statements; published figures differ by a \
factor of two.

Not modelled: the slow state that an engine falls into after some hundreds of calls (ANE056; `Situation::is_slow` asks \
for it), the collapse of M3 Ultra after 100,000 calls (ANE054), the second die of an Ultra (ANE055), heat.
";

fn common() -> String {
    let mut page =
        "\n## What is the same on all chips\n\n| | | | from |\n|---|---|---|---|\n".to_owned();
    for (name, value, unit, source) in COMMON.figures() {
        let shown =
            if unit == "s" { format!("{:.2} µs", value * 1e6) } else { format!("{value} {unit}") };
        let (shown, unit) = match unit {
            "s" => (shown, ""),
            "B" => (format!("{:.0} MiB", value / f64::from(1 << 20)), ""),
            _ => (format!("{value}"), unit),
        };
        let _ = writeln!(page, "| {name} | {shown} | {unit} | {source} |");
    }
    page
}

fn chips() -> String {
    let mut page = "\n## Chips\n\n**Bold** figures are measured as they stand, plain ones are fitted to published times of the chip, and *italic* ones \
         are taken over from another chip for want of measurements.\n\n\
         | chip | floor, e5rt | floor, in memory | convolution 1×1 | larger windows | product | weights | activations | elements | on chip | notch |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in CHIPS {
        let notch = if row.notch.first.value < 1.0 {
            let [first, further] = [row.notch.first, row.notch.further]
                .map(|figure| mark(figure, &format!("{:.0} %", 100.0 * figure.value)));
            format!("{first}, {further}")
        } else {
            "none".to_owned()
        };
        let micros = |figure: Figure| mark(figure, &format!("{:.0} µs", figure.value * 1e6));
        let tera = |figure: Figure| mark(figure, &format!("{:.1} TFLOP/s", figure.value * 1e-12));
        let giga = |figure: Figure| mark(figure, &format!("{:.1} GB/s", figure.value * 1e-9));
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {notch} |",
            row.chip.shown(),
            micros(row.floor_e5rt),
            micros(row.floor_in_memory),
            tera(row.convolution),
            tera(row.windowed),
            tera(row.matmul),
            giga(row.weights),
            giga(row.activations),
            mark(row.elements, &format!("{:.1}·10⁹/s", row.elements.value * 1e-9)),
            mark(row.on_chip, &format!("{:.1} MiB", row.on_chip.value / f64::from(1 << 20))),
        );
    }
    page += "\nThe notch is what is left of the weight stream at 1 MiB for each core, and at further multiples.\n\n\
             | chip | int8 | tables | blocks | masks | from |\n|---|---|---|---|---|---|\n";
    for row in CHIPS {
        let word = |streams| if streams { "streamed" } else { "widened" };
        let f = row.formats;
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} |",
            row.chip.shown(),
            word(f.int8),
            word(f.palette),
            word(f.blockwise),
            word(f.sparse),
            f.source
        );
    }
    page += "\n| chip | standing | a FLOP of a convolution | of a product | a byte | from |\n|---|---|---|---|---|---|\n";
    for (chip, power) in CHIPS.iter().filter_map(|row| Some((row.chip, row.power?))) {
        let _ = writeln!(
            page,
            "| {} | {:.2} W | {:.2} pJ | {:.2} pJ | {:.1} pJ | {} |",
            chip.shown(),
            power.standing,
            power.per_convolution_flop * 1e12,
            power.per_product_flop * 1e12,
            power.per_byte * 1e12,
            power.source
        );
    }
    page += "\nWhere each figure is from: rows of the calibration below, another chip, or a source.\n\n";
    for row in CHIPS {
        let figures = row
            .figures()
            .map(|(name, _, figure)| format!("{name}: {} {}", figure.basis.name(), figure.source));
        let _ = writeln!(page, "* {}: {}.", row.chip.shown(), figures.join("; "));
    }
    page
}

fn mark(figure: Figure, shown: &str) -> String {
    match figure.basis {
        Basis::Measured => format!("**{shown}**"),
        Basis::Fitted => shown.to_owned(),
        Basis::Inferred => format!("*{shown}*"),
    }
}

fn harnesses() -> String {
    let mut page = "\n## Calibration\n\nThe table `crates/orion-compiler/src/cost/calibration.tsv` has every figure of our fact sheet (groups A to D), and \
         further ones from the same public result files: E more workloads, P power, G compiling. A workload is a line such as \
         `conv 512->512 k1 1x64 x128 shared f32`; it is turned into MIL and costed like any program. What a way of measuring adds is a rule for \
         that way, never a constant for a row:\n\n"
        .to_owned();
    for harness in Harness::ALL {
        let _ = writeln!(page, "* `{}`: {}.", harness.name(), harness.about());
    }
    page + "\nThe chip of a row is the one that it was measured on as far as can be told: several sources write M1, M2 or M5 and mean a larger \
            sibling, which the rows' notes say with the reason. The table of chips is fitted to the rows with the role `fit` \
            (`cargo xtask fit-cost`). Those that are held out were not fitted to, but their workloads were known when the kinds of \
            operations were chosen.\n"
}

fn scores(compared: &[Comparison]) -> String {
    let mut page =
        "\n| what | role | rows | median error | within 35 % |\n|---|---|---|---|---|\n".to_owned();
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    for quantity in Quantity::ALL {
        for role in [Role::Fit, Role::HeldOut] {
            let score = Score::of_role(compared, role, quantity);
            if score.rows > 0 {
                let _ = writeln!(
                    page,
                    "| {} | {} | {} | {} | {} |",
                    quantity.name(),
                    role.name(),
                    score.rows,
                    percent(score.median),
                    percent(score.within)
                );
            }
        }
    }
    page += "\n| chip | rows of times | median error | within 35 % |\n|---|---|---|---|\n";
    for &chip in Chip::ALL {
        let own = compared.iter().filter(|c| {
            c.case.chip == chip
                && c.case.row.quantity == Quantity::Time
                && c.case.row.role != Role::Harness
        });
        let score = Score::of(own.map(Comparison::error));
        let (median, within) = match score.rows {
            0 => (String::new(), String::new()),
            _ => (percent(score.median), percent(score.within)),
        };
        let _ = writeln!(page, "| {} | {} | {median} | {within} |", chip.shown(), score.rows);
    }
    page
}

fn far(compared: &[Comparison]) -> String {
    let mut page = "\n### Rows that are far off\n\nBeyond 35 %, with what may be the reason.\n\n| row | modelled | published | error | |\n|---|---|---|---|---|\n"
        .to_owned();
    for comparison in compared.iter().filter(|c| c.error().abs() > Score::NEAR) {
        let row = &comparison.case.row;
        let [modelled, published] = figures(comparison);
        let _ = writeln!(
            page,
            "| {} | {modelled} | {published} | {:+.0} % | {} |",
            row.id,
            100.0 * comparison.error(),
            row.note
        );
    }
    page
}

fn figures(comparison: &Comparison) -> [String; 2] {
    [comparison.predicted, comparison.case.published].map(|value| {
        match comparison.case.row.quantity {
            Quantity::Power => format!("{value:.2} W"),
            Quantity::Time | Quantity::Compile => format!("{:.3} ms", value * 1e3),
        }
    })
}

fn all(compared: &[Comparison]) -> String {
    let mut page = "\n### All rows\n\n| row | chip | measured by | workload | modelled | published | error | role | from |\n|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for comparison in compared {
        let row = &comparison.case.row;
        let [modelled, published] = figures(comparison);
        let _ = writeln!(
            page,
            "| {} | {} | {} | `{}` | {modelled} | {published} | {:+.0} % | {} | {} |",
            row.id,
            comparison.case.chip.shown(),
            row.harness,
            row.workload,
            100.0 * comparison.error(),
            row.role.name(),
            row.source
        );
    }
    page
}

fn excluded() -> String {
    let mut page =
        "\n### Rows that are left out\n\n| row | chip as published | figure | from | why |\n|---|---|---|---|---|\n"
            .to_owned();
    for row in rows().iter().filter(|row| row.role == Role::Excluded) {
        let _ = writeln!(
            page,
            "| {} | {} | {} {} | {} | {} |",
            row.id, row.published_as, row.value, row.unit, row.source, row.note
        );
    }
    page
}
