//! Weights: frozen when a program is compiled, exchanged by a new identity, never changed beneath a program that is loaded.

use std::sync::{Arc, Mutex, OnceLock};

use orion_compiler::mil::syntax::Function;
use orion_compiler::target::{Chip, Route, Target};
use orion_runtime::neural_engine::simulator::{Numerics, Reload, Settings, Simulator};
use orion_runtime::neural_engine::{BlobFiles, CompiledProgram, Device, DeviceError, Request};

use crate::fixture::{CONV, Loaded, compile, conv, halves, noise, program, settings, weight};

/// `y = W · x` with weights of 64 × 64 in a file, and a second one behind it if asked.
fn layers(paths: &[&str]) -> String {
    let ty = "tensor<fp16, [1, 64, 1, 32]>";
    let mut statements = CONV.to_owned();
    let mut x = "x".to_owned();
    for (index, path) in paths.iter().enumerate() {
        let (w, y) = (format!("w{index}"), format!("y{index}"));
        statements +=
            &format!("\n{}\n{}", weight(&w, "[64, 64, 1, 1]", path), conv(ty, &y, &x, &w));
        x = y;
    }
    program(&format!("{ty} x"), &statements, &x)
}

fn files(seeds: &[(&str, u64)]) -> BlobFiles {
    let mut blobs = BlobFiles::new();
    for (path, seed) in seeds {
        let values: Vec<f32> = noise(64 * 64, *seed).iter().map(|x| x / 8.0).collect();
        blobs.insert(*path, halves(&values));
    }
    blobs
}

/// The result for some input.
fn result(loaded: &Loaded) -> Vec<f32> {
    loaded.write("x", &noise(2048, 99));
    loaded.eval().unwrap();
    let name = loaded.outputs[0].name.clone();
    loaded.read(&name)
}

fn device(change: impl FnOnce(&mut Settings)) -> Simulator {
    let mut settings = settings(Chip::M4, Route::InMemory, Numerics::Ane);
    change(&mut settings);
    Simulator::new(settings)
}

/// MD, MD#23, OR constraint 7: unload, overwrite, load leaves results as they were, to the bit.
#[test]
fn overwritten_files_leave_results_as_they_were() {
    let device = device(|_| {});
    let text = layers(&["a.bin"]);
    let loaded = Loaded::of(&device, &text, &files(&[("a.bin", 1)])).unwrap();
    let before = result(&loaded);
    loaded.program.unload().unwrap();
    loaded.program.overwrite(&files(&[("a.bin", 2)])).unwrap();
    loaded.program.load().unwrap();
    assert_eq!(result(&loaded), before);
    let fresh = Loaded::of(&device, &text, &files(&[("a.bin", 2)])).unwrap();
    assert_ne!(result(&fresh), before);
    let error = loaded.program.overwrite(&files(&[("b.bin", 2)])).unwrap_err();
    assert!(matches!(error, DeviceError::Weights(_)) && error.rule() == "RUN038");
}

/// What SEED claims, for those who want to see what their trainer would do then.
#[test]
fn reloads_follow_files_where_that_is_asked_for() {
    let device = device(|settings| settings.reload = Reload::Follows);
    let text = layers(&["a.bin", "b.bin"]);
    let loaded = Loaded::of(&device, &text, &files(&[("a.bin", 1), ("b.bin", 2)])).unwrap();
    loaded.program.overwrite(&files(&[("b.bin", 3)])).unwrap();
    loaded.program.unload().unwrap();
    loaded.program.load().unwrap();
    let fresh = Loaded::of(&device, &text, &files(&[("a.bin", 1), ("b.bin", 3)])).unwrap();
    assert_eq!(result(&loaded), result(&fresh));
}

/// OR's test of one 768 × 768 convolution asserts a difference of 0.0 from a fresh compilation.
#[test]
fn a_patched_program_is_a_fresh_one_without_its_compilation() {
    let device = device(|_| {});
    let text = layers(&["a.bin"]);
    let donor = Loaded::of(&device, &text, &files(&[("a.bin", 1)])).unwrap();
    let before = result(&donor);
    let patched = donor.program.patched(&files(&[("a.bin", 2)])).unwrap();
    assert_ne!(patched.identity(), donor.program.identity());
    assert!(patched.attributes().is_err(), "it is not loaded yet");
    let patched = Loaded::new(&device, patched).unwrap();
    let counters = device.counters();
    assert_eq!((counters.compiles, counters.patches, counters.loads), (1, 1, 2));
    let fresh = Loaded::of(&device, &text, &files(&[("a.bin", 2)])).unwrap();
    assert_eq!(result(&patched), result(&fresh));
    assert_eq!(result(&donor), before, "the donor keeps its own");
    // Patches of patches, as a training run makes them.
    let again = patched.program.patched(&files(&[("a.bin", 1)])).unwrap();
    assert_eq!(result(&Loaded::new(&device, again).unwrap()), before);
}

#[test]
fn programs_of_several_files_are_patched_only_where_that_is_allowed() {
    let text = layers(&["a.bin", "b.bin"]);
    let both = files(&[("a.bin", 1), ("b.bin", 2)]);
    let strict = device(|_| {});
    let error =
        compile(&strict, &text, &both).unwrap().patched(&files(&[("b.bin", 3)])).unwrap_err();
    assert!(matches!(error, DeviceError::Weights(_)) && error.rule() == "ANE013", "{error}");

    let device = device(|settings| settings.patches_several_files = true);
    let donor = compile(&device, &text, &both).unwrap();
    let patched = donor.patched(&files(&[("b.bin", 3)])).unwrap();
    let fresh = Loaded::of(&device, &text, &files(&[("a.bin", 1), ("b.bin", 3)])).unwrap();
    assert_eq!(result(&Loaded::new(&device, patched).unwrap()), result(&fresh));
    let unknown = donor.patched(&files(&[("c.bin", 3)])).unwrap_err();
    assert_eq!(unknown.rule(), "RUN038");
    let mut short = BlobFiles::new();
    short.insert("b.bin", halves(&[1.0; 100]));
    assert_eq!(donor.patched(&short).unwrap_err().rule(), "MIL034");
}

#[test]
fn the_other_route_has_no_files_to_exchange() {
    let device = Simulator::new(settings(Chip::M5, Route::E5rt, Numerics::Ane));
    let donor = compile(&device, &layers(&["a.bin"]), &files(&[("a.bin", 1)])).unwrap();
    assert_eq!(donor.patched(&files(&[("a.bin", 2)])).unwrap_err().rule(), "ANE013");
}

/// Weights computed from constants, as dequantised ones are, follow an exchanged file too.
#[test]
fn computed_weights_are_exchanged_with_their_files() {
    let ty = "tensor<fp16, [1, 64, 1, 32]>";
    let bytes = |seed: u64| {
        let mut writer = orion_compiler::mil::blob::BlobWriter::default();
        let data: Vec<u8> =
            noise(4096, seed).iter().map(|x| ((x * 100.0) as i8).cast_unsigned()).collect();
        writer.push(orion_compiler::mil::blob::BlobType::I8, 4096, &data);
        writer.finish()
    };
    let statements = format!(
        "{CONV}
        tensor<fp16, [64, 64, 1, 1]> w = constexpr_affine_dequantize()[axis = int32(0), name = string(\"w\"), \
         quantized_data = tensor<int8, [64, 64, 1, 1]>(BLOBFILE(path = string(\"q.bin\"), offset = uint64(64))), \
         scale = fp16(0.01), zero_point = int8(0)];
{}",
        conv(ty, "y", "x", "w")
    );
    let text = program(&format!("{ty} x"), &statements, "y");
    let blobs = |seed: u64| {
        let mut blobs = BlobFiles::new();
        blobs.insert("q.bin", bytes(seed));
        blobs
    };
    let device = device(|_| {});
    let donor = Loaded::of(&device, &text, &blobs(1)).unwrap();
    let patched = donor.program.patched(&blobs(2)).unwrap();
    let fresh = Loaded::of(&device, &text, &blobs(2)).unwrap();
    let patched = Loaded::new(&device, patched).unwrap();
    assert_eq!(result(&patched), result(&fresh));
    assert_ne!(result(&patched), result(&donor));
}

/// A program answers nothing while it is being loaded. Here its loading asks the cost model, and that asks the program.
#[test]
fn a_program_that_is_being_loaded_is_busy() {
    let slot: Arc<OnceLock<Box<dyn CompiledProgram>>> = Arc::default();
    let answers: Arc<Mutex<Vec<DeviceError>>> = Arc::default();
    let (asked, told) = (Arc::clone(&slot), Arc::clone(&answers));
    let model = move |_: &Function<'_>, _: Target| {
        if let Some(program) = asked.get() {
            told.lock().unwrap().extend([
                program.eval(&Request::default()).unwrap_err(),
                program.attributes().unwrap_err(),
                program.load().unwrap_err(),
                program.unload().unwrap_err(),
            ]);
        }
        None
    };
    let settings = Settings { reload: Reload::Follows, ..Settings::default() };
    let device = Simulator::with_cost_model(settings, Arc::new(model));
    let program = compile(&device, &layers(&["a.bin"]), &files(&[("a.bin", 1)])).unwrap();
    program.overwrite(&files(&[("a.bin", 2)])).unwrap();
    let program = slot.get_or_init(|| program);
    program.load().unwrap();
    let answers = answers.lock().unwrap();
    assert_eq!(answers.len(), 4);
    assert!(answers.iter().all(|answer| matches!(answer, DeviceError::Busy(_))), "{answers:?}");
}
