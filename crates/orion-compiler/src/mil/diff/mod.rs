//! What two MIL texts differ in, as programs: names, the order of statements and arguments, the spelling of types and
//! numbers, constants written in place or by name, and what the tools that wrote them noted do not count.

mod align;
mod canonical;

use std::collections::BTreeSet;

use canonical::{Canonical, Interner, Operand};

use super::syntax::{Document, Function, Parameter, Statement, Word};

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `-` only in the first text, `+` only in the second, `~` in both, but not the same.
    pub sign: char,
    /// Where it is in the first text, a byte.
    pub first: Option<usize>,
    /// Where it is in the second.
    pub second: Option<usize>,
    /// What it is.
    pub what: String,
}

/// All differences, in the order of the first text; none if the programs are the same.
pub fn diff(first: &Document<'_>, second: &Document<'_>) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut tell = |what: String, first: Option<Word<'_>>, second: Option<Word<'_>>| {
        let sign = match (&first, &second) {
            (Some(_), None) => '-',
            (None, Some(_)) => '+',
            _ => '~',
        };
        let place = |word: Option<Word<'_>>| word.map(|word| word.start as usize);
        changes.push(Change { sign, first: place(first), second: place(second), what });
    };
    let (old, new) = (first.version, second.version);
    if old.text != new.text {
        tell(format!("program({}) is program({})", old.text, new.text), Some(old), Some(new));
    }
    let mut rest: Vec<&Function<'_>> = second.functions.iter().collect();
    let mut pairs = Vec::new();
    for function in &first.functions {
        let same = rest.iter().position(|other| other.name.text == function.name.text);
        let alone = first.functions.len() == 1 && second.functions.len() == 1;
        match same.or(alone.then_some(0)) {
            Some(at) => pairs.push((function, rest.remove(at))),
            None => tell(format!("function `{}`", function.name.text), Some(function.name), None),
        }
    }
    for function in rest {
        tell(format!("function `{}`", function.name.text), None, Some(function.name));
    }
    for (function, other) in pairs {
        if function.name.text != other.name.text {
            let what = format!("function `{}` is `{}`", function.name.text, other.name.text);
            tell(what, Some(function.name), Some(other.name));
        }
        let opset = |f: &Function<'_>| f.opset.map_or("none", |opset| opset.text).to_owned();
        if opset(function) != opset(other) {
            let what = format!("operation set {} is {}", opset(function), opset(other));
            tell(what, Some(function.name), Some(other.name));
        }
        changes_of(function, other, &mut tell);
    }
    changes
}

type Tell<'a> = dyn FnMut(String, Option<Word<'_>>, Option<Word<'_>>) + 'a;

fn changes_of(first: &Function<'_>, second: &Function<'_>, tell: &mut Tell<'_>) {
    let mut interner = Interner::default();
    let words = |parameters: &[Parameter<'_>]| {
        parameters.iter().map(|p| p.name.text.to_owned()).collect::<Vec<_>>()
    };
    let inputs = paired(&words(&first.parameters), &words(&second.parameters));
    interface(first, second, &inputs, tell);
    let texts =
        |words: &[Word<'_>]| words.iter().map(|word| word.text.to_owned()).collect::<Vec<_>>();
    let outputs = paired(&texts(&first.results), &texts(&second.results));

    let numbers = |side: usize, count: usize| {
        let mut numbers: Vec<usize> =
            (0..count).map(|index| usize::MAX / 2 + side * count + index).collect();
        for (number, pair) in inputs.iter().enumerate() {
            let index = [pair.0, pair.1][side];
            if let Some(slot) = numbers.get_mut(index) {
                *slot = number;
            }
        }
        numbers
    };
    let order = |side: usize| outputs.iter().map(|pair| [pair.0, pair.1][side]).collect::<Vec<_>>();
    let a = Canonical::new(first, &numbers(0, first.parameters.len()), &order(0), &mut interner);
    let b = Canonical::new(second, &numbers(1, second.parameters.len()), &order(1), &mut interner);

    results(first, second, &outputs, (&a, &b), tell);
    statements(&a, &b, tell);
}

/// Pairs of indices: those of the same name first, then the others in their order.
fn paired(first: &[String], second: &[String]) -> Vec<(usize, usize)> {
    let mut taken = vec![false; second.len()];
    let mut pairs: Vec<(usize, Option<usize>)> = Vec::new();
    for (index, name) in first.iter().enumerate() {
        let same = (0..second.len()).find(|&other| !taken[other] && second[other] == *name);
        same.into_iter().for_each(|other| taken[other] = true);
        pairs.push((index, same));
    }
    let mut others = (0..second.len()).filter(|&other| !taken[other]);
    pairs
        .into_iter()
        .filter_map(|(index, same)| Some((index, same.or_else(|| others.next())?)))
        .collect()
}

/// Parameters that differ, and the order in which an engine binds them: that of their names (facts, ANE009).
fn interface(
    first: &Function<'_>,
    second: &Function<'_>,
    pairs: &[(usize, usize)],
    tell: &mut Tell<'_>,
) {
    let unpaired = |all: &[Parameter<'_>], is_paired: &dyn Fn(usize) -> bool| {
        (0..all.len()).filter(|&index| !is_paired(index)).collect::<Vec<_>>()
    };
    for index in unpaired(&first.parameters, &|index| pairs.iter().any(|pair| pair.0 == index)) {
        let parameter = &first.parameters[index];
        tell(format!("input {} {}", parameter.ty, parameter.name.text), Some(parameter.name), None);
    }
    for index in unpaired(&second.parameters, &|index| pairs.iter().any(|pair| pair.1 == index)) {
        let parameter = &second.parameters[index];
        tell(format!("input {} {}", parameter.ty, parameter.name.text), None, Some(parameter.name));
    }
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for (number, &(a, b)) in pairs.iter().enumerate() {
        let (a, b) = (&first.parameters[a], &second.parameters[b]);
        if canonical::type_text(&a.ty) != canonical::type_text(&b.ty) {
            let what = format!("input {} {} is {} {}", a.ty, a.name.text, b.ty, b.name.text);
            tell(what, Some(a.name), Some(b.name));
        }
        old.push((a.name.text, number));
        new.push((b.name.text, number));
    }
    bound("inputs", old, new, tell);
}

fn bound(
    kind: &str,
    mut old: Vec<(&str, usize)>,
    mut new: Vec<(&str, usize)>,
    tell: &mut Tell<'_>,
) {
    old.sort_unstable();
    new.sort_unstable();
    if old.iter().map(|pair| pair.1).ne(new.iter().map(|pair| pair.1)) {
        let list = |names: &[(&str, usize)]| {
            names.iter().map(|pair| pair.0).collect::<Vec<_>>().join(", ")
        };
        tell(format!("{kind} are bound as {}, and as {}", list(&old), list(&new)), None, None);
    }
}

fn results(
    first: &Function<'_>,
    second: &Function<'_>,
    pairs: &[(usize, usize)],
    (a, b): (&Canonical<'_, '_>, &Canonical<'_, '_>),
    tell: &mut Tell<'_>,
) {
    if first.results.len() != second.results.len() {
        let what = format!("{} results are {}", first.results.len(), second.results.len());
        tell(what, first.results.first().copied(), second.results.first().copied());
    }
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for (number, &(x, y)) in pairs.iter().enumerate() {
        let (x, y) = (first.results[x], second.results[y]);
        old.push((x.text, number));
        new.push((y.text, number));
        // A result that is another value of the same statements would otherwise go unnoticed.
        let same_statements = a.ids() == b.ids();
        if same_statements && a.value(x.text) != b.value(y.text) {
            tell(
                format!("result `{}` is another value than `{}`", x.text, y.text),
                Some(x),
                Some(y),
            );
        }
    }
    bound("results", old, new, tell);
}

fn statements(a: &Canonical<'_, '_>, b: &Canonical<'_, '_>, tell: &mut Tell<'_>) {
    if a.ids() == b.ids() {
        return;
    }
    let partner = align::align(a, b);
    let mut back = vec![None; b.nodes.len()];
    partner.iter().enumerate().for_each(|(at, other)| {
        if let Some(other) = *other {
            back[other] = Some(at);
        }
    });
    let mut next = 0;
    for (at, node) in a.nodes.iter().enumerate() {
        let Some(other) = partner[at] else {
            tell(shown(node.statement, node.is_dead), Some(node.statement.op), None);
            continue;
        };
        // What only the second has comes before what follows it there.
        only_second(b, next..other, &back, tell);
        next = next.max(other + 1);
        let (x, y) = (node, &b.nodes[other]);
        if x.id == y.id {
            continue;
        }
        let what = changed(a, b, &partner, (at, other));
        if !what.is_empty() {
            let name = x.statement.op.text;
            tell(
                format!("{name}: {}", what.join("; ")),
                Some(x.statement.op),
                Some(y.statement.op),
            );
        }
    }
    only_second(b, next..b.nodes.len(), &back, tell);
}

fn only_second(
    b: &Canonical<'_, '_>,
    range: std::ops::Range<usize>,
    back: &[Option<usize>],
    tell: &mut Tell<'_>,
) {
    for node in range.filter(|&at| back[at].is_none()).map(|at| &b.nodes[at]) {
        tell(shown(node.statement, node.is_dead), None, Some(node.statement.op));
    }
}

fn shown(statement: &Statement<'_>, is_dead: bool) -> String {
    let results: Vec<String> =
        statement.results.iter().map(|r| format!("{} {}", r.ty, r.name.text)).collect();
    let arguments: Vec<String> =
        statement.arguments.iter().map(|a| format!("{} = {}", a.name.text, a.value)).collect();
    let note = if is_dead { ", which nothing needs" } else { "" };
    format!("{} = {}({}){note}", results.join(", "), statement.op.text, arguments.join(", "))
}

/// What two statements of the same operation differ in.
fn changed(
    a: &Canonical<'_, '_>,
    b: &Canonical<'_, '_>,
    partner: &[Option<usize>],
    (at, other): (usize, usize),
) -> Vec<String> {
    let (x, y) = (&a.nodes[at], &b.nodes[other]);
    let mut what = Vec::new();
    if x.types != y.types {
        what.push(format!("gives {}, and {}", x.types.join(", "), y.types.join(", ")));
    }
    let names: BTreeSet<&str> = x.operands.keys().chain(y.operands.keys()).copied().collect();
    for name in names {
        match (x.operands.get(name), y.operands.get(name)) {
            (Some(old), None) => what.push(format!("`{name}` = {} is missing", a.shown(old))),
            (None, Some(new)) => what.push(format!("`{name}` = {} is new", b.shown(new))),
            (Some(old), Some(new)) if !is_same(old, new, partner) => {
                what.push(format!("`{name}` is {}, and {}", a.shown(old), b.shown(new)));
            }
            _ => {}
        }
    }
    what
}

/// Whether two operands are the same, given which statements belong together. What only one of the texts has is told by
/// itself.
fn is_same(old: &Operand, new: &Operand, partner: &[Option<usize>]) -> bool {
    match (old, new) {
        (Operand::Node(x, i), Operand::Node(y, j)) => match partner[*x] {
            Some(other) => other == *y && i == j,
            None => !partner.contains(&Some(*y)),
        },
        (Operand::Tuple(old), Operand::Tuple(new)) => {
            old.len() == new.len()
                && old.iter().zip(new).all(|(old, new)| is_same(old, new, partner))
        }
        (Operand::Node(x, _), _) => partner[*x].is_none(),
        (_, Operand::Node(y, _)) => !partner.contains(&Some(*y)),
        _ => old == new,
    }
}
