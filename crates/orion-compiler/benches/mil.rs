//! Reading, checking, printing and costing MIL: bytes per second on one core. `cargo bench -p orion-compiler --bench mil`; with
//! `ORION_MIL_CORPUS`, also the largest text of another origin.

use std::fmt::Write;

use divan::Bencher;
use divan::counter::BytesCount;
use orion_compiler::cost::{Situation, Work};
use orion_compiler::lint::lint;
use orion_compiler::mil;
use orion_compiler::target::Target;

fn main() {
    divan::main();
}

/// A program of so many convolutions, as Core ML writes them.
fn written(layers: usize) -> String {
    let mut text = String::from(
        "program(1.3)\n[buildInfo = dict<string, string>({{\"coremltools-version\", \"9.0\"}})]\n{\n    func main<ios18>(tensor<fp16, [1, 64, 1, 64]> x0) {\n",
    );
    for layer in 0..layers {
        let next = layer + 1;
        let _ = write!(
            text,
            "            tensor<fp16, [64, 64, 1, 1]> w{layer} = const()[name = string(\"w{layer}\"), val = tensor<fp16, [64, 64, 1, 1]>(BLOBFILE(path = string(\"@model_path/weights/weight.bin\"), offset = uint64({})))];\n            tensor<int32, [4]> pad{layer} = const()[name = string(\"pad{layer}\"), val = tensor<int32, [4]>([0, 0, 0, 0])];\n            tensor<fp16, [1, 64, 1, 64]> c{layer} = conv(pad = pad{layer}, weight = w{layer}, x = x{layer})[name = string(\"c{layer}\")];\n            tensor<fp16, [1, 64, 1, 64]> x{next} = relu(x = c{layer})[name = string(\"x{next}\")];\n",
            64 + layer * 8256
        );
    }
    let _ = write!(text, "        }} -> (x{layers});\n}}\n");
    text
}

fn texts() -> Vec<(&'static str, String)> {
    let mut texts = vec![("0.5 MB", written(900)), ("5 MB", written(10_000))];
    if let Some(root) = std::env::var_os("ORION_MIL_CORPUS") {
        let path = std::path::Path::new(&root).join("real/013.mil");
        texts
            .extend(std::fs::read_to_string(path).ok().map(|text| ("an encoder of Core ML", text)));
    }
    texts
}

#[divan::bench(args = texts().into_iter().map(|(name, _)| name))]
fn parse(bencher: Bencher<'_, '_>, name: &str) {
    on(bencher, name, |text| drop(divan::black_box(mil::parse(text))));
}

#[divan::bench(args = texts().into_iter().map(|(name, _)| name))]
fn parse_check_and_print(bencher: Bencher<'_, '_>, name: &str) {
    on(bencher, name, |text| {
        let document = mil::parse(text).expect("a program");
        assert!(mil::check(&document).is_empty());
        drop(divan::black_box(mil::print(&document)));
    });
}

#[divan::bench(args = texts().into_iter().map(|(name, _)| name))]
fn parse_and_lint(bencher: Bencher<'_, '_>, name: &str) {
    on(bencher, name, |text| {
        let document = mil::parse(text).expect("a program");
        drop(divan::black_box(lint(&document, Target::default())));
    });
}

#[divan::bench(args = texts().into_iter().map(|(name, _)| name))]
fn parse_and_cost(bencher: Bencher<'_, '_>, name: &str) {
    on(bencher, name, |text| {
        let document = mil::parse(text).expect("a program");
        let work = Work::of(&document.functions[0]);
        drop(divan::black_box(work.estimate(Target::default(), &Situation::default())));
    });
}

/// A program that has been read already, as a simulator costs it for each call.
#[divan::bench(args = texts().into_iter().map(|(name, _)| name))]
fn cost_again(bencher: Bencher<'_, '_>, name: &str) {
    let text = texts().into_iter().find(|(known, _)| *known == name).map(|(_, text)| text);
    let text = text.expect("a text");
    let document = mil::parse(&text).expect("a program");
    let work = Work::of(&document.functions[0]);
    bencher
        .bench_local(|| divan::black_box(&work).estimate(Target::default(), &Situation::default()));
}

fn on(bencher: Bencher<'_, '_>, name: &str, work: fn(&str)) {
    let text = texts()
        .into_iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| text)
        .expect("a text");
    bencher.counter(BytesCount::new(text.len())).bench_local(|| work(divan::black_box(&text)));
}
