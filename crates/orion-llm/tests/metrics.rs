//! A run's records on disk: what is written can be read, by us and by anyone, and a killed process loses one line.

use std::fs;
use std::path::{Path, PathBuf};

use orion_llm::metrics::{
    FILE_NAME, MetricsError, MetricsLog, Record, StepMetrics, Summary, ValidationMetrics, read,
};

fn step(step: u64) -> Record {
    Record::Step(StepMetrics {
        step,
        loss: 4.0 / step as f32,
        smoothed_loss: 5.0 / step as f32,
        learning_rate: 3e-4,
        gradient_norm: 0.1 + 0.2,
        tokens: step * 512,
        tokens_per_second: 1e4 / 3.0,
        seconds: step as f64 * 0.05,
        resident_bytes: step.is_multiple_of(2).then_some(1 << 28),
    })
}

fn validation(step: u64) -> Record {
    let loss = 6.0 / (step + 1) as f32;
    Record::Validation(ValidationMetrics {
        step,
        validation_loss: loss,
        perplexity: f64::from(loss).exp(),
        tokens: step * 512,
    })
}

/// Validations before the first step, between steps and at the end.
fn records() -> Vec<Record> {
    vec![validation(0), step(1), step(2), validation(2), step(3), step(4), validation(4)]
}

struct Run {
    folder: tempfile::TempDir,
}

impl Run {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A run of these records with a table, whose process is then gone.
    fn of(records: &[Record]) -> Self {
        let run = Self::new();
        let mut log = MetricsLog::create(run.path(), Some(&run.table())).expect("a log");
        records.iter().for_each(|&record| log.record(record).expect("a record"));
        run
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn lines(&self) -> PathBuf {
        self.path().join(FILE_NAME)
    }

    fn table(&self) -> PathBuf {
        self.path().join("loss.csv")
    }

    fn event_files(&self) -> usize {
        let files = fs::read_dir(self.path()).expect("the folder");
        let is_event =
            |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("events.out.tfevents.");
        files.filter(|file| is_event(&file.as_ref().expect("a file").file_name())).count()
    }
}

fn append(path: &Path, text: &str) {
    let old = fs::read_to_string(path).expect("text");
    fs::write(path, old + text).expect("the file is written");
}

#[track_caller]
fn refused(path: &Path, parts: &[&str]) {
    let message = read(path).expect_err("the file is refused").to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

#[test]
fn records_are_read_back_from_file_folder_and_table() {
    let run = Run::of(&records());
    for path in [run.path(), &run.lines(), &run.table()] {
        assert_eq!(read(path).expect("records"), records(), "{}", path.display());
    }
}

#[test]
fn a_line_is_a_json_object_with_named_numbers() {
    let run = Run::of(&records());
    let text = fs::read_to_string(run.lines()).expect("text");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 7);
    assert_eq!(lines[0]["validation_loss"], 6.0);
    assert_eq!(lines[2]["step"], 2);
    assert_eq!(lines[2]["loss"], 2.0);
    assert_eq!(lines[2]["tokens"], 1024);
    assert_eq!(lines[2]["resident_bytes"], 1 << 28);
    assert_eq!(lines[1].get("resident_bytes"), None);
}

#[test]
fn a_table_has_one_row_a_step_and_validation_losses_where_there_are_some() {
    let run = Run::of(&records());
    let text = fs::read_to_string(run.table()).expect("text");
    let cells: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    let column = |name: &str| cells[0].iter().position(|&cell| cell == name).expect("a column");
    let values = |name| cells[1..].iter().map(|row| row[column(name)]).collect::<Vec<_>>();
    assert_eq!(values("step"), ["0", "1", "2", "3", "4"]);
    assert_eq!(values("loss"), ["", "4", "2", "1.3333334", "1"]);
    assert_eq!(values("validation_loss"), ["6", "", "2", "", "1.2"]);
    assert!(cells.iter().all(|row| row.len() == cells[0].len()), "{text}");
}

#[test]
fn a_torn_last_line_is_skipped() {
    let run = Run::of(&records());
    append(&run.lines(), "{\"step\":5,\"loss\":0.");
    append(&run.table(), "5,0.8,1");
    assert_eq!(read(&run.lines()).expect("records"), records());
    assert_eq!(read(&run.table()).expect("records"), records());
}

#[test]
fn every_cut_of_a_file_gives_the_records_before_it() {
    let run = Run::of(&records());
    for path in [run.lines(), run.table()] {
        let whole = fs::read(&path).expect("bytes");
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("the file is written");
            let found = read(&path).expect("records");
            assert_eq!(found, records()[..found.len()], "cut after {length} bytes");
        }
    }
}

#[test]
fn a_broken_line_inside_is_refused_with_its_number() {
    let run = Run::of(&records());
    append(&run.lines(), "{\"step\":5}\n");
    refused(&run.lines(), &[FILE_NAME, "line 8", "missing field `loss`", "remove the line"]);
    fs::write(run.lines(), "[]\nnonsense\n").expect("the file is written");
    refused(&run.lines(), &["line 1", "the JSON object of a record"]);
    fs::write(run.lines(), "{\"step\":1,\"validation_loss\":\"low\"}\n").expect("written");
    refused(&run.lines(), &["line 1", "expected f32"]);
    append(&run.table(), "5,0.8,one,2\n");
    refused(&run.table(), &["line 7", "11 columns, found 4"]);
    fs::write(run.table(), "a,b\n1,2\n").expect("the file is written");
    refused(&run.table(), &["line 1", "step,loss"]);
    fs::write(run.lines(), "x".repeat(100_000)).expect("the file is written");
    refused(&run.lines(), &["line 1", "at most 65536 bytes"]);
}

#[test]
fn a_folder_without_records_and_a_missing_file_are_refused() {
    let run = Run::new();
    refused(run.path(), &["has no metrics.jsonl", "orion train"]);
    refused(&run.lines(), &["cannot read", FILE_NAME]);
}

#[test]
fn a_loss_that_is_no_number_survives() {
    let Record::Step(metrics) = step(1) else { unreachable!("a step") };
    let metrics = StepMetrics { loss: f32::NAN, gradient_norm: f64::INFINITY, ..metrics };
    let run = Run::of(&[metrics.into(), step(2)]);
    assert!(fs::read_to_string(run.lines()).expect("text").contains("\"loss\":null"));
    for path in [run.lines(), run.table()] {
        let found = read(&path).expect("records");
        let Record::Step(first) = found[0] else { panic!("not a step: {found:?}") };
        assert!(first.loss.is_nan());
        assert_eq!(found[1], step(2));
    }
}

#[test]
fn a_new_run_does_not_mix_its_records_with_another() {
    let run = Run::of(&records());
    let refused = MetricsLog::create(run.path(), None).err().expect("a refusal");
    assert!(matches!(refused, MetricsError::RunExists { .. }), "{refused}");
    assert_eq!(read(run.path()).expect("records"), records());
}

#[test]
fn continuing_at_a_checkpoint_drops_what_came_after_it() {
    let run = Run::of(&records());
    append(&run.lines(), "{\"step\":5,\"lo");
    let mut log = MetricsLog::resume(run.path(), Some(&run.table()), 2).expect("a log");
    assert_eq!(read(run.path()).expect("records"), records()[..4]);
    assert_eq!(log.summary().steps, 2);
    for record in &records()[4..] {
        log.record(*record).expect("a record");
    }
    assert_eq!(read(run.path()).expect("records"), records());
    assert_eq!(read(&run.table()).expect("records"), records());
    assert_eq!(run.event_files(), 2);
}

#[test]
fn continuing_gives_the_same_files_as_never_having_stopped() {
    let whole = Run::of(&records());
    for stop in 0..=4 {
        let run = Run::of(&records());
        let mut log = MetricsLog::resume(run.path(), Some(&run.table()), stop).expect("a log");
        for record in records().into_iter().filter(|record| record.step() > stop) {
            log.record(record).expect("a record");
        }
        for [ours, theirs] in [[run.lines(), whole.lines()], [run.table(), whole.table()]] {
            assert_eq!(fs::read(ours).expect("bytes"), fs::read(theirs).expect("bytes"));
        }
    }
}

#[test]
fn a_run_can_continue_where_only_the_checkpoint_was_kept() {
    let run = Run::new();
    let mut log = MetricsLog::resume(run.path(), None, 100).expect("a log");
    log.record(step(101)).expect("a record");
    assert_eq!(read(run.path()).expect("records"), [step(101)]);
}

#[test]
fn a_summary_says_what_a_run_came_to() {
    let summary: Summary = records().into_iter().collect();
    assert_eq!(summary.best_validation, Some((1.2, 4)));
    assert_eq!(
        summary.to_string(),
        "4 steps, 2048 tokens in 0.2 s (10240 tokens/s); loss 1.0000, smoothed 1.2500; \
         best validation loss 1.2000 after step 4"
    );
    let long = Summary { seconds: 7530.0, ..summary };
    assert_eq!(long.time(), "2 h 05 min");
}
