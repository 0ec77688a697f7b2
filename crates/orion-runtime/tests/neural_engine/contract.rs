//! What every device has to do, shown on the simulator: symbols, surfaces, limits, states of programs, counters, threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use orion_compiler::target::{Chip, Target};
use orion_runtime::neural_engine::simulator::{Settings, Simulator};
use orion_runtime::neural_engine::{
    BlobFiles, CompiledProgram, Device, DeviceError, Port, Region, Request, Surface, SurfaceMemory,
};

use crate::fixture::{Loaded, compile, double, exact, program, surfaces};

/// `difference = first − second`, named so that the order of symbols is not the order of the text.
fn difference() -> String {
    program(
        "tensor<fp16, [1, 4, 1, 32]> zeta, tensor<fp16, [1, 4, 1, 32]> alpha",
        "        tensor<fp16, [1, 4, 1, 32]> total = add(x = zeta, y = alpha)[name = string(\"total\")];
        tensor<fp16, [1, 4, 1, 32]> difference = sub(x = zeta, y = alpha)[name = string(\"difference\")];",
        "total, difference",
    )
}

#[test]
fn operands_are_bound_by_symbols_in_the_order_of_names() {
    let device = exact();
    let loaded = Loaded::of(&device, &difference(), &BlobFiles::default()).unwrap();
    let names =
        |ports: &[Port]| ports.iter().map(|p| (p.name.clone(), p.symbol)).collect::<Vec<_>>();
    assert_eq!(names(&loaded.inputs), [("alpha".to_owned(), 0), ("zeta".to_owned(), 1)]);
    assert_eq!(names(&loaded.outputs), [("difference".to_owned(), 0), ("total".to_owned(), 1)]);
    loaded.write("zeta", &[5.0; 128]);
    loaded.write("alpha", &[2.0; 128]);
    loaded.eval().unwrap();
    assert_eq!(loaded.read("difference"), [3.0; 128]);
    assert_eq!(loaded.read("total"), [7.0; 128]);

    // Whoever binds by the place in the text subtracts the other way round, and nothing fails: ANE009 and ANE008.
    let mut swapped = loaded.request.clone();
    swapped.inputs[0].1 = loaded.request.inputs[1].1.clone();
    swapped.inputs[1].1 = loaded.request.inputs[0].1.clone();
    loaded.program.eval(&swapped).unwrap();
    assert_eq!(loaded.read("difference"), [-3.0; 128]);
}

#[test]
fn ports_say_how_operands_lie() {
    let device = exact();
    for (shape, element, expected) in [
        // batch, channels, height, width, row, plane, bytes
        ("[1, 768, 1, 16]", "fp16", [1, 768, 1, 16, 64, 64, 49_152]),
        ("[1, 768, 1, 16]", "fp32", [1, 768, 1, 16, 64, 64, 49_152]),
        ("[1, 4, 6, 40]", "fp16", [1, 4, 6, 40, 128, 768, 3072]),
        ("[2, 3, 5, 32]", "fp16", [2, 3, 5, 32, 64, 320, 1920]),
        ("[32, 3]", "fp16", [1, 1, 32, 3, 64, 2048, 2048]),
        ("[1, 48, 48]", "fp16", [1, 1, 48, 48, 128, 6144, 6144]),
        ("[7]", "fp16", [1, 1, 1, 7, 64, 64, 64]),
    ] {
        let loaded = Loaded::of(&device, &double(shape, element), &BlobFiles::default()).unwrap();
        let port = &loaded.inputs[0];
        let found = [
            port.batch,
            port.channels,
            port.height,
            port.width,
            port.row_stride,
            port.plane_stride,
            port.bytes,
        ];
        assert_eq!(found, expected, "{shape} {element}");
        assert_eq!(port.element.name(), element);
    }
}

#[test]
fn an_output_surface_is_the_next_input_without_a_copy() {
    let device = exact();
    let first =
        Loaded::of(&device, &double("[1, 8, 1, 32]", "fp16"), &BlobFiles::default()).unwrap();
    let second =
        Loaded::of(&device, &double("[1, 8, 1, 32]", "fp16"), &BlobFiles::default()).unwrap();
    let between = first.request.outputs[0].1.clone();
    let mut chained = second.request.clone();
    chained.inputs[0].1 = between.clone();
    assert!(chained.inputs[0].1.is_same(&first.request.outputs[0].1));
    first.write("x", &[1.5; 256]);
    first.eval().unwrap();
    let staged = device.counters().bytes_staged;
    second.program.eval(&chained).unwrap();
    assert_eq!(device.counters().bytes_staged, staged, "nothing went through the host");
    assert_eq!(second.read("y"), [6.0; 256]);

    // A surface can be both: inputs are read before outputs are written.
    let mut in_place = second.request.clone();
    in_place.inputs[0].1 = between.clone();
    in_place.outputs[0].1 = between;
    for expected in [6.0, 12.0, 24.0] {
        second.program.eval(&in_place).unwrap();
        assert_eq!(first.read("y"), [expected; 256]);
    }
}

#[test]
fn parts_of_an_operand_are_read_and_written() {
    let device = exact();
    let loaded =
        Loaded::of(&device, &double("[1, 3, 4, 10]", "fp16"), &BlobFiles::default()).unwrap();
    let (port, surface) = (&loaded.inputs[0], &loaded.request.inputs[0].1);
    let all: Vec<f32> = (0..120).map(|i| i as f32).collect();
    surface.write_f32(port, &all).unwrap();
    // A column of every row, as a token of a cache by channels; a row of every channel, as one of a cache by tokens.
    surface.write_region_f32(port, &port.columns(7..8), &[-1.0; 12]).unwrap();
    let halves: Vec<half::f16> = (0..30).map(|i| half::f16::from_f32(-(i as f32) - 2.0)).collect();
    surface.write_region_f16(port, &port.rows(2..3), &halves).unwrap();
    let mut found = vec![0.0; 120];
    surface.read_f32(port, &mut found).unwrap();
    for (index, found) in found.iter().enumerate() {
        let (plane, row, column) = (index / 40, index / 10 % 4, index % 10);
        let expected = match (row, column) {
            (2, _) => -((plane * 10 + column) as f32) - 2.0,
            (_, 7) => -1.0,
            _ => index as f32,
        };
        assert_eq!(*found, expected, "{plane} {row} {column}");
    }
    let region = Region { planes: 1..3, rows: 1..4, columns: 2..5 };
    let mut part = vec![half::f16::ZERO; region.elements()];
    surface.read_region_f16(port, &region, &mut part).unwrap();
    for (at, value) in part.iter().enumerate() {
        let (plane, row, column) = (1 + at / 9, 1 + at / 3 % 3, 2 + at % 3);
        assert_eq!(value.to_f32(), found[plane * 40 + row * 10 + column]);
    }
    for wrong in [
        surface.write_f32(port, &all[1..]),
        surface.write_region_f32(port, &port.columns(9..11), &[0.0; 24]),
        surface.read_region_f32(port, &Region { planes: 2..4, ..region }, &mut [0.0; 18]),
    ] {
        assert_eq!(wrong.unwrap_err().rule(), "RUN031");
    }
    let small = device.surface(port.bytes - 1).unwrap();
    assert_eq!(small.write_f32(port, &all).unwrap_err().rule(), "ANE004");
}

#[test]
fn a_program_runs_only_while_it_is_loaded() {
    let device = exact();
    let program =
        compile(&device, &double("[1, 8, 1, 32]", "fp16"), &BlobFiles::default()).unwrap();
    assert!(matches!(program.eval(&Request::default()), Err(DeviceError::NotLoaded(_))));
    assert!(matches!(program.attributes(), Err(DeviceError::NotLoaded(_))));
    let loaded = Loaded::new(&device, program).unwrap();
    loaded.write("x", &[1.0; 256]);
    loaded.eval().unwrap();
    loaded.program.load().unwrap();
    assert_eq!(device.counters().loaded, 1, "loading twice is loading once");
    loaded.program.unload().unwrap();
    loaded.program.unload().unwrap();
    let error = loaded.eval().unwrap_err();
    assert_eq!((error.rule(), error.is_transient()), ("RUN034", true));
    assert_eq!(error.to_string(), "test: RUN034: the program is not loaded; load it first");
    loaded.program.load().unwrap();
    loaded.eval().unwrap();
    let counters = device.counters();
    assert_eq!((counters.compiles, counters.loads, counters.loaded, counters.evals), (1, 2, 1, 2));
    drop(loaded);
    assert_eq!(device.counters().loaded, 0, "a dropped program is unloaded");
}

#[test]
fn requests_that_do_not_fit_are_told_apart() {
    let device = exact();
    let loaded = Loaded::of(&device, &difference(), &BlobFiles::default()).unwrap();
    let fails = |change: &dyn Fn(&mut Request)| {
        let mut request = loaded.request.clone();
        change(&mut request);
        loaded.program.eval(&request).unwrap_err()
    };
    for change in [
        &(|r: &mut Request| r.inputs[0].0 = 2) as &dyn Fn(&mut Request),
        &|r| r.outputs[1].0 = 0,
        &|r| r.procedure = 16,
    ] {
        let error = fails(change);
        assert!(matches!(error, DeviceError::WrongIndex(_)), "{error}");
        assert!(error.to_string().contains("Code=2 \"error 0x2\""), "{error}");
    }
    let small = device.surface(loaded.inputs[0].bytes - 64).unwrap();
    for (change, rule) in [
        (&(|r: &mut Request| drop(r.inputs.remove(0))) as &dyn Fn(&mut Request), "RUN037"),
        (&|r| r.inputs[1].1 = small.clone(), "ANE004"),
        (&|r| r.outputs[0].1 = small.clone(), "ANE004"),
    ] {
        let error = fails(change);
        assert_eq!(error.rule(), rule);
        assert!(
            error.to_string().contains("Code=8") && error.to_string().contains("status=0x1d"),
            "{error}"
        );
    }
    // A larger surface is fine: only the rows' stride counts.
    let mut request = loaded.request.clone();
    request.inputs[0].1 = device.surface(loaded.inputs[0].bytes * 2).unwrap();
    loaded.program.eval(&request).unwrap();
    // Facts §2.3: a single procedure answers to the numbers 0 to 15.
    request.procedure = 15;
    loaded.program.eval(&request).unwrap();
}

#[test]
fn each_function_is_a_procedure_with_symbols_of_its_own() {
    let ty = "tensor<fp16, [1, 1, 1, 32]>";
    let function = |name: &str, op: &str| {
        format!(
            "    func {name}<ios18>({ty} x) {{ {ty} y = {op}(x = x, y = x)[name = string(\"y\")]; }} -> (y);\n"
        )
    };
    let text = format!(
        "program(1.3)\n[buildInfo = dict<string, string>({{{{\"coremlc-version\", \"3505.4.1\"}}}})]\n{{\n{}{}}}\n",
        function("twice", "add"),
        function("squared", "mul"),
    );
    let device = exact();
    let program = compile(&device, &text, &BlobFiles::default()).unwrap();
    program.load().unwrap();
    let procedures = program.attributes().unwrap().procedures;
    assert_eq!([procedures[0].name.as_str(), &procedures[1].name], ["twice", "squared"]);
    // Facts §2.3, AI: procedure N takes symbol N.
    assert_eq!((procedures[1].inputs[0].symbol, procedures[1].outputs[0].symbol), (1, 1));
    for (index, expected) in [(0, 6.0), (1, 9.0)] {
        let request = Request {
            procedure: index,
            inputs: surfaces(&device, &procedures[index].inputs),
            outputs: surfaces(&device, &procedures[index].outputs),
        };
        request.inputs[0].1.write_f32(&procedures[index].inputs[0], &[3.0; 32]).unwrap();
        program.eval(&request).unwrap();
        let mut found = [0.0; 32];
        request.outputs[0].1.read_f32(&procedures[index].outputs[0], &mut found).unwrap();
        assert_eq!(found, [expected; 32]);
        let wrong = Request { procedure: 1 - index, ..request };
        assert_eq!(program.eval(&wrong).unwrap_err().rule(), "ANE050");
    }
    assert_eq!(
        program.eval(&Request { procedure: 2, ..Request::default() }).unwrap_err().rule(),
        "ANE050"
    );
}

#[test]
fn threads_run_programs_at_the_same_time() {
    let device = exact();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let device = &device;
            scope.spawn(move || {
                let loaded =
                    Loaded::of(device, &double("[1, 64, 1, 64]", "fp16"), &BlobFiles::default())
                        .unwrap();
                for round in 0..20 {
                    let value = (thread * 20 + round) as f32;
                    loaded.write("x", &[value; 4096]);
                    loaded.eval().unwrap();
                    assert_eq!(loaded.read("y"), [2.0 * value; 4096]);
                }
            });
        }
    });
    assert_eq!(device.counters().evals, 80);
}

/// A surface that tells when it is read, and waits then.
struct Waiting {
    inner: Surface,
    is_read: AtomicBool,
    goes_on: AtomicBool,
}

impl SurfaceMemory for Waiting {
    fn size(&self) -> usize {
        self.inner.size()
    }

    fn read(&self, body: &mut dyn FnMut(&[u8])) {
        self.is_read.store(true, Ordering::SeqCst);
        while !self.goes_on.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        self.inner.memory().read(body);
    }

    fn write(&self, body: &mut dyn FnMut(&mut [u8])) {
        self.inner.memory().write(body);
    }
}

#[test]
fn a_program_that_runs_is_not_unloaded() {
    let device = exact();
    let mut loaded =
        Loaded::of(&device, &double("[1, 1, 1, 32]", "fp16"), &BlobFiles::default()).unwrap();
    let waiting = Arc::new(Waiting {
        inner: loaded.request.inputs[0].1.clone(),
        is_read: AtomicBool::new(false),
        goes_on: AtomicBool::new(false),
    });
    loaded.request.inputs[0].1 = Surface::new(waiting.clone(), Arc::default());
    std::thread::scope(|scope| {
        let running = scope.spawn(|| loaded.eval());
        while !waiting.is_read.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let error = loaded.program.unload().unwrap_err();
        assert!(matches!(error, DeviceError::Busy(_)) && error.rule() == "RUN035");
        waiting.goes_on.store(true, Ordering::SeqCst);
        running.join().unwrap().unwrap();
    });
    loaded.program.unload().unwrap();
}

#[test]
fn the_clock_is_the_cost_models() {
    let model = |function: &orion_compiler::mil::syntax::Function<'_>, target: Target| {
        assert_eq!(target.chip, Chip::M4);
        Some(1e-4 * function.statements.len() as f64)
    };
    let device = Simulator::with_cost_model(Settings::default(), Arc::new(model));
    let loaded = Loaded::of(&device, &difference(), &BlobFiles::default()).unwrap();
    for _ in 0..3 {
        let told = loaded.program.eval(&loaded.request).unwrap();
        assert_eq!(told.modelled_seconds, Some(2e-4));
    }
    assert!((device.counters().modelled_seconds - 6e-4).abs() < 1e-12);
    assert!(device.description().is_simulated);
    assert_eq!(device.description().name, "simulated M4, in-memory");
    let loaded = Loaded::of(&exact(), &difference(), &BlobFiles::default()).unwrap();
    assert_eq!(loaded.program.eval(&loaded.request).unwrap().modelled_seconds, None);
}

/// The contract can be used without knowing what is behind it.
#[test]
fn devices_and_programs_are_objects() {
    let device: Box<dyn Device> = Box::new(exact());
    let program: Box<dyn CompiledProgram> =
        compile(&*device, &double("[1, 1, 1, 32]", "fp16"), &BlobFiles::default()).unwrap();
    let parts: Vec<&str> = program.identity().split('_').collect();
    assert_eq!(parts.len(), 3);
    assert!(
        parts.iter().all(|part| part.len() == 32 && part.bytes().all(|b| b.is_ascii_hexdigit()))
    );
}
