//! Failures on purpose: each kind is told as what it is, leaves outputs alone, and happens again in the same place.

use orion_runtime::neural_engine::simulator::{Faults, Settings, Simulator};
use orion_runtime::neural_engine::{BlobFiles, Device, DeviceError};

use crate::fixture::{Loaded, compile, program};

fn double() -> String {
    let ty = "tensor<fp16, [1, 1, 1, 32]>";
    program(
        &format!("{ty} x"),
        &format!("        {ty} y = add(x = x, y = x)[name = string(\"y\")];"),
        "y",
    )
}

fn device(faults: &str) -> Simulator {
    Simulator::new(Settings { faults: faults.parse().unwrap(), ..Settings::default() })
}

#[test]
fn runs_fail_where_they_are_told_to_and_leave_outputs_alone() {
    let device = device("eval-failure@2,timeout@4");
    let loaded = Loaded::of(&device, &double(), &BlobFiles::default()).unwrap();
    loaded.write("x", &[1.0; 32]);
    loaded.eval().unwrap();
    loaded.write("x", &[2.0; 32]);
    let error = loaded.eval().unwrap_err();
    assert!(matches!(error, DeviceError::Inference(_)) && error.is_transient());
    assert!(error.to_string().contains("status=0x1d"), "{error}");
    assert_eq!(loaded.read("y"), [2.0; 32]);
    loaded.eval().unwrap();
    assert_eq!(loaded.read("y"), [4.0; 32]);
    let error = loaded.eval().unwrap_err();
    assert!(matches!(error, DeviceError::Timeout(_)) && error.is_transient());
    loaded.eval().unwrap();
    assert_eq!(device.counters().evals, 3);
}

#[test]
fn after_a_restart_all_programs_have_to_be_loaded_again() {
    let device = device("restart@2");
    let first = Loaded::of(&device, &double(), &BlobFiles::default()).unwrap();
    let second = Loaded::of(&device, &double(), &BlobFiles::default()).unwrap();
    first.eval().unwrap();
    let error = first.eval().unwrap_err();
    assert!(matches!(error, DeviceError::ServiceRestarted(_)) && error.is_transient());
    assert_eq!(device.counters().loaded, 0);
    for loaded in [&first, &second] {
        let error = loaded.eval().unwrap_err();
        assert!(matches!(error, DeviceError::NotLoaded(_)) && error.rule() == "RUN036");
        assert!(loaded.program.attributes().is_err());
        loaded.program.load().unwrap();
        loaded.eval().unwrap();
    }
    assert_eq!(device.counters().loaded, 2);
    first.program.unload().unwrap();
    assert_eq!(device.counters().loaded, 1);
}

#[test]
fn compiling_and_loading_fail_once() {
    let device = device("compile-failure@1,load-failure@1");
    let error = compile(&device, &double(), &BlobFiles::default()).unwrap_err();
    assert!(matches!(error, DeviceError::CompilerFailed(_)));
    assert!(error.to_string().contains("ANECCompile() FAILED: err=()"), "{error}");
    let program = compile(&device, &double(), &BlobFiles::default()).unwrap();
    let error = program.load().unwrap_err();
    assert!(matches!(error, DeviceError::LoadFailed(_)) && error.is_transient());
    program.load().unwrap();
    let counters = device.counters();
    assert_eq!((counters.compiles, counters.loads), (1, 1));
}

#[test]
fn a_seed_gives_the_same_failures_again() {
    let failed = |seed: u64| {
        let device = device(&format!("rate=0.2,seed={seed}"));
        // Loading may fail, too.
        let program =
            (0..20).find_map(|_| compile(&device, &double(), &BlobFiles::default()).ok()).unwrap();
        let mut kinds = Vec::new();
        let loaded = loop {
            match Loaded::new(
                &device,
                compile(&device, &double(), &BlobFiles::default())
                    .unwrap_or_else(|_| program.patched(&BlobFiles::default()).unwrap()),
            ) {
                Ok(loaded) => break loaded,
                Err(error) => kinds.push(error.to_string()),
            }
        };
        for _ in 0..200 {
            if let Err(error) = loaded.eval() {
                kinds.push(error.to_string());
                while loaded.program.load().is_err() {}
            }
        }
        kinds
    };
    let first = failed(3);
    assert_eq!(first, failed(3));
    assert_ne!(first, failed(4));
    assert!((20..80).contains(&first.len()), "{}", first.len());
    for kind in ["status=0x1d", "no answer", "started anew"] {
        assert!(first.iter().any(|error| error.contains(kind)), "{kind}");
    }
}

#[test]
fn nothing_fails_on_purpose_unless_it_is_told_to() {
    assert_eq!(Settings::default().faults, Faults::default());
}
