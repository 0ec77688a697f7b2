use orion_compiler::pass::*;
use orion_compiler::*;
use std::cell::RefCell;
use std::time::Instant;
#[path = "../tests/graphs/mod.rs"]
mod graphs;
fn main() {
    let which = std::env::args().nth(1).unwrap_or_default();
    let p = match which.as_str() {
        "gpt2" => graphs::with_gradients(&graphs::gpt2(graphs::Sizes::GPT2).unwrap()).unwrap(),
        "tiny" => graphs::with_gradients(
            &graphs::gpt2(graphs::Sizes { layers: 1, ..graphs::Sizes::TINY }).unwrap(),
        )
        .unwrap(),
        "cf" => graphs::with_input_gradient(&graphs::channels_first(graphs::Sizes::TINY).unwrap())
            .unwrap(),
        "llama" => pass::expand::expand_composites(
            &graphs::llama(graphs::Sizes { layers: 1, heads: 4, width: 16, ..graphs::Sizes::TINY })
                .unwrap(),
            &|_, _| false,
        )
        .unwrap(),
        "llamag" => graphs::with_gradients(
            &graphs::llama(graphs::Sizes { layers: 1, heads: 4, width: 16, ..graphs::Sizes::TINY })
                .unwrap(),
        )
        .unwrap(),
        _ => return,
    };
    let p = verify(p).unwrap();
    if which != "gpt2" {
        println!("{}", *p);
    }
    let t = RefCell::new(Instant::now());
    let round = RefCell::new(0);
    let after = |name: &str, p: &Program| {
        if which == "gpt2" {
            println!("{name:20} {:6} {:?}", p.order().len(), t.borrow().elapsed());
        }
        *round.borrow_mut() += 1;
        *t.borrow_mut() = Instant::now();
    };
    let start = Instant::now();
    let q =
        run_until_quiet(p, ENGINE, Options { after: Some(&after), ..Options::default() }).unwrap();
    println!("{} passes {:?}", round.borrow(), start.elapsed());
    if which != "gpt2" {
        println!("{}", *q);
    }
    let mut counts = std::collections::BTreeMap::new();
    for (_, n) in q.nodes() {
        *counts.entry(n.op.name()).or_insert(0) += 1;
    }
    println!("{counts:?}");
}
