//! What a process may do, and how it is spoilt.

use orion_compiler::target::{Chip, Route, Target};
use orion_runtime::neural_engine::simulator::{Limits, Numerics, Settings, Simulator};
use orion_runtime::neural_engine::{BlobFiles, Device, DeviceError};

use crate::fixture::{Loaded, compile, double, exact, program, run, settings};

#[test]
fn a_process_compiles_119_programs_in_memory_and_no_more() {
    let device = exact();
    let text = double("[1, 1, 1, 32]", "fp16");
    for _ in 0..119 {
        compile(&device, &text, &BlobFiles::default()).unwrap();
    }
    let error = compile(&device, &text, &BlobFiles::default()).unwrap_err();
    assert!(matches!(error, DeviceError::CompileLimit(_)));
    assert_eq!(error.rule(), "ANE003");
    assert!(error.to_string().contains("\"err=()\""), "{error}");
    assert_eq!(device.counters().compiles, 119);
    let device = Simulator::new(settings(Chip::M4, Route::E5rt, Numerics::Exact));
    for _ in 0..130 {
        compile(&device, &text, &BlobFiles::default()).unwrap();
    }
}

#[test]
fn the_129th_loaded_program_fails_and_a_free_place_is_used_again() {
    let device = Simulator::new(settings(Chip::M4, Route::E5rt, Numerics::Exact));
    let text = double("[1, 1, 1, 32]", "fp16");
    let programs: Vec<_> =
        (0..129).map(|_| compile(&device, &text, &BlobFiles::default()).unwrap()).collect();
    programs[..128].iter().for_each(|program| program.load().unwrap());
    let error = programs[128].load().unwrap_err();
    assert!(matches!(error, DeviceError::LoadLimit(_)));
    assert!(error.rule() == "ANE049" && error.to_string().contains("must re-compile"), "{error}");
    programs[5].unload().unwrap();
    programs[128].load().unwrap();
    assert_eq!(device.counters().loaded, 128);

    let target = Target { chip: Chip::M3Max, route: Route::InMemory };
    let limits = Limits { compiles: None, loaded: None };
    let device = Simulator::new(Settings { limits, ..Settings::of(target) });
    // FG kept 226 programs loaded.
    let many: Vec<_> =
        (0..226).map(|_| compile(&device, &text, &BlobFiles::default()).unwrap()).collect();
    many.iter().for_each(|program| program.load().unwrap());
    assert_eq!(device.counters().loaded, 226);
}

#[test]
fn tile_spoils_the_process_in_memory_only() {
    let ty = |width: usize| format!("tensor<fp16, [1, 2, 1, {width}]>");
    let text = program(
        &format!("{} x", ty(32)),
        &format!(
            "        tensor<int32, [4]> reps = const()[name = string(\"reps\"), val = tensor<int32, [4]>([1, 1, 1, 2])];
        {} y = tile(reps = reps, x = x)[name = string(\"y\")];",
            ty(64)
        ),
        "y",
    );
    let device = exact();
    let other =
        Loaded::of(&device, &double("[1, 1, 1, 32]", "fp16"), &BlobFiles::default()).unwrap();
    other.eval().unwrap();
    let x: Vec<f32> = (0..64).map(|i| i as f32).collect();
    let found = run(&device, &text, &[("x", &x)]).unwrap();
    assert_eq!(found[0][..64], [&x[..32], &x[..32]].concat(), "the first run is right");
    let error = other.eval().unwrap_err();
    assert_eq!(error.rule(), "ANE019");
    assert!(error.to_string().contains("status=0x1d"));
    let device = Simulator::new(settings(Chip::M4, Route::E5rt, Numerics::Exact));
    for _ in 0..2 {
        run(&device, &text, &[("x", &x)]).unwrap();
    }
}
