//! The table of published figures: a line for each.

use super::super::work::Work;

/// What a row is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The table of chips is fitted to it.
    Fit,
    /// No fit has seen it.
    HeldOut,
    /// It says how fast the host of a harness is.
    Harness,
    /// The model cannot be asked about it; the note says why.
    Excluded,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Fit, Self::HeldOut, Self::Harness, Self::Excluded];

    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fit => "fit",
            Self::HeldOut => "held-out",
            Self::Harness => "harness",
            Self::Excluded => "excluded",
        }
    }
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// A call.
    Time,
    /// Watts of the engine over calls without a pause.
    Power,
    /// Compiling.
    Compile,
}

impl Quantity {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Time, Self::Power, Self::Compile];

    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Power => "power",
            Self::Compile => "compile",
        }
    }
}

/// A published figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// `A9-m4-n2048`: the row of the fact sheet, and what tells it from others of that row.
    pub id: &'static str,
    /// The chip that it was measured on, as far as can be told; empty where it cannot.
    pub chip: &'static str,
    /// The chip that the source names.
    pub published_as: &'static str,
    /// How it was measured.
    pub harness: &'static str,
    /// What ran; empty where no program can be written down.
    pub workload: &'static str,
    /// What was measured.
    pub quantity: Quantity,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// Key of the source.
    pub source: &'static str,
    /// M measured, C claimed.
    pub label: &'static str,
    /// What the row is for.
    pub role: Role,
    /// Why it is excluded, or what else is to say.
    pub note: &'static str,
}

const TABLE: &str = include_str!("../calibration.tsv");

/// Every row.
pub fn rows() -> Vec<Row> {
    TABLE.lines().skip(1).filter_map(row).collect()
}

fn row(line: &'static str) -> Option<Row> {
    let mut fields = line.split('\t');
    let mut next = || fields.next();
    Some(Row {
        id: next()?,
        chip: next()?,
        published_as: next()?,
        harness: next()?,
        workload: next()?,
        quantity: next().and_then(|name| Quantity::ALL.into_iter().find(|q| q.name() == name))?,
        value: next()?.parse().ok()?,
        unit: next()?,
        source: next()?,
        label: next()?,
        role: next().and_then(|name| Role::ALL.into_iter().find(|r| r.name() == name))?,
        note: next().unwrap_or_default(),
    })
}

impl Row {
    /// The figure in seconds or watts; rates are turned into the time of this work.
    pub fn published(&self, work: &Work) -> Option<f64> {
        Some(match self.unit {
            "ms" => self.value * 1e-3,
            "us" => self.value * 1e-6,
            "W" => self.value,
            "tok/s" => self.value.recip(),
            "TFLOP/s" => work.flops() as f64 / (self.value * 1e12),
            "GB/s" => work.constants as f64 / (self.value * 1e9),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::calibration::source;

    #[test]
    fn every_line_is_a_row_of_its_own() {
        let rows = rows();
        assert_eq!(rows.len(), TABLE.lines().count() - 1);
        let mut ids: Vec<&str> = rows.iter().map(|row| row.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), rows.len());
    }

    #[test]
    fn no_row_of_the_fact_sheet_is_missing() {
        let groups = [("A", 40), ("B", 7), ("C", 16), ("D", 14)];
        let numbers = groups.into_iter().flat_map(|(g, last)| (1..=last).map(move |n| (g, n)));
        for (group, number) in numbers {
            let wanted = format!("{group}{number}");
            let is_there = rows().iter().any(|row| row.id.split('-').next() == Some(&wanted));
            assert!(is_there, "{wanted}");
        }
    }

    #[test]
    fn rows_name_a_source_and_say_why_they_are_excluded() {
        for row in rows() {
            assert!(source(row.source).is_some(), "{}: {}", row.id, row.source);
            assert!(matches!(row.label, "M" | "C"), "{}", row.id);
            assert!(row.role != Role::Excluded || !row.note.is_empty(), "{}", row.id);
        }
    }
}
