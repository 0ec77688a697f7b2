//! Passes over the training graph of GPT-2 124M: `cargo bench -p orion-compiler --bench passes`.
#![expect(clippy::print_stdout, reason = "benchmarks say what they measure")]

use divan::Bencher;
use orion_compiler::analysis::working_set::working_set;
use orion_compiler::pass::expand::expand_composites;
use orion_compiler::pass::{ENGINE, Options, PIPELINE, RULES, Rule, run, run_until_quiet};
use orion_compiler::{Program, Verified, verify};

#[path = "../tests/graphs/mod.rs"]
mod graphs;

fn main() {
    divan::main();
}

/// Loss and gradients of GPT-2 124M, in primitives.
fn training_graph() -> Verified<Program> {
    let forward = graphs::gpt2(graphs::Sizes::GPT2).expect("a program");
    let program = verify(graphs::with_gradients(&forward).expect("gradients")).expect("valid");
    println!("{} operations", program.order().len());
    program
}

#[divan::bench]
fn derive(bencher: Bencher<'_, '_>) {
    let forward = graphs::gpt2(graphs::Sizes::GPT2).expect("a program");
    bencher.bench_local(|| graphs::with_gradients(&forward).expect("gradients"));
}

#[divan::bench]
fn expand(bencher: Bencher<'_, '_>) {
    let forward = graphs::gpt2(graphs::Sizes::GPT2).expect("a program");
    bencher.bench_local(|| expand_composites(&forward, &|_, _| false).expect("a program"));
}

#[divan::bench]
fn verification(bencher: Bencher<'_, '_>) {
    let program = training_graph();
    bencher
        .with_inputs(|| (*program).clone())
        .bench_local_values(|program| verify(program).expect("valid"));
}

#[divan::bench(args = RULES.iter().map(|rule| rule.name))]
fn one_rule(bencher: Bencher<'_, '_>, name: &str) {
    let rules: Vec<Rule> = RULES.iter().filter(|rule| rule.name == name).copied().collect();
    let program = training_graph();
    bencher
        .with_inputs(|| program.clone())
        .bench_local_values(|program| run(program, &rules, Options::default()).expect("valid"));
}

#[divan::bench]
fn pipeline(bencher: Bencher<'_, '_>) {
    let program = training_graph();
    bencher
        .with_inputs(|| program.clone())
        .bench_local_values(|program| run(program, PIPELINE, Options::default()).expect("valid"));
}

#[divan::bench]
fn engine(bencher: Bencher<'_, '_>) {
    let program = training_graph();
    bencher.with_inputs(|| program.clone()).bench_local_values(|program| {
        run_until_quiet(program, ENGINE, Options::default()).expect("valid")
    });
}

#[divan::bench]
fn measure_working_set(bencher: Bencher<'_, '_>) {
    let program = training_graph();
    bencher.bench_local(|| working_set(&program));
}
