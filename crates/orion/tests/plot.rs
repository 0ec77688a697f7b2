//! `orion plot`: pictures that are what they say, of runs of all kinds, and clear refusals.
#![cfg(unix)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use orion_llm::metrics::{MetricsLog, StepMetrics, ValidationMetrics};
use serde_json::Value;
use support::{Outcome, orion};
use tiny_skia::Pixmap;

/// A folder for runs and pictures.
struct Desk {
    folder: tempfile::TempDir,
}

fn step(step: u64, loss: f32) -> StepMetrics {
    StepMetrics {
        step,
        loss,
        smoothed_loss: loss + 0.125,
        learning_rate: 3e-4,
        gradient_norm: 1.0,
        tokens: step * 1000,
        tokens_per_second: 20_000.0 + step as f64,
        seconds: step as f64 * 0.05,
        resident_bytes: None,
    }
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A run of these losses, validated every ten steps, with a table beside it.
    fn run(&self, name: &str, losses: impl IntoIterator<Item = f32>) -> String {
        let folder = self.path(name);
        let table = self.path(&format!("{name}.csv"));
        let mut log = MetricsLog::create(&folder, Some(&table)).expect("a log");
        for (number, loss) in (1..).zip(losses) {
            log.record(step(number, loss)).expect("a step");
            if number % 10 == 0 {
                let (tokens, perplexity) = (number * 1000, f64::from(loss).exp());
                let validation_loss = loss + 0.25;
                let metrics =
                    ValidationMetrics { step: number, validation_loss, perplexity, tokens };
                log.record(metrics).expect("a validation");
            }
        }
        folder.display().to_string()
    }

    fn plot(&self, runs: &[&str], out: &str, options: &[&str]) -> Outcome {
        let out = self.path(out).display().to_string();
        orion(&[&["plot"], runs, &["-o", &out], options].concat())
    }

    /// The picture of a plot that succeeds.
    #[track_caller]
    fn picture(&self, runs: &[&str], out: &str, options: &[&str]) -> Vec<u8> {
        let outcome = self.plot(runs, out, options);
        assert_eq!((outcome.code, outcome.err.as_str()), (Some(0), ""), "{outcome:?}");
        fs::read(self.path(out)).expect("the picture")
    }

    #[track_caller]
    fn svg(&self, runs: &[&str], options: &[&str]) -> String {
        String::from_utf8(self.picture(runs, "out.svg", options)).expect("text")
    }
}

fn falling(steps: u64) -> impl Iterator<Item = f32> {
    (1..=steps).map(|step| 2.0 + 8.0 / step as f32)
}

/// The texts of an SVG, which must be well-formed XML without numbers that are none.
#[track_caller]
fn texts(svg: &str) -> Vec<String> {
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    let document = roxmltree::Document::parse(svg).expect("XML");
    let texts = document.descendants().filter(|node| node.has_tag_name("text"));
    texts.map(|node| node.text().unwrap_or_default().to_owned()).collect()
}

fn count(svg: &str, tag: &str) -> usize {
    svg.matches(&format!("<{tag} ")).count()
}

#[track_caller]
fn has(texts: &[String], wanted: &[&str]) {
    for text in wanted {
        assert!(texts.iter().any(|found| found == text), "{text:?} is not in {texts:?}");
    }
}

#[track_caller]
fn refused(outcome: &Outcome, code: i32, parts: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{outcome:?}");
    assert!(outcome.err.starts_with("error: "), "{outcome:?}");
    for part in parts {
        assert!(outcome.err.contains(part), "{part:?} is not in {outcome:?}");
    }
}

#[test]
fn an_svg_has_panels_runs_and_round_ticks_as_texts() {
    let desk = Desk::new();
    let (first, second) = (desk.run("small", falling(100)), desk.run("large", falling(80)));
    let svg = desk.svg(&[&first, &second], &["--title", "Loss < 3 & falling"]);
    let texts = texts(&svg);
    has(&texts, &["loss", "learning rate", "tokens/s", "step", "small", "large"]);
    has(&texts, &["Loss < 3 & falling", "20", "100", "4", "6", "8", "1e-4", "10k", "20k"]);
    assert!(svg.contains("#0072b2") && svg.contains("#d55e00"));
    assert_eq!(count(&svg, "circle"), 10 + 8);
}

#[test]
fn the_summary_of_each_run_is_printed() {
    let desk = Desk::new();
    let outcome = desk.plot(&[&desk.run("small", falling(100))], "a.svg", &[]);
    assert_eq!(
        outcome.out,
        "small: 100 steps, 100000 tokens in 5.0 s (20000 tokens/s); loss 2.0800, smoothed 2.2050; \
         best validation loss 2.3300 after step 100\n"
    );
}

#[test]
fn tokens_and_time_can_go_from_left_to_right() {
    let desk = Desk::new();
    let run = desk.run("small", falling(100));
    has(&texts(&desk.svg(&[&run], &["--x", "tokens"])), &["tokens", "20k", "100k"]);
    has(&texts(&desk.svg(&[&run], &["--x", "time"])), &["time in seconds", "1", "5"]);
}

#[test]
fn a_logarithmic_axis_has_its_own_ticks() {
    let desk = Desk::new();
    let run = desk.run("small", (1..=100).map(|step| 10.0 * 0.9_f32.powi(step)));
    has(&texts(&desk.svg(&[&run], &["--log"])), &["0.001", "0.01", "0.1", "1"]);
}

#[test]
fn files_folders_and_tables_give_the_same_lines() {
    let desk = Desk::new();
    let run = desk.run("small", falling(100));
    let lines = |run: &str| {
        let svg = desk.svg(&[run], &[]);
        svg.lines().filter(|line| line.contains("polyline")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(&run), lines(&format!("{run}/metrics.jsonl")));
    assert_eq!(lines(&run), lines(&format!("{run}.csv")));
}

#[test]
fn a_png_has_its_size_and_the_colours_of_the_runs() {
    let desk = Desk::new();
    let (first, second) = (desk.run("small", falling(100)), desk.run("large", falling(80)));
    let bytes = desk.picture(&[&first, &second], "out.png", &["--title", "Two runs"]);
    assert_eq!(bytes[..8], *b"\x89PNG\r\n\x1a\n");
    let picture = Pixmap::decode_png(&bytes).expect("a picture");
    assert_eq!(picture.width(), 1920);
    assert!(picture.height() > 1000);
    let pixels = |rgb: [u8; 3]| {
        let all = picture.pixels().iter();
        all.filter(|pixel| [pixel.red(), pixel.green(), pixel.blue()] == rgb).count()
    };
    assert!(pixels([0x00, 0x72, 0xB2]) > 1000);
    assert!(pixels([0xD5, 0x5E, 0x00]) > 1000);
    // Letters are painted, not only lines: their ink is used for nothing else.
    assert!(pixels([0x22, 0x22, 0x22]) > 1000);
    assert!(pixels([0xFF; 3]) > picture.pixels().len() / 2);
}

#[test]
fn a_page_is_one_file_with_picture_table_and_values() {
    let desk = Desk::new();
    let run = desk.run("a<b", falling(50));
    let page = desk.picture(&[&run], "out.html", &["--title", "</title>"]);
    let page = String::from_utf8(page).expect("text");
    for outside in ["src=", "href=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    let between = |start: &str, end: &str| {
        let (_, rest) = page.split_once(start).expect(start);
        rest.split_once(end).expect(end).0.to_owned()
    };
    texts(&format!("<svg {}</svg>", between("<svg ", "</svg>")));
    let table = between("<table>", "</table>");
    for part in ["a&lt;b", "<td>50</td>", "2.1600", "2.4100 (step 50)", "<td>50000</td>", "2.5 s"] {
        assert!(table.contains(part), "{part:?} is not in {table}");
    }
    assert!(page.contains("<title>&lt;/title&gt;</title>"));
    let chart: Value = serde_json::from_str(&between("const chart = ", ";\n")).expect("JSON");
    assert_eq!(chart["runs"][0], "a<b");
    assert_eq!(chart["traces"][0]["label"], "loss");
    assert_eq!(chart["traces"][0]["points"][49], serde_json::json!([50.0, 2.16]));
}

#[test]
fn losses_that_are_no_numbers_leave_a_gap() {
    let desk = Desk::new();
    let losses = (1..=30).map(|step| if (10..20).contains(&step) { f32::NAN } else { 3.0 });
    let run = desk.run("broken", losses);
    let whole = desk.run("whole", (1..=30).map(|_| 3.0));
    let (svg, whole) = (desk.svg(&[&run], &[]), desk.svg(&[&whole], &[]));
    texts(&svg);
    // Two pieces of the loss and of the smoothed loss in place of one.
    assert_eq!(count(&svg, "polyline"), count(&whole, "polyline") + 2);
    let nothing = desk.run("nothing", [f32::NAN; 5]);
    has(&texts(&desk.svg(&[&nothing], &[])), &["nothing to show"]);
}

#[test]
fn a_single_step_is_drawn_as_dots() {
    let desk = Desk::new();
    let run = desk.run("new", [7.5]);
    for options in [&[][..], &["--log"], &["--x", "time"]] {
        let svg = desk.svg(&[&run], options);
        texts(&svg);
        assert_eq!(count(&svg, "circle"), 5);
    }
    desk.picture(&[&run], "out.png", &[]);
}

#[test]
fn a_long_run_makes_a_small_picture() {
    let desk = Desk::new();
    let run = desk.run("long", (0..50_000).map(|step| 3.0 + (step * 7919 % 1000) as f32 * 1e-3));
    let svg = desk.svg(&[&run], &[]);
    texts(&svg);
    assert!(svg.len() < 300_000, "{}", svg.len());
}

#[test]
fn runs_of_one_name_go_by_their_paths_and_more_runs_than_colours_are_dashed() {
    let desk = Desk::new();
    let first = desk.run("a", falling(20));
    fs::create_dir(desk.path("b")).expect("a folder");
    let second = desk.run("b/a", falling(20));
    has(&texts(&desk.svg(&[&first, &second], &[])), &[&shown(&first), &shown(&second)]);
    let many = desk.svg(&[first.as_str(); 9], &[]);
    assert!(many.contains("stroke-dasharray"));
}

/// A path in the legend, which is at most sixty letters long.
fn shown(path: &str) -> String {
    let short: String = path.chars().take(60).collect();
    if path.chars().count() > 60 { short + "…" } else { short }
}

#[test]
fn a_picture_is_replaced_whole_and_kept_when_the_plot_fails() {
    let desk = Desk::new();
    let run = desk.run("small", falling(20));
    fs::write(desk.path("out.svg"), "old").expect("a file");
    refused(&desk.plot(&[&run, "/nowhere"], "out.svg", &[]), 1, &["/nowhere"]);
    assert_eq!(fs::read(desk.path("out.svg")).expect("the file"), b"old");
    assert!(desk.svg(&[&run], &[]).starts_with("<svg"));
}

#[test]
fn what_cannot_be_plotted_is_refused_by_name() {
    let desk = Desk::new();
    let run = desk.run("small", falling(20));
    refused(&desk.plot(&[&run], "out.pdf", &[]), 2, &["out.pdf", ".svg, .png or .html"]);
    refused(&desk.plot(&[&run], "out", &[]), 2, &[".svg, .png or .html"]);
    refused(&desk.plot(&[], "out.svg", &[]), 2, &["<RUN>"]);
    refused(&desk.plot(&[&run], "none/out.svg", &[]), 1, &["cannot write", "none/out.svg"]);
    let write = |name: &str, text: &str| {
        let path = desk.path(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let folder = desk.folder.path().display().to_string();
    refused(&desk.plot(&[&folder], "out.svg", &[]), 1, &["no metrics.jsonl", &folder]);
    for name in ["empty.jsonl", "empty.csv"] {
        refused(&desk.plot(&[&write(name, "")], "out.svg", &[]), 1, &[name, "no records yet"]);
    }
    let broken = write("broken.jsonl", "{\"step\":1}\n{}\n");
    refused(&desk.plot(&[&broken], "out.svg", &[]), 1, &["broken.jsonl: line 1", "`loss`"]);
    let picture = Path::new(&folder).join("small.png").display().to_string();
    desk.picture(&[&run], "small.png", &[]);
    refused(&desk.plot(&[&picture], "out.svg", &[]), 1, &["small.png: line 1"]);
}
