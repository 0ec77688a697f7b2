//! `fit-cost`: fits the table of chips in orion-compiler's cost model to the published figures of its calibration, and prints
//! the figures beside those of the table. Each figure that the table calls fitted is moved up and down until no move
//! brings the predictions nearer; the table itself is changed by hand, rounded.

use orion_compiler::cost::calibration::{Case, Quantity, Role, Score, cases};
use orion_compiler::cost::chips::{CHIPS, COMMON};
use orion_compiler::cost::{Basis, Common, Parameters, Power, Row};
use orion_compiler::target::Chip;

use crate::Failure;

type Field<T> = (&'static str, fn(&mut T) -> &mut f64);

/// Figures of a chip, in the order of [`Row::figures`].
const FIGURES: &[Field<Parameters>] = &[
    ("floor, e5rt", |p| &mut p.floor_e5rt),
    ("floor, in memory", |p| &mut p.floor_in_memory),
    ("convolution", |p| &mut p.convolution),
    ("larger windows", |p| &mut p.windowed),
    ("matrix product", |p| &mut p.matmul),
    ("weights", |p| &mut p.weights),
    ("activations", |p| &mut p.activations),
    ("elements", |p| &mut p.elements),
    ("notch at 1 MiB", |p| &mut p.notch[0]),
    ("notch further on", |p| &mut p.notch[1]),
];

const COMMON_FIGURES: &[Field<Common>] = &[
    ("reduction", |c| &mut c.reduction),
    ("broadcast", |c| &mut c.broadcast),
    ("division", |c| &mut c.division),
    ("softmax", |c| &mut c.softmax),
    ("movement", |c| &mut c.movement),
    ("deep", |c| &mut c.deep),
    ("single_row", |c| &mut c.single_row),
    ("core_ml", |c| &mut c.core_ml),
    ("operation", |c| &mut c.operation),
];

const POWER_FIGURES: &[Field<Power>] = &[
    ("standing", |p| &mut p.standing),
    ("per FLOP, convolved", |p| &mut p.per_convolution_flop),
    ("per FLOP, product", |p| &mut p.per_product_flop),
    ("per byte", |p| &mut p.per_byte),
];

struct Fit {
    row: &'static Row,
    parameters: Parameters,
}

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    if let Some(argument) = arguments.first() {
        return Err(format!("fit-cost takes no arguments, not `{argument}`"));
    }
    let (cases, others): (Vec<Case>, Vec<Case>) = cases()?
        .into_iter()
        .filter(|case| case.row.role == Role::Fit)
        .partition(|case| case.row.quantity == Quantity::Time);
    let mut fits: Vec<Fit> =
        CHIPS.iter().map(|row| Fit { row, parameters: row.parameters() }).collect();
    let mut common = COMMON;
    println!("table: {}", score(&cases, &fits));
    for _ in 0..4 {
        for fit in &mut fits {
            let own: Vec<&Case> = cases.iter().filter(|case| case.chip == fit.row.chip).collect();
            for (name, field) in FIGURES {
                let is_fitted = fit
                    .row
                    .figures()
                    .iter()
                    .any(|(known, _, figure)| known == name && figure.basis == Basis::Fitted);
                if is_fitted {
                    let start = *field(&mut fit.row.parameters());
                    let mut best = fit.parameters;
                    descend(*field, start, &mut best, &|p| loss(&own, |_| *p));
                    fit.parameters = best;
                }
            }
        }
        let all: Vec<&Case> = cases.iter().collect();
        for (_, field) in COMMON_FIGURES {
            let with = |common: &Common, chip: Chip| {
                let fit = fits.iter().find(|fit| fit.row.chip == chip);
                let parameters = fit.map_or(CHIPS[0].parameters(), |fit| fit.parameters);
                Parameters { common: *common, ..parameters }
            };
            let start = *field(&mut COMMON.clone());
            descend(*field, start, &mut common, &|c| loss(&all, |case| with(c, case.chip)));
        }
        fits.iter_mut().for_each(|fit| fit.parameters.common = common);
    }
    println!("fit:   {}", score(&cases, &fits));
    for fit in &mut fits {
        let count = cases.iter().filter(|case| case.chip == fit.row.chip).count();
        println!("\n{} ({count} rows)", fit.row.chip.shown());
        for ((name, field), table) in FIGURES.iter().zip(values(fit.row)) {
            println!("  {name:<18} {:>12.4e}  table {table:>12.4e}", *field(&mut fit.parameters));
        }
    }
    fit_power(&others, &fits);
    println!("\nall chips");
    for (name, field) in COMMON_FIGURES {
        let table = *field(&mut COMMON.clone());
        println!("  {name:<18} {:>12.4e}  table {table:>12.4e}", *field(&mut common));
    }
    Ok(())
}

fn fit_power(cases: &[Case], fits: &[Fit]) {
    for fit in fits {
        let Some(table) = fit.row.power else { continue };
        let own: Vec<&Case> = cases
            .iter()
            .filter(|case| case.chip == fit.row.chip && case.row.quantity == Quantity::Power)
            .collect();
        let mut power = table;
        for _ in 0..10 {
            for (name, field) in POWER_FIGURES {
                let start = POWER_FIGURES.iter().find(|(known, _)| known == name);
                let start = start.map_or(1.0, |(_, field)| *field(&mut table.clone()));
                descend(*field, start, &mut power, &|power| {
                    loss(&own, |_| Parameters { power: Some(*power), ..fit.parameters })
                });
            }
        }
        println!("\npower of {} ({} rows)", fit.row.chip.shown(), own.len());
        for (name, field) in POWER_FIGURES {
            let (now, before) = (*field(&mut power), *field(&mut table.clone()));
            println!("  {name:<18} {now:>12.4e}  table {before:>12.4e}");
        }
    }
}

fn values(row: &Row) -> Vec<f64> {
    FIGURES.iter().map(|(_, field)| *field(&mut row.parameters())).collect()
}

/// Moves one figure in ever smaller steps, as long as that brings predictions nearer. A figure that no row says anything
/// about stays near where the table has it.
fn descend<T: Copy>(
    field: fn(&mut T) -> &mut f64,
    start: f64,
    best: &mut T,
    loss: &dyn Fn(&T) -> f64,
) {
    const HOLD: f64 = 0.2;
    let loss = |trial: &T| {
        let away = (*field(&mut trial.clone()) / start).log2();
        loss(trial) + HOLD * away * away
    };
    let mut least = loss(best);
    let mut step: f64 = 1.25;
    while step > 1.002 {
        let mut moved = false;
        for factor in [step, step.recip()] {
            let mut trial = *best;
            *field(&mut trial) *= factor;
            let now = loss(&trial);
            if now < least - 1e-9 {
                (*best, least, moved) = (trial, now, true);
            }
        }
        if !moved {
            step = step.sqrt();
        }
    }
}

/// Near errors count by their square, far ones by their size, so that no single row bends a chip.
fn loss(cases: &[&Case], parameters: impl Fn(&Case) -> Parameters) -> f64 {
    const FAR: f64 = 0.1;
    let of_case = |case: &&Case| {
        let predicted = case.predict(&parameters(case)).unwrap_or(f64::INFINITY);
        let error = (predicted / case.published).ln() / FAR;
        (1.0 + error * error).sqrt() - 1.0
    };
    cases.iter().map(of_case).sum()
}

fn score(cases: &[Case], fits: &[Fit]) -> String {
    let error = |case: &Case| {
        let fit = fits.iter().find(|fit| fit.row.chip == case.chip)?;
        Some(case.predict(&fit.parameters)? / case.published - 1.0)
    };
    let score = Score::of(cases.iter().filter_map(error));
    format!(
        "{} rows, median error {:.1} %, {:.1} % within 35 %",
        score.rows,
        100.0 * score.median,
        100.0 * score.within
    )
}
