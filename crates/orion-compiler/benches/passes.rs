//! Passes over the training graph of GPT-2 124M, loss and gradients on 256 tokens: milliseconds, and operations per second.
//! `cargo bench -p orion-compiler --bench passes`.

use divan::Bencher;
use divan::counter::ItemsCount;
use orion_compiler::analysis::working_set::working_set;
use orion_compiler::engine::{self, pieces};
use orion_compiler::grad::grad;
use orion_compiler::mil::lower;
use orion_compiler::partition::Cut;
use orion_compiler::pass::expand::expand_composites;
use orion_compiler::pass::{ENGINE, Options, PIPELINE, RULES, Rule, run, run_until_quiet};
use orion_compiler::target::Target;
use orion_compiler::{Program, ValueId, Verified, verify};

#[path = "../tests/graphs/mod.rs"]
mod graphs;

fn main() {
    divan::main();
}

fn gpt2() -> Program {
    graphs::gpt2(graphs::Sizes::GPT2).expect("a program")
}

/// In primitives.
fn training_graph() -> Verified<Program> {
    verify(graphs::with_gradients(&gpt2()).expect("gradients")).expect("valid")
}

/// Work on copies of the training graph.
fn on_training_graph<T>(bencher: Bencher<'_, '_>, work: impl Fn(Verified<Program>) -> T) {
    let program = training_graph();
    bencher
        .counter(ItemsCount::new(program.order().len()))
        .with_inputs(|| program.clone())
        .bench_local_values(work);
}

#[divan::bench]
fn derive_gradients(bencher: Bencher<'_, '_>) {
    let forward = gpt2();
    let roots: Vec<ValueId> = forward.weights().iter().map(|weight| weight.value).collect();
    bencher.bench_local(|| grad(&forward, "loss", &roots).expect("gradients"));
}

#[divan::bench]
fn expand(bencher: Bencher<'_, '_>) {
    let forward = gpt2();
    let roots: Vec<ValueId> = forward.weights().iter().map(|weight| weight.value).collect();
    let program = grad(&forward, "loss", &roots).expect("gradients");
    bencher.bench_local(|| expand_composites(&program, &|_, _| false).expect("a program"));
}

#[divan::bench]
fn verification(bencher: Bencher<'_, '_>) {
    on_training_graph(bencher, |program| verify(program.into_inner()).expect("valid"));
}

#[divan::bench(args = RULES.iter().map(|rule| rule.name))]
fn one_rule(bencher: Bencher<'_, '_>, name: &str) {
    let rules: Vec<Rule> = RULES.iter().filter(|rule| rule.name == name).copied().collect();
    on_training_graph(bencher, |program| {
        run(program, &rules, Options::default()).expect("rules end")
    });
}

#[divan::bench]
fn pipeline(bencher: Bencher<'_, '_>) {
    on_training_graph(bencher, |program| {
        run(program, PIPELINE, Options::default()).expect("rules end")
    });
}

#[divan::bench]
fn engine_passes(bencher: Bencher<'_, '_>) {
    on_training_graph(bencher, |program| {
        run_until_quiet(program, ENGINE, Options::default()).expect("rules end")
    });
}

#[divan::bench]
fn measure_working_set(bencher: Bencher<'_, '_>) {
    on_training_graph(bencher, |program| working_set(&program));
}

/// All programs of the forward pass, from the model's graph to MIL without weights, of so many layers each.
#[divan::bench(args = [1, 2, 12])]
fn compile(bencher: Bencher<'_, '_>, layers: usize) {
    let (program, target) = (gpt2(), Target::default());
    bencher.bench_local(|| {
        let options = engine::Options::default();
        let pieces = pieces(&program, options, Cut::Layers(layers), target).expect("pieces");
        let texts = pieces.partition.engine().map(|piece| {
            let program = verify(piece.program.clone()).expect("valid");
            lower(&program, target).expect("a text").text.len()
        });
        texts.sum::<usize>()
    });
}
