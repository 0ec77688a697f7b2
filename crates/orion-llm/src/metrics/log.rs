//! Writes the records of a run as they are made.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use orion_runtime::weights::write_atomically;

use super::FILE_NAME;
use super::csv::{HEADER, Row};
use super::error::MetricsError;
use super::read::each_line;
use super::record::Record;
use super::summary::Summary;
use super::tensorboard::EventFile;

/// The open files of a run: `metrics.jsonl` and an event file in its folder, and a CSV table where one is wanted.
///
/// A record is in all of them when [`record`](Self::record) returns, so that others can watch; whole files are not
/// synced to disk. A process that is killed leaves at most one torn line at the end, which readers skip and
/// [`resume`](Self::resume) removes.
pub struct MetricsLog {
    lines: LogFile,
    table: Option<Table>,
    events: EventFile,
    summary: Summary,
}

impl MetricsLog {
    /// Starts the records of a new run. The folder is made; a table at `csv` is replaced.
    ///
    /// # Errors
    /// A folder that holds records already, a file at `csv` that is no table, and what the system refuses.
    pub fn create(folder: &Path, csv: Option<&Path>) -> Result<Self, MetricsError> {
        fs::create_dir_all(folder).map_err(MetricsError::write(folder))?;
        let path = folder.join(FILE_NAME);
        if fs::metadata(&path).is_ok_and(|found| found.len() > 0) {
            return Err(MetricsError::RunExists { path });
        }
        Self::open(folder, csv, None, &[])
    }

    /// Continues the records of a run at the checkpoint of `step`: records of later steps, and a torn last line, are
    /// removed. The table at `csv` is written anew from the records that stay.
    ///
    /// # Errors
    /// Records that cannot be understood, a file at `csv` that is no table, and what the system refuses.
    pub fn resume(folder: &Path, csv: Option<&Path>, step: u64) -> Result<Self, MetricsError> {
        fs::create_dir_all(folder).map_err(MetricsError::write(folder))?;
        let path = folder.join(FILE_NAME);
        let (mut kept, mut records) = (Vec::new(), Vec::new());
        if path.exists() {
            each_line(&path, &mut |line, record| {
                if record.step() <= step {
                    kept.extend_from_slice(line.trim_ascii_end());
                    kept.push(b'\n');
                    records.push(record);
                }
            })?;
            write_atomically(&path, &kept).map_err(MetricsError::write(&path))?;
        }
        Self::open(folder, csv, Some(step), &records)
    }

    fn open(
        folder: &Path,
        csv: Option<&Path>,
        resumed_at: Option<u64>,
        records: &[Record],
    ) -> Result<Self, MetricsError> {
        let table = csv.map(|path| Table::create(path, records)).transpose()?;
        let mut events = EventFile::create(folder).map_err(MetricsError::write(folder))?;
        if let Some(step) = resumed_at {
            events.restart(step.saturating_add(1)).map_err(MetricsError::write(events.path()))?;
        }
        let lines = LogFile::append(&folder.join(FILE_NAME))?;
        Ok(Self { lines, table, events, summary: records.iter().copied().collect() })
    }

    /// Writes a record to every file.
    ///
    /// # Errors
    /// What the system refuses. Files that were written before keep the record.
    pub fn record(&mut self, record: impl Into<Record>) -> Result<(), MetricsError> {
        let record = record.into();
        self.summary.add(&record);
        let line = serde_json::to_string(&record).map_err(io::Error::from);
        let line = line.map_err(MetricsError::write(&self.lines.path))?;
        self.lines.write(format!("{line}\n").as_bytes())?;
        if let Some(table) = &mut self.table {
            table.push(record)?;
        }
        self.events.write(&record).map_err(MetricsError::write(self.events.path()))
    }

    /// What the run came to so far, with what was recorded before it was continued.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }
}

/// A file with its name for messages. Each write is one call, so that a killed process tears at most one line.
struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    fn append(path: &Path) -> Result<Self, MetricsError> {
        let file = File::options().create(true).append(true).open(path);
        Ok(Self { path: path.to_owned(), file: file.map_err(MetricsError::write(path))? })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), MetricsError> {
        self.file.write_all(bytes).map_err(MetricsError::write(&self.path))
    }
}

/// Whether a path is free, or holds nothing but a table of a run.
fn can_be_replaced(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return true };
    let mut start = Vec::new();
    let read = file.take(HEADER.len() as u64).read_to_end(&mut start);
    read.is_ok() && (start.is_empty() || start == HEADER.as_bytes())
}

/// The CSV table. Its last row is written again when a validation follows the step.
struct Table {
    file: LogFile,
    last: Row,
    /// Where the last row starts, and where it ends.
    start: u64,
    end: u64,
}

impl Table {
    fn create(path: &Path, records: &[Record]) -> Result<Self, MetricsError> {
        if !can_be_replaced(path) {
            return Err(MetricsError::NoTable { path: path.to_owned() });
        }
        let mut text = format!("{HEADER}\n");
        let (mut last, mut start) = (Row::default(), text.len());
        for &record in records {
            if let Some(row) = last.push(record) {
                (last, start) = (row, text.len());
            }
            text.truncate(start);
            text += &last.line();
        }
        write_atomically(path, text.as_bytes()).map_err(MetricsError::write(path))?;
        let file = File::options().write(true).open(path).map_err(MetricsError::write(path))?;
        let file = LogFile { path: path.to_owned(), file };
        Ok(Self { file, last, start: start as u64, end: text.len() as u64 })
    }

    fn push(&mut self, record: Record) -> Result<(), MetricsError> {
        if let Some(row) = self.last.push(record) {
            (self.last, self.start) = (row, self.end);
        }
        let line = self.last.line();
        let seek = self.file.file.seek(SeekFrom::Start(self.start));
        seek.map_err(MetricsError::write(&self.file.path))?;
        self.file.write(line.as_bytes())?;
        self.end = self.start + line.len() as u64;
        // Nothing stays of a row that was longer.
        self.file.file.set_len(self.end).map_err(MetricsError::write(&self.file.path))
    }
}
