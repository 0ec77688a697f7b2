//! The catalogue of beliefs: the simulator bears all of them out on every chip and route, and devices that differ are found out.

use orion_compiler::target::{Chip, Route, Target};
use orion_runtime::neural_engine::self_test::{Outcome, Report, run};
use orion_runtime::neural_engine::simulator::{Numerics, Reload, Settings, Simulator};
use orion_runtime::neural_engine::{
    BlobFiles, CompiledProgram, Counters, Description, Detail, Device, DeviceError, ProgramSource,
    Surface,
};

use crate::fixture::{program, settings};

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
            let report = run(&Simulator::new(settings(chip, route, Numerics::Ane)));
            let wrong: Vec<_> = (report.findings.iter())
                .filter(|finding| matches!(finding.outcome, Outcome::Contradicted { .. }))
                .collect();
            assert!(wrong.is_empty(), "{chip} {route}: {wrong:#?}");
            let [confirmed, _, observed, _] = report.totals();
            assert!(confirmed >= 15 && observed >= 8, "{chip} {route}: {confirmed}, {observed}");
        }
    }
    let m1 = run(&Simulator::new(settings(Chip::M1, Route::InMemory, Numerics::Ane)));
    assert!(m1.totals()[0] >= 25, "{m1:#?}");
}

#[test]
fn arithmetic_of_another_kind_and_weights_that_follow_files_are_found_out() {
    let exact = run(&Simulator::new(settings(Chip::M1, Route::InMemory, Numerics::Exact)));
    let wrong = contradicted(&exact);
    assert!(wrong.iter().any(|(_, what)| what.contains("sigmoid")), "{wrong:?}");
    assert!(wrong.iter().any(|(_, what)| what.contains("NaN")), "{wrong:?}");
    assert!(wrong.iter().all(|(id, _)| ["numerics", "ANE033"].contains(id)), "{wrong:?}");

    let target = Target { chip: Chip::M4, route: Route::InMemory };
    let follows = Settings { reload: Reload::Follows, threads: 2, ..Settings::of(target) };
    let wrong = contradicted(&run(&Simulator::new(follows)));
    assert_eq!(wrong.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ["ANE013"]);
}

/// Takes every text for `y = x`.
#[derive(Debug)]
struct Credulous(Simulator);

impl Device for Credulous {
    fn description(&self) -> &Description {
        self.0.description()
    }

    fn compile(&self, source: &ProgramSource<'_>) -> Result<Box<dyn CompiledProgram>, DeviceError> {
        let ty = "tensor<fp16, [1, 8, 1, 32]>";
        let text = program(
            &format!("{ty} x"),
            &format!("        {ty} y = relu(x = x)[name = string(\"y\")];"),
            "y",
        );
        let (name, blobs) = (source.name, &BlobFiles::new());
        self.0.compile(&ProgramSource { name, text: &text, blobs })
    }

    fn surface(&self, bytes: usize) -> Result<Surface, DeviceError> {
        self.0.surface(bytes)
    }

    fn counters(&self) -> Counters {
        self.0.counters()
    }
}

#[test]
fn a_device_that_accepts_everything_is_found_out() {
    let device = Credulous(Simulator::new(settings(Chip::M4, Route::InMemory, Numerics::Ane)));
    let wrong: Vec<&str> = contradicted(&run(&device)).into_iter().map(|(id, _)| id).collect();
    for rule in ["ANE001", "ANE002", "ANE014", "ANE024", "ANE028", "MIL014", "ANE008", "inputs"] {
        assert!(wrong.contains(&rule), "{rule} is not in {wrong:?}");
    }
}

/// Never answers.
#[derive(Debug)]
struct Silent(Simulator);

impl Device for Silent {
    fn description(&self) -> &Description {
        self.0.description()
    }

    fn compile(&self, source: &ProgramSource<'_>) -> Result<Box<dyn CompiledProgram>, DeviceError> {
        Err(DeviceError::Timeout(Box::new(Detail {
            program: source.name.to_owned(),
            place: None,
            rule: "RUN036".to_owned(),
            reason: "no answer".to_owned(),
            native: None,
            remedy: String::new(),
        })))
    }

    fn surface(&self, bytes: usize) -> Result<Surface, DeviceError> {
        self.0.surface(bytes)
    }

    fn counters(&self) -> Counters {
        self.0.counters()
    }
}

/// That the service is away says nothing of a rule: no silence is taken for a refusal.
#[test]
fn a_device_that_does_not_answer_confirms_nothing() {
    let device = Silent(Simulator::new(settings(Chip::M4, Route::InMemory, Numerics::Ane)));
    let report = run(&device);
    assert_eq!(report.totals()[..3], [0, 0, 0], "{report:#?}");
}
