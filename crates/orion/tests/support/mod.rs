//! What the tests of the program share: running it with bounds, and a tiny model with a tokenizer.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]

pub mod desk;

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

pub const ORION: &str = env!("CARGO_BIN_EXE_orion");
const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../orion-llm/tests/golden/llama-tied");
const LONGEST: Duration = Duration::from_secs(20);

/// How a run of the program ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs `orion` with little memory and little time.
pub fn orion<A: AsRef<OsStr>>(arguments: &[A]) -> Outcome {
    orion_with_input(arguments, "")
}

/// As [`orion`], with text on standard input.
pub fn orion_with_input<A: AsRef<OsStr>>(arguments: &[A], input: &str) -> Outcome {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 4194304; exec \"$@\"", "sh", ORION]).args(arguments);
    run(&mut command, input)
}

/// Runs a shell script in which `$0` is the program and `$1`, `$2` … are the arguments.
pub fn shell<A: AsRef<OsStr>>(script: &str, arguments: &[A]) -> Outcome {
    let mut command = Command::new("sh");
    command.args(["-c", script, ORION]).args(arguments);
    run(&mut command, "")
}

fn run(command: &mut Command, input: &str) -> Outcome {
    let mut child = command
        // What the user keeps from run to run is no business of tests.
        .env("ORION_CACHE", "")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let reader = |mut pipe: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).expect("the program's output can be read");
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let out = reader(Box::new(child.stdout.take().expect("standard output")));
    let err = reader(Box::new(child.stderr.take().expect("standard error")));
    // A program that does not read its input closes it: no failure of the test.
    let _ = child.stdin.take().expect("standard input").write_all(input.as_bytes());
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("the program can be waited for") {
            break status;
        }
        if start.elapsed() > LONGEST {
            let _ = child.kill();
            panic!("{command:?} took longer than {LONGEST:?}");
        }
        thread::sleep(Duration::from_millis(2));
    };
    let text = |reader: thread::JoinHandle<String>| reader.join().expect("output was read");
    Outcome { code: status.code(), out: text(out), err: text(err) }
}

/// The folder of shared test files; without one, the reason why a test is not run is printed.
#[allow(clippy::print_stdout, reason = "this is where the reason is told")]
pub fn assets() -> Option<PathBuf> {
    let folder = std::env::var_os("ORION_TEST_ASSETS").map(PathBuf::from);
    if folder.is_none() {
        println!("not run: ORION_TEST_ASSETS names no folder of test files");
    }
    folder
}

/// A folder with the tiny model (97 tokens, 64 positions) and a tokenizer for it.
pub struct Tiny {
    folder: tempfile::TempDir,
}

impl Tiny {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["config.json", "model.safetensors"] {
            fs::copy(Path::new(TINY).join(name), folder.path().join(name)).expect("a copy");
        }
        fs::write(folder.path().join("tokenizer.json"), tokenizer().to_string())
            .expect("the tokenizer is written");
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The model itself.
    pub fn model(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file beside the model.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        fs::write(&path, bytes).expect("the file is written");
        path
    }

    /// `command` with the tiny model and further arguments.
    pub fn arguments(&self, command: &str, rest: &[&str]) -> Vec<String> {
        let model = self.model().display().to_string();
        let mut all = vec![command.to_owned(), "--model".to_owned(), model];
        all.extend(rest.iter().map(|&argument| argument.to_owned()));
        all
    }

    /// Runs `command` with the tiny model.
    pub fn run(&self, command: &str, rest: &[&str]) -> Outcome {
        orion(&self.arguments(command, rest))
    }
}

/// A byte-level tokenizer of 97 tokens: the end of texts, printable ASCII, space and line feed.
pub fn tokenizer() -> Value {
    let mut vocabulary = Map::new();
    vocabulary.insert("<s>".to_owned(), json!(0));
    let letters = ('!'..='~').chain(['\u{120}', '\u{10A}']);
    for (letter, id) in letters.zip(1..) {
        vocabulary.insert(letter.to_string(), json!(id));
    }
    assert_eq!(vocabulary.len(), 97);
    json!({
        "version": "1.0",
        "added_tokens": [{
            "id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true
        }],
        "normalizer": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                { "SpecialToken": { "id": "<s>", "type_id": 0 } },
                { "Sequence": { "id": "A", "type_id": 0 } }
            ],
            "pair": [],
            "special_tokens": { "<s>": { "id": "<s>", "ids": [0], "tokens": ["<s>"] } }
        },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "vocab": vocabulary, "merges": []
        }
    })
}

impl Outcome {
    /// The outcome with nothing on standard error but its last line.
    pub fn without_notes(mut self) -> Self {
        self.err = self.err.trim_end().lines().next_back().unwrap_or_default().to_owned();
        self
    }
}
