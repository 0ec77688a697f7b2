//! Reads records back: `metrics.jsonl`, a folder that holds one, or the CSV table.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::FILE_NAME;
use super::csv::{HEADER, Row};
use super::error::MetricsError;
use super::record::Record;

/// A record is a few hundred bytes; a file with longer lines is something else.
const LONGEST_LINE: u64 = 64 << 10;

/// Reads the records of a run, in the order in which they were written.
///
/// `path` is `metrics.jsonl` or a folder that holds one, or a CSV table that [`MetricsLog`](super::MetricsLog) wrote,
/// known by its `.csv`. A torn last line, which is what a killed process leaves, is skipped. The result is empty for a
/// run that has not done a step.
///
/// # Errors
/// What the system refuses, a folder without records, and lines that are no records.
pub fn read(path: &Path) -> Result<Vec<Record>, MetricsError> {
    let mut records = Vec::new();
    if path.is_dir() {
        let file = path.join(FILE_NAME);
        if !file.exists() {
            return Err(MetricsError::NoRecords { folder: path.to_owned() });
        }
        each_line(&file, &mut |_, record| records.push(record))?;
    } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
        read_table(path, &mut records)?;
    } else {
        each_line(path, &mut |_, record| records.push(record))?;
    }
    Ok(records)
}

/// Goes through `metrics.jsonl`: each line, with its line feed, and what it says.
pub(super) fn each_line(
    path: &Path,
    take: &mut dyn FnMut(&[u8], Record),
) -> Result<(), MetricsError> {
    let mut lines = Lines::open(path)?;
    while lines.advance()? {
        if lines.bytes.trim_ascii().is_empty() {
            continue;
        }
        match Record::parse(&lines.bytes) {
            Ok(record) => take(&lines.bytes, record),
            Err(_) if lines.is_torn() => {}
            Err(error) => {
                // The position that serde_json adds counts lines of the record, not of the file.
                let error = error.to_string();
                let what = error.split(" at line ").next().unwrap_or(&error);
                let rule = format!("each line is the JSON object of a record: {what}");
                return Err(lines.invalid(rule));
            }
        }
    }
    Ok(())
}

fn read_table(path: &Path, records: &mut Vec<Record>) -> Result<(), MetricsError> {
    let mut lines = Lines::open(path)?;
    if !lines.advance()? || lines.is_torn() {
        return Ok(());
    }
    if lines.bytes.trim_ascii() != HEADER.as_bytes() {
        return Err(lines.invalid(format!("the first line is {HEADER:?}")));
    }
    // Numbers do not show where they were cut: the last line counts only with its end.
    while lines.advance()? && !lines.is_torn() {
        let line = String::from_utf8_lossy(&lines.bytes);
        let row = Row::parse(line.trim_end()).map_err(|rule| lines.invalid(rule))?;
        records.extend(row.records());
    }
    Ok(())
}

struct Lines<'a> {
    path: &'a Path,
    file: BufReader<File>,
    number: u64,
    bytes: Vec<u8>,
}

impl<'a> Lines<'a> {
    fn open(path: &'a Path) -> Result<Self, MetricsError> {
        let file = File::open(path).map_err(MetricsError::read(path))?;
        Ok(Self {
            path,
            file: BufReader::with_capacity(256 << 10, file),
            number: 0,
            bytes: Vec::new(),
        })
    }

    /// Goes to the next line; false at the end of the file.
    fn advance(&mut self) -> Result<bool, MetricsError> {
        self.bytes.clear();
        self.number += 1;
        let read = (&mut self.file)
            .take(LONGEST_LINE + 1)
            .read_until(b'\n', &mut self.bytes)
            .map_err(MetricsError::read(self.path))?;
        if read as u64 > LONGEST_LINE {
            return Err(self.invalid(format!("a line has at most {LONGEST_LINE} bytes")));
        }
        Ok(read > 0)
    }

    fn is_torn(&self) -> bool {
        self.bytes.last() != Some(&b'\n')
    }

    fn invalid(&self, rule: String) -> MetricsError {
        MetricsError::Invalid {
            path: self.path.to_owned(),
            line: self.number,
            rule,
            remedy: "remove the line, or give a metrics.jsonl or .csv file that `orion train` wrote",
        }
    }
}
