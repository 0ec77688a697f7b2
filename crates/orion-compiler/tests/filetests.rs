//! File tests: one `.oir` or `.mil` file of `filetests/` is one test. Its first line says what is done with it:
//!
//! * `// test: roundtrip`: the program prints as it stands or, when `// ----` follows, as the second program.
//! * `// test: verify`: every mistake is named on its own line, `// error[IR011]: part of the message`, and there are no
//!   others. A mistake without a place is named on a line with nothing else.
//! * `// test: run`: `// input x = [1, 2]`, `// weight …`, `// state …` are given; `// output y = [3]` and `// next s = [4]`
//!   must come. These numbers are worked out by hand or by another program, so they are never blessed.
//! * `// test: pass <name>`: the program before, `// ----`, the program after. `all` runs the whole pipeline, `engine` the rules
//!   for the engine. A line `// target: CHIP ROUTE` says what they are for.
//!
//! A `.mil` file is one of MIL text:
//!
//! * `// test: fmt`: the text, `// ----`, its canonical form.
//! * `// test: check`: every mistake is named on its own line, as for `verify`.
//! * `// test: lint CHIP ROUTE`: a text, `// ----`, the findings of the rules, `// ----`, the text with its safe fixes.
//! * `// test: diff`: a text, `// ----`, another, `// ----`, the differences.
//!
//! `ORION_BLESS=1` rewrites what `roundtrip`, `pass`, `fmt`, `lint` and `diff` files expect. The programs in the documentation of `src/pass`
//! are tests, too.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use orion_compiler::ir::verify::verify_parsed;
use orion_compiler::pass::expand::expand_composites;
use orion_compiler::pass::pad_outputs::pad_outputs;
use orion_compiler::pass::{ENGINE, Options, PIPELINE, RULES, Rule, run, run_until_quiet};
use orion_compiler::target::Target;
use orion_compiler::{Diagnostic, Diagnostics, Program, diagnostic, parse, verify};

#[path = "filetests/mil.rs"]
mod mil_modes;
#[path = "filetests/run.rs"]
mod run_mode;

const SEPARATOR: &str = "// ----\n";

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut trials = Vec::new();
    let folder = root.join("tests/filetests");
    for file in [files(&folder, "oir")?, files(&folder, "mil")?].concat() {
        let name = file.strip_prefix(&folder).unwrap_or(&file).with_extension("");
        let name = name.display().to_string().replace(['/', '\\'], "::");
        trials.push(Trial::test(name, move || test_file(&file)));
    }
    for file in files(&root.join("src/pass"), "rs")? {
        let source = fs::read_to_string(&file)?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(text) = documented(&source) {
            let pass = name.replace('_', "-");
            let test = move || {
                let (before, after) = text.split_once(SEPARATOR).ok_or("no `// ----`")?;
                equal(after, &rewritten(before, &pass)?)
            };
            trials.push(Trial::test(format!("documentation::{name}"), test));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// Files of this extension in a folder and its folders, sorted.
fn files(folder: &Path, extension: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension() == Some(OsStr::new(extension)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The `oir` block in a module's documentation.
fn documented(source: &str) -> Option<String> {
    let lines = source.lines().skip_while(|line| *line != "//! ```oir").skip(1);
    let block: Vec<&str> = lines.take_while(|line| *line != "//! ```").collect();
    let text = |line: &&str| line.strip_prefix("//! ").unwrap_or("").to_owned() + "\n";
    (!block.is_empty()).then(|| block.iter().map(text).collect())
}

fn test_file(path: &Path) -> Result<(), Failed> {
    let text = fs::read_to_string(path)?.replace("\r\n", "\n");
    let first = text.lines().next().unwrap_or("");
    let mode = first.strip_prefix("// test: ").ok_or("the first line is not `// test: …`")?;
    match mode.split_once(' ').unwrap_or((mode, "")) {
        ("roundtrip", "") => {
            let (head, body) = text.split_at(first.len() + 1);
            let (before, after) = body.split_once(SEPARATOR).unwrap_or((body, body));
            let printed = parse(before)?.to_string();
            equal(&printed, &parse(&printed)?.to_string())?;
            let split = body.contains(SEPARATOR);
            let blessed = if split {
                format!("{head}{before}{SEPARATOR}{printed}")
            } else {
                format!("{head}{printed}")
            };
            expect(path, after, &printed, &blessed)
        }
        ("pass", pass) => {
            let (before, after) = text.split_once(SEPARATOR).unwrap_or((&text, ""));
            let found = rewritten(before, pass)?;
            expect(path, after, &found, &format!("{before}{SEPARATOR}{found}"))
        }
        ("verify", "") => verify_mode(&text),
        ("fmt" | "check" | "diff", "") | ("lint", _) => mil_modes::test(path, mode, &text),
        ("run", "") => run_mode::check(&text),
        _ => Err(format!(
            "no mode is called `{mode}`: roundtrip, verify, run, pass <name>, fmt, check, diff"
        )
        .into()),
    }
}

/// The text of the program after a pass.
fn rewritten(text: &str, pass: &str) -> Result<String, Failed> {
    let program = verify_parsed(parse(text)?, text)?;
    match pass {
        "expand-composites" => {
            return Ok(verify(expand_composites(&program, &|_, _| false)?)?.to_string());
        }
        "pad-outputs" => return Ok(verify(pad_outputs(&program)?)?.to_string()),
        _ => {}
    }
    let options = Options { target: target(text)?, ..Options::default() };
    if pass == "engine" {
        return Ok(run_until_quiet(program, ENGINE, options)?.to_string());
    }
    let chosen: Vec<Rule> = match pass {
        "all" => PIPELINE.to_vec(),
        _ => RULES.iter().filter(|rule| rule.name == pass).copied().collect(),
    };
    if chosen.is_empty() {
        return Err(format!("no pass is called `{pass}`").into());
    }
    Ok(run(program, &chosen, options)?.to_string())
}

/// What `// target: CHIP ROUTE` says; what is usual without it.
fn target(text: &str) -> Result<Target, Failed> {
    match text.lines().find_map(|line| line.strip_prefix("// target: ")) {
        None => Ok(Target::default()),
        Some(line) => {
            let (chip, route) = line.split_once(' ').ok_or("a target is a chip and a route")?;
            Ok(Target { chip: chip.parse()?, route: route.parse()? })
        }
    }
}

fn expect(path: &Path, expected: &str, found: &str, blessed: &str) -> Result<(), Failed> {
    if expected != found && std::env::var_os("ORION_BLESS").is_some_and(|value| value == "1") {
        return Ok(fs::write(path, blessed)?);
    }
    equal(expected, found)
}

fn equal(expected: &str, found: &str) -> Result<(), Failed> {
    if expected == found {
        return Ok(());
    }
    Err(format!("expected\n{expected}\nfound\n{found}").into())
}

/// A mistake: its line if it has a place, its code and its message.
type Mistake = (Option<usize>, String, String);

fn verify_mode(text: &str) -> Result<(), Failed> {
    let checked: Result<Program, Diagnostics> =
        parse(text).and_then(|program| Ok(verify_parsed(program, text)?.into_inner()));
    expect_mistakes(text, checked.err().map_or_else(Vec::new, |diagnostics| diagnostics.list))
}

/// The mistakes that a text names on its lines are those that were found.
fn expect_mistakes(text: &str, found: Vec<Diagnostic>) -> Result<(), Failed> {
    let line = |span: (usize, usize)| diagnostic::locate(text, span.0).0;
    let found: Vec<Mistake> = (found.into_iter())
        .map(|finding| (finding.span.map(line), finding.code.to_owned(), finding.message))
        .collect();
    let mut unexpected = found.clone();
    let mut missing = Vec::new();
    for expected in text.lines().enumerate().filter_map(expected_mistake) {
        let same = |found: &Mistake| {
            found.0 == expected.0 && found.1 == expected.1 && found.2.contains(&expected.2)
        };
        match unexpected.iter().position(same) {
            Some(at) => drop(unexpected.remove(at)),
            None => missing.push(expected),
        }
    }
    if missing.is_empty() && unexpected.is_empty() {
        return Ok(());
    }
    Err(format!(
        "named in the file but not found: {missing:#?}\nfound but not named: {unexpected:#?}"
    )
    .into())
}

/// `… // error[IR011]: part of the message`
fn expected_mistake((index, line): (usize, &str)) -> Option<Mistake> {
    let (statement, comment) = line.split_once("// error[")?;
    let (code, message) = comment.split_once("]: ")?;
    let place = (!statement.trim().is_empty()).then_some(index + 1);
    Some((place, code.to_owned(), message.trim().to_owned()))
}
