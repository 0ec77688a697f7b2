//! The catalogue of beliefs: the simulator bears all of them out on every chip and route, and devices that differ are found out.

use orion_compiler::target::{Chip, Route, Target};
use orion_runtime::neural_engine::Device;
use orion_runtime::neural_engine::self_test::{Outcome, Report, run};
use orion_runtime::neural_engine::simulator::{Disputed, Numerics, Reload, Settings, Simulator};

use crate::altered::{Alteration, Altered};
use crate::fixture::settings;

fn simulator(chip: Chip, route: Route) -> Simulator {
    Simulator::new(settings(chip, route, Numerics::Ane))
}

fn contradicted(report: &Report) -> Vec<(&'static str, &'static str)> {
    let findings = report.findings.iter();
    let wrong = |outcome: &Outcome| matches!(outcome, Outcome::Contradicted { .. });
    findings
        .filter(|finding| wrong(&finding.outcome))
        .map(|finding| (finding.id, finding.what))
        .collect()
}

#[test]
fn the_simulator_bears_out_what_is_believed_of_every_chip() {
    for &chip in Chip::ALL {
        for route in Route::ALL {
            let device = Altered::new(simulator(chip, route), Alteration::None);
            let report = run(&device);
            let wrong: Vec<_> = (report.findings.iter())
                .filter(|finding| matches!(finding.outcome, Outcome::Contradicted { .. }))
                .collect();
            assert!(wrong.is_empty(), "{chip} {route}: {wrong:#?}");
            let [confirmed, _, observed, _] = report.totals();
            assert!(confirmed >= 30 && observed >= 14, "{chip} {route}: {confirmed}, {observed}");
            // A process may compile 119 programs (facts §2.7); perhaps those that are refused count, too.
            let asked = device.counters().compiles;
            assert!(asked < 100, "{chip} {route}: {asked} compilations");
        }
    }
    let m1 = run(&simulator(Chip::M1, Route::InMemory));
    assert!(m1.totals()[0] >= 50, "{m1:#?}");
}

#[test]
fn arithmetic_of_another_kind_and_weights_that_follow_files_are_found_out() {
    let exact = run(&Simulator::new(settings(Chip::M1, Route::InMemory, Numerics::Exact)));
    let wrong = contradicted(&exact);
    assert!(wrong.iter().any(|(_, what)| what.contains("sigmoid")), "{wrong:?}");
    assert!(wrong.iter().any(|(_, what)| what.contains("NaN")), "{wrong:?}");
    for what in ["softplus", "silu", "gelu", "2,049"] {
        assert!(wrong.iter().any(|(_, found)| found.contains(what)), "{what}: {wrong:?}");
    }
    let arithmetic = ["numerics", "ANE033", "ANE036", "ANE038"];
    assert!(wrong.iter().all(|(id, _)| arithmetic.contains(id)), "{wrong:?}");

    let exact = run(&Simulator::new(settings(Chip::M5, Route::InMemory, Numerics::Exact)));
    let wrong = contradicted(&exact);
    assert_eq!(wrong.iter().filter(|(id, _)| *id == "ANE037").count(), 2, "{wrong:?}");

    let target = Target { chip: Chip::M4, route: Route::InMemory };
    let follows = Settings { reload: Reload::Follows, threads: 2, ..Settings::of(target) };
    let wrong = contradicted(&run(&Simulator::new(follows)));
    assert_eq!(wrong.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ["ANE013"]);
}

/// The rules that a device contradicts, each once.
fn rules(device: &dyn Device) -> Vec<&'static str> {
    let mut rules: Vec<_> = contradicted(&run(device)).into_iter().map(|(id, _)| id).collect();
    rules.dedup();
    rules
}

fn expect(device: &dyn Device, wanted: &[&str]) {
    let found = rules(device);
    for rule in wanted {
        assert!(found.contains(rule), "{rule} is not in {found:?}");
    }
}

#[test]
fn a_device_that_accepts_everything_is_found_out() {
    let credulous = |route| Altered::new(simulator(Chip::M4, route), Alteration::Credulous);
    expect(
        &credulous(Route::InMemory),
        &[
            "ANE001", "ANE002", "ANE014", "ANE016", "ANE022", "ANE024", "ANE025", "ANE026",
            "ANE027", "ANE028", "ANE029", "ANE064", "ANE070", "ANE072", "ANE075", "ANE077",
            "MIL014", "ANE008", "ANE009", "inputs",
        ],
    );
    expect(&credulous(Route::E5rt), &["ANE020", "ANE064", "ANE070", "ANE072", "ANE076"]);
}

/// What one route does to results the other does not.
#[test]
fn a_route_under_the_name_of_the_other_is_found_out() {
    let under = |route, name| {
        Altered::named(simulator(Chip::M4, route), Target { chip: Chip::M4, route: name })
    };
    expect(
        &under(Route::E5rt, Route::InMemory),
        &["ANE011", "ANE020", "ANE021", "ANE022", "ANE051", "ANE077", "patch"],
    );
    let other = run(&under(Route::InMemory, Route::E5rt));
    let weights = contradicted(&other).into_iter().filter(|(id, _)| *id == "ANE020");
    assert_eq!(weights.count(), 2, "{other:#?}");
}

#[test]
fn a_chip_under_the_name_of_another_is_found_out() {
    let under = |chip, name| {
        let route = Route::E5rt;
        Altered::named(simulator(chip, route), Target { chip: name, route })
    };
    expect(&under(Chip::M5, Chip::M1), &["ANE025", "ANE026", "ANE030", "ANE036", "ANE039"]);
    expect(&under(Chip::M1, Chip::M5), &["ANE030", "ANE031", "ANE036"]);
}

/// Results of a device are computed, not believed: who gives zeros, or the first columns only, contradicts all that say numbers.
#[test]
fn results_of_zeros_and_of_sixteen_columns_are_found_out() {
    let zeros = Alteration::Results(|_, numbers| numbers.fill(0.0));
    let zeros = Altered::new(simulator(Chip::M1, Route::InMemory), zeros);
    let report = run(&zeros);
    let wrong = contradicted(&report);
    for rule in [
        "ANE008", "ANE009", "ANE010", "ANE012", "ANE034", "ANE035", "ANE036", "ANE038", "ANE041",
        "ANE045", "ANE047", "ANE050", "layout", "patch", "inputs",
    ] {
        assert!(wrong.iter().any(|(id, _)| *id == rule), "{rule} is not in {wrong:?}");
    }
    assert_eq!(observations(&report, "ANE042"), ["zeros"]);
    assert_eq!(observations(&report, "ANE040"), ["zeros"]);

    let sixteen = Alteration::Results(|port, numbers| {
        for row in numbers.chunks_exact_mut(port.width) {
            row.iter_mut().skip(16).for_each(|number| *number = f32::NAN);
        }
    });
    expect(&Altered::new(simulator(Chip::M4, Route::InMemory), sixteen), &["ANE041", "ANE045"]);
}

/// What a device did where sources contradict each other.
fn observations<'r>(report: &'r Report, id: &str) -> Vec<&'r str> {
    let findings = report.findings.iter().filter(|finding| finding.id == id);
    let found = |outcome: &'r Outcome| match outcome {
        Outcome::Observed { found } => Some(found.as_str()),
        _ => None,
    };
    findings.filter_map(|finding| found(&finding.outcome)).collect()
}

#[test]
fn where_sources_differ_the_report_says_what_the_device_did() {
    let report = run(&simulator(Chip::M4, Route::InMemory));
    for (id, probes) in [("ANE012", 1), ("ANE040", 1), ("ANE042", 1), ("ANE043", 2)] {
        assert_eq!(observations(&report, id), vec!["the right numbers"; probes], "{id}");
    }
    let first = Alteration::Results(|port, numbers| {
        let plane = port.height * port.width;
        numbers.iter_mut().skip(plane).for_each(|number| *number = 0.0);
    });
    let report = run(&Altered::new(simulator(Chip::M1, Route::InMemory), first));
    let found = observations(&report, "ANE043");
    assert_eq!(found, ["0 for 3 at place 32", "0 for 12 at place 32"]);

    let target = Target { chip: Chip::M3Ultra, route: Route::InMemory };
    let refuses = Settings { disputed: Disputed::Refuse, threads: 2, ..Settings::of(target) };
    let report = run(&Simulator::new(refuses));
    let found = observations(&report, "ANE053");
    assert!(found.len() == 1 && found[0].contains("ANE053"), "{found:?}");
}

#[test]
fn offsets_symbols_and_surfaces_of_another_kind_are_found_out() {
    for (alteration, rules_of_it) in [
        (Alteration::Offsets, &["ANE012"][..]),
        (Alteration::Places, &["ANE050"]),
        (Alteration::Backwards, &["ANE009", "ANE008"]),
        (Alteration::Room, &["ANE004"]),
        (Alteration::None, &[]),
    ] {
        let device = Altered::new(simulator(Chip::M4, Route::InMemory), alteration);
        assert_eq!(rules(&device), rules_of_it, "{alteration:?}");
    }
}

/// That the service is away says nothing of a rule: no silence is taken for a refusal.
#[test]
fn a_device_that_does_not_answer_confirms_nothing() {
    let device = Altered::new(simulator(Chip::M4, Route::InMemory), Alteration::Silent);
    let report = run(&device);
    assert_eq!(report.totals()[..3], [0, 0, 0], "{report:#?}");
}

/// Reasons are one for each rule, not one for all.
#[test]
fn rules_that_no_program_asks_say_why() {
    let report = run(&simulator(Chip::M4, Route::InMemory));
    let why = |id: &str| {
        let finding = report.findings.iter().find(|finding| finding.id == id);
        match &finding.unwrap().outcome {
            Outcome::Skipped { why } => why.clone(),
            outcome => panic!("{id}: {outcome:?}"),
        }
    };
    assert_eq!(why("ANE003"), "it would use up the compilations that a process has");
    assert!(why("ANE019").contains("nothing runs") && why("ANE017").contains("clock"));
    for rule in orion_compiler::lint::rules() {
        assert!(report.findings.iter().any(|finding| finding.id == rule.code), "{}", rule.code);
    }
}
