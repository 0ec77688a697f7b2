//! Every pass on programs that it was not written for: operations' samples and their gradients, small models with theirs, and
//! random graphs. What a program computes stays: bit for bit in the declared types where a rule says so, the signs of zeros
//! aside, else within [`ROUNDED`] of the true result, or about as far from it as before; and in exact arithmetic, but for roundings of constants. One visible test for each rule.

mod draw;
mod graphs;
#[path = "graphs/random.rs"]
mod random;

use std::ops::Range;

use draw::Draw;
use graphs::Sizes;
use libtest_mimic::{Arguments, Failed, Trial};
use orion_compiler::interpret::Arguments as Operands;
use orion_compiler::op::{OPS, Sample};
use orion_compiler::pass::expand::expand_composites;
use orion_compiler::pass::pad_outputs::pad_outputs;
use orion_compiler::pass::{ENGINE, Options, PIPELINE, RULES, Rule, run_until_quiet};
use orion_compiler::target::{Chip, Route, Target};
use orion_compiler::{
    Builder, DType, Precision, Program, Tensor, TensorType, Value, Verified, interpret, parse,
    verify,
};

/// Difference, relative to the largest number of a result, in `f64`: products of constants are rounded to `f32`.
const NEARLY: f64 = 1e-5;
/// The same where they are rounded to `f16`.
const NEARLY_IN_HALF: f64 = 2e-3;
/// The same in the declared types, where roundings of several operations add up.
const ROUNDED: f64 = 1e-2;

/// How many times as far from the true result rounding may bring a result as it did before: chance, where numbers cancel out.
const NOISE: f64 = 3.0;

/// Random graphs, and how many operations each.
const RANDOM: u64 = 200;
const STEPS: usize = 14;

/// A program and the ranges that its integers and other numbers are drawn from.
struct Case {
    name: String,
    program: Verified<Program>,
    integers: Range<f64>,
    reals: Range<f64>,
}

/// Away from zero, so that logarithms and quotients of samples are numbers.
const POSITIVE: Range<f64> = 0.1..1.5;
const AROUND_ZERO: Range<f64> = -1.0..1.0;

fn main() {
    let mut trials: Vec<Trial> = RULES
        .iter()
        .map(|&rule| {
            Trial::test(format!("keeps_results::{}", rule.name), move || keeps(&[rule], rule.name))
        })
        .collect();
    trials.push(Trial::test("keeps_results::pipeline", || keeps(PIPELINE, "pipeline")));
    trials.push(Trial::test("keeps_results::engine", || keeps(ENGINE, "engine")));
    trials.push(Trial::test("splits_at_the_notch", splits_at_the_notch));
    trials.push(Trial::test("padded_outputs_hold_the_results", padded_outputs_hold_the_results));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// The rules keep what every program computes, and end where they find nothing more to do.
fn keeps(rules: &[Rule], name: &str) -> Result<(), Failed> {
    let targets = [
        Target { chip: Chip::M4, route: Route::InMemory },
        Target { chip: Chip::M3, route: Route::E5rt },
    ];
    let exact = rules.iter().all(|rule| rule.exact);
    let mut fired = 0;
    for case in cases()? {
        let in_half = case.program.nodes().any(|(_, node)| {
            node.outputs.iter().any(|&value| case.program.type_of(value).dtype == DType::F16)
        });
        for target in targets {
            let options = Options { target, ..Options::default() };
            let fail = |what: String| {
                Failed::from(format!("{}, {target}: {what}\n{}", case.name, *case.program))
            };
            let after = run_until_quiet(case.program.clone(), rules, options)
                .map_err(|error| fail(error.to_string()))?;
            let text = after.to_string();
            if text == case.program.to_string() {
                continue;
            }
            fired += 1;
            let again = run_until_quiet(after.clone(), rules, options)?.to_string();
            ensure(again == text, || fail(format!("became\n{text}\nand then\n{again}")))?;
            ensure(parse(&text)?.to_string() == text, || {
                fail(format!("does not read back\n{text}"))
            })?;
            for seed in 0..2 {
                let operands = operands(&case, seed);
                let true_results = interpret(&case.program, &operands, Precision::Exact)?;
                for precision in [Precision::Declared, Precision::Exact] {
                    let before = interpret(&case.program, &operands, precision)?;
                    let found = interpret(&after, &operands, precision)?;
                    let tolerance = match precision {
                        Precision::Exact if in_half => NEARLY_IN_HALF,
                        Precision::Exact => NEARLY,
                        Precision::Declared if exact => 0.0,
                        Precision::Declared => ROUNDED,
                    };
                    let pairs = before.outputs.iter().zip(&found.outputs);
                    let results = pairs.zip(&true_results.outputs);
                    for (index, ((before, found), exact_result)) in results.enumerate() {
                        // What rounds otherwise may be as far off as what was there, and not much more.
                        let rounds = precision == Precision::Declared && !exact;
                        let margin =
                            if rounds { NOISE * farthest(before, exact_result) } else { 0.0 };
                        let expected = if rounds { exact_result } else { before };
                        close(expected, found, tolerance, margin).map_err(|error| {
                            fail(format!("output {index}, {precision:?}: {error}\nbecame\n{text}"))
                        })?;
                    }
                }
            }
        }
    }
    ensure(fired > 0 || name == "split-at-notch", || "never fired")
}

fn cases() -> Result<Vec<Case>, Failed> {
    let mut cases = Vec::new();
    let mut add = |name: String, program: Program, end: f64, reals: &Range<f64>| {
        let program = verify(program)?;
        cases.push(Case { name, program, integers: 0.0..end, reals: reals.clone() });
        Ok::<(), Failed>(())
    };
    for entry in OPS {
        for (index, sample) in (entry.samples)().iter().enumerate() {
            let (b, end) = (Builder::new("sample"), integers_below(sample));
            let operands: Vec<Value> = (sample.inputs.iter().enumerate())
                .map(|(at, (ty, _))| match at {
                    0 => b.input("x0", ty.clone()),
                    _ if ty.dtype.is_float() => b.weight(format!("x{at}"), ty.clone()),
                    _ => b.input(format!("x{at}"), ty.clone()),
                })
                .collect();
            for (at, result) in b.apply(sample.op.clone(), &operands).into_iter().enumerate() {
                b.output(format!("y{at}"), result);
            }
            let program = b.finish()?;
            let expanded = expand_composites(&program, &|_, _| false)?;
            add(format!("{} {index}", entry.name), program, end, &POSITIVE)?;
            add(format!("{} {index} expanded", entry.name), expanded, end, &POSITIVE)?;
        }
    }
    for (name, program) in [
        ("gpt2", graphs::gpt2(Sizes::TINY)?),
        ("llama", graphs::llama(Sizes { heads: 4, width: 16, ..Sizes::TINY })?),
        ("channels first", graphs::channels_first(Sizes::TINY)?),
    ] {
        let end = Sizes::TINY.vocabulary as f64;
        add(
            format!("{name} forward"),
            expand_composites(&program, &|_, _| false)?,
            end,
            &AROUND_ZERO,
        )?;
        add(
            format!("{name} with gradients"),
            graphs::with_gradients(&program)?,
            end,
            &AROUND_ZERO,
        )?;
        if name == "channels first" {
            add(
                format!("{name} with input's gradient"),
                graphs::with_input_gradient(&program)?,
                end,
                &AROUND_ZERO,
            )?;
        }
        add(name.to_owned(), program, end, &AROUND_ZERO)?;
    }
    for seed in 0..RANDOM {
        add(format!("random {seed}"), random::random(seed, STEPS)?, 1.0, &AROUND_ZERO)?;
    }
    Ok(cases)
}

/// The end of the range of a sample's integers.
fn integers_below(sample: &Sample) -> f64 {
    let integers = sample.inputs.iter().filter(|(ty, _)| ty.dtype == DType::I32);
    integers.map(|(_, range)| range.end).fold(1.0, f64::min)
}

fn operands(case: &Case, seed: u64) -> Operands {
    let mut draw = Draw::new(&case.name, seed);
    let mut tensor = |ty: &TensorType| match ty.dtype {
        DType::I32 => draw.tensor(ty, &case.integers),
        _ => draw.tensor(ty, &case.reals),
    };
    let program = &case.program;
    Operands {
        inputs: program.inputs().iter().map(|p| tensor(program.type_of(p.value))).collect(),
        weights: program.weights().iter().map(|p| tensor(program.type_of(p.value))).collect(),
        states: program.states().iter().map(|s| tensor(program.type_of(s.value))).collect(),
    }
}

/// Whether two results agree within a part of the largest number.
fn close(expected: &Tensor, found: &Tensor, tolerance: f64, margin: f64) -> Result<(), String> {
    if expected.ty() != found.ty() {
        return Err(format!("{} became {}", expected.ty(), found.ty()));
    }
    if expected.ints() != found.ints() || expected.bools() != found.bools() {
        return Err(format!("{expected:?} became {found:?}"));
    }
    let finite = expected.reals().iter().filter(|x| x.is_finite());
    // Gradients that cancel out are rounding errors alone.
    let largest = finite.fold(1e-3, |largest: f64, x| largest.max(x.abs()));
    for (&x, &y) in expected.reals().iter().zip(found.reals()) {
        let same = x == y
            || (x.is_nan() && y.is_nan())
            || (x - y).abs() <= (tolerance * largest).max(margin);
        if !same {
            return Err(format!("{x} became {y}; the largest is {largest}"));
        }
    }
    Ok(())
}

/// The largest difference of two results; infinite where one of them is no number.
fn farthest(x: &Tensor, y: &Tensor) -> f64 {
    let differences = x.reals().iter().zip(y.reals()).map(|(x, y)| (x - y).abs());
    differences.map(|x| if x.is_nan() { f64::INFINITY } else { x }).fold(0.0, f64::max)
}

/// One channel's part of this weight is 1 MiB a core.
fn splits_at_the_notch() -> Result<(), Failed> {
    let b = Builder::new("notch");
    let x = b.input("x", TensorType::new(DType::F32, [1, 524_288, 1, 1]));
    let weight = b.weight("w", TensorType::new(DType::F32, [1, 524_288]));
    let bias = b.weight("b", TensorType::new(DType::F32, [1]));
    b.output("y", b.conv1x1(x, weight, Some(bias)));
    let program = verify(b.finish()?)?;
    let case = Case { name: "notch".to_owned(), program, integers: 0.0..1.0, reals: AROUND_ZERO };
    let on = |chip: Chip| {
        let options = Options { target: Target { chip, route: Route::E5rt }, ..Options::default() };
        run_until_quiet(case.program.clone(), ENGINE, options)
    };
    for chip in [Chip::M1, Chip::M2Pro, Chip::M5] {
        ensure(on(chip)?.to_string() == case.program.to_string(), || {
            format!("{chip} has no notch")
        })?;
    }
    let split = on(Chip::M3)?;
    let convolutions = split.nodes().filter(|(_, node)| node.op.name() == "conv1x1").count();
    ensure(convolutions == 2, || format!("became\n{}", *split))?;
    let operands = operands(&case, 0);
    let before = interpret(&case.program, &operands, Precision::Exact)?;
    let after = interpret(&split, &operands, Precision::Exact)?;
    close(&before.outputs[0], &after.outputs[0], NEARLY, 0.0).map_err(Failed::from)
}

/// Surfaces of one size, results at their beginning, zeros behind them.
fn padded_outputs_hold_the_results() -> Result<(), Failed> {
    let b = Builder::new("outputs");
    let x = b.input("x", TensorType::new(DType::F16, [1, 3, 2, 16]));
    let weight = b.weight("w", TensorType::new(DType::F32, [5, 3]));
    let bias = b.weight("b", TensorType::new(DType::F32, [5]));
    let conv = b.conv1x1(x, weight, Some(bias));
    b.output("conv", conv);
    b.output("tanh", b.tanh(x));
    b.output("read twice", b.conv1x1(b.sigmoid(x), weight, None));
    b.output("wide", b.apply1(orion_compiler::op::Concat { axis: 3 }, &[x, x, x, x]));
    let program = verify(b.finish()?)?;
    let case = Case { name: "outputs".to_owned(), program, integers: 0.0..1.0, reals: AROUND_ZERO };
    let padded = verify(pad_outputs(&case.program)?)?;
    let operands = operands(&case, 0);
    let before = interpret(&case.program, &operands, Precision::Declared)?;
    let after = interpret(&padded, &operands, Precision::Declared)?;
    for (before, after) in before.outputs.iter().zip(&after.outputs) {
        let (own, padded) = (before.reals(), after.reals());
        ensure(padded.get(..own.len()) == Some(own), || format!("{before:?} became {after:?}"))?;
        ensure(padded.iter().skip(own.len()).all(|&x| x == 0.0), || format!("{after:?}"))?;
        let &[1, channels, height, width] = after.ty().shape.as_slice() else {
            return Err(format!("{}", after.ty()).into());
        };
        let bytes = channels * height * (2 * width).next_multiple_of(64);
        // The largest, five channels of two rows of 64 bytes, in planes of two rows of 128.
        ensure(bytes == 768, || format!("{} takes {bytes} bytes", after.ty()))?;
    }
    let scalar = parse("program p { input %x \"x\": f16[2] output %x \"y\" }")?;
    let refused = pad_outputs(&scalar).err().map(|error| error.to_string());
    let expected = "output `y` is f16[2]; only [1, channels, height, width] can be padded";
    ensure(refused.as_deref() == Some(expected), || format!("{refused:?}"))
}

fn ensure<E: Into<Failed>>(holds: bool, otherwise: impl FnOnce() -> E) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(otherwise().into()) }
}
