//! Published figures beside what the model says of the same workloads. The table is `calibration.tsv`: a row for each figure
//! of the fact sheet (groups A to D), and for further ones from the same public result files (group E) that no fit has
//! seen. Workloads are turned into MIL and costed by the very model that programs of users are costed by.

mod harness;
mod program;
mod row;
mod source;
mod text;
mod workload;

use super::chips;
use super::parameters::Parameters;
use super::work::Work;
use crate::mil;
use crate::target::{Chip, Target};

pub use harness::Harness;
pub use row::{Quantity, Role, Row, rows};
pub use source::{SOURCES, source};
pub use workload::{Decoder, Kind, Packing, RowOperation, Workload};

/// A row that the model can be asked about, with what its program asks of an engine.
#[derive(Clone, Debug)]
pub struct Case {
    /// The row.
    pub row: Row,
    /// The chip that it was measured on.
    pub chip: Chip,
    /// What the program asks for.
    pub work: Work,
    /// The published figure: seconds, or watts.
    pub published: f64,
}

impl Case {
    /// The case of a row; `None` for one that is excluded.
    ///
    /// # Errors
    /// When a row that is not excluded cannot be turned into a program.
    pub fn of(row: Row) -> Result<Option<Self>, String> {
        if row.role == Role::Excluded {
            return Ok(None);
        }
        let named = |what: String| format!("{}: {what}", row.id);
        let chip: Chip = row.chip.parse().map_err(named)?;
        let workload: Workload = row.workload.parse().map_err(named)?;
        let program = workload.program();
        let document = mil::parse(&program).map_err(|error| named(error.to_string()))?;
        let function = document.functions.first().ok_or_else(|| named("no function".to_owned()))?;
        let work = Work::of(function);
        let published = row.published(&work).ok_or_else(|| named("an unknown unit".to_owned()))?;
        Ok(Some(Self { row, chip, work, published }))
    }

    /// What the model says with these parameters, in the unit of [`Case::published`].
    pub fn predict(&self, parameters: &Parameters) -> Option<f64> {
        let harness = Harness::of_name(self.row.harness)?;
        let target = Target { chip: self.chip, route: harness.route() };
        let (situation, host) = harness.surroundings(self.chip, &self.work);
        let call = self.work.estimate_with(parameters, target, &situation, &host);
        match self.row.quantity {
            Quantity::Time => Some(call.seconds()),
            Quantity::Compile => Some(call.preparation.compile),
            Quantity::Power => Some(call.energy? / call.seconds()),
        }
    }
}

/// All cases of the table.
///
/// # Errors
/// When a row of the table is broken.
pub fn cases() -> Result<Vec<Case>, String> {
    rows().into_iter().filter_map(|row| Case::of(row).transpose()).collect()
}

/// A case with what the model says.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The case.
    pub case: Case,
    /// What the model says, in the unit of [`Case::published`].
    pub predicted: f64,
}

impl Comparison {
    /// How much more the model says than was measured, as a share of what was measured.
    pub fn error(&self) -> f64 {
        self.predicted / self.case.published - 1.0
    }
}

/// Compares the table of chips with the table of published figures.
///
/// # Errors
/// When a row of the table is broken.
pub fn compare() -> Result<Vec<Comparison>, String> {
    let compare = |case: Case| {
        let predicted = case.predict(&chips::row(case.chip).parameters())?;
        Some(Comparison { case, predicted })
    };
    Ok(cases()?.into_iter().filter_map(compare).collect())
}

/// How well predictions hold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Rows.
    pub rows: usize,
    /// Half of the errors are smaller, by size.
    pub median: f64,
    /// The share of errors within 35 %.
    pub within: f64,
}

impl Score {
    /// What counts as near.
    pub const NEAR: f64 = 0.35;

    /// Of these errors.
    pub fn of(errors: impl IntoIterator<Item = f64>) -> Self {
        let mut sizes: Vec<f64> = errors.into_iter().map(f64::abs).collect();
        sizes.sort_by(f64::total_cmp);
        let middle = sizes.len() / 2;
        let median = match sizes.len() {
            0 => 0.0,
            odd if odd % 2 == 1 => sizes[middle],
            _ => f64::midpoint(sizes[middle - 1], sizes[middle]),
        };
        let near = sizes.iter().filter(|&&size| size <= Self::NEAR).count();
        Self { rows: sizes.len(), median, within: near as f64 / sizes.len().max(1) as f64 }
    }

    /// Of the comparisons of a role and quantity.
    pub fn of_role(comparisons: &[Comparison], role: Role, quantity: Quantity) -> Self {
        let chosen = comparisons
            .iter()
            .filter(|c| c.case.row.role == role && c.case.row.quantity == quantity);
        Self::of(chosen.map(Comparison::error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_sound() {
        for case in cases().unwrap() {
            let workload: Workload = case.row.workload.parse().unwrap();
            let program = workload.program();
            let document = mil::parse(&program).unwrap();
            let findings = mil::check(&document);
            assert!(findings.is_empty(), "{}: {findings:?}\n{program}", case.row.id);
            assert_eq!(case.work.unknown, 0, "{}", case.row.id);
        }
    }

    #[test]
    fn scores_are_medians_of_sizes() {
        let score = Score::of([-0.1, 0.2, 0.4]);
        assert_eq!((score.rows, score.median), (3, 0.2));
        assert!((score.within - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(Score::of([0.1, -0.3]).median, 0.2);
        assert_eq!(Score::of([]).rows, 0);
    }
}
