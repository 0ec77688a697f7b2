//! `orion mil cost --calibration`: what the cost model says beside what others have measured.

use orion_compiler::cost::calibration::{Comparison, Quantity, Role, Score, compare, rows};
use orion_compiler::target::Chip;
use serde_json::{Value, json};

use super::cost::Format;
use crate::failure::Failure;
use crate::output;

pub(super) fn run(chip: Option<Chip>, format: Format) -> Result<(), Failure> {
    let mut compared = compare().map_err(Failure::Failed)?;
    compared.retain(|comparison| chip.is_none_or(|chip| comparison.case.chip == chip));
    match format {
        Format::Text => text(&compared, chip),
        Format::Json => json(&compared, chip),
    }
}

fn text(compared: &[Comparison], chip: Option<Chip>) -> Result<(), Failure> {
    let of = chip.map_or_else(|| "all chips".to_owned(), |chip| chip.shown().to_owned());
    output::write_line(&format!("modelled and published for {of}"))?;
    output::write_line(&format!(
        "{:<32}{:<10}{:<16}{:<52}{:>13}{:>13}{:>9}  {:<9}{}",
        "row",
        "chip",
        "measured by",
        "workload",
        "modelled",
        "published",
        "error",
        "role",
        "source"
    ))?;
    for comparison in compared {
        let row = &comparison.case.row;
        let shown = |value: f64| match row.quantity {
            Quantity::Power => format!("{value:.2} W"),
            Quantity::Time | Quantity::Compile => format!("{:.4} ms", value * 1e3),
        };
        let workload = match row.quantity {
            Quantity::Time => row.workload.to_owned(),
            other => format!("{}: {}", other.name(), row.workload),
        };
        output::write_line(&format!(
            "{:<32}{:<10}{:<16}{:<52}{:>13}{:>13}{:>+8.1}%  {:<9}{}",
            row.id,
            comparison.case.chip.name(),
            row.harness,
            workload,
            shown(comparison.predicted),
            shown(comparison.case.published),
            100.0 * comparison.error(),
            row.role.name(),
            row.source
        ))?;
    }
    output::write_line("")?;
    for (role, quantity, score) in scores(compared) {
        output::write_line(&format!(
            "{:<8}{:<9} {:>3} rows, median error {:.1} %, within 35 %: {:.1} %",
            quantity.name(),
            role.name(),
            score.rows,
            100.0 * score.median,
            100.0 * score.within
        ))?;
    }
    let excluded = rows().iter().filter(|row| row.role == Role::Excluded).count();
    if chip.is_none() {
        output::write_line(&format!(
            "{excluded} published figures are excluded, each with its reason in the table"
        ))?;
    }
    Ok(())
}

fn json(compared: &[Comparison], chip: Option<Chip>) -> Result<(), Failure> {
    let list: Vec<Value> = compared
        .iter()
        .map(|comparison| {
            let row = &comparison.case.row;
            json!({
                "id": row.id,
                "chip": comparison.case.chip.name(),
                "published_as": row.published_as,
                "harness": row.harness,
                "workload": row.workload,
                "quantity": row.quantity.name(),
                "modelled": comparison.predicted,
                "published": comparison.case.published,
                "error": comparison.error(),
                "role": row.role.name(),
                "source": row.source,
                "label": row.label,
            })
        })
        .collect();
    let scores: Vec<Value> = scores(compared)
        .map(|(role, quantity, score)| {
            json!({
                "role": role.name(),
                "quantity": quantity.name(),
                "rows": score.rows,
                "median": score.median,
                "within_35_percent": score.within,
            })
        })
        .collect();
    let report = json!({
        "modelled": true,
        "chip": chip.map(Chip::name),
        "rows": list,
        "scores": scores,
    });
    output::write_line(&report.to_string())
}

/// How well predictions hold, for what there is.
fn scores(compared: &[Comparison]) -> impl Iterator<Item = (Role, Quantity, Score)> {
    let all = Quantity::ALL.into_iter().flat_map(|q| [Role::Fit, Role::HeldOut].map(|r| (r, q)));
    all.map(|(role, quantity)| (role, quantity, Score::of_role(compared, role, quantity)))
        .filter(|(_, _, score)| score.rows > 0)
}
