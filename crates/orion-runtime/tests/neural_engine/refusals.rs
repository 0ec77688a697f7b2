//! What a chip and a route refuse, with the symptom that was seen, and texts and files that are damaged.

use orion_compiler::target::{Chip, Route, Target};
use orion_runtime::neural_engine::simulator::{Disputed, Numerics, Settings, Simulator};
use orion_runtime::neural_engine::{BlobFiles, CompiledProgram, DeviceError};
use proptest::prelude::*;

use crate::fixture::{CONV, Loaded, compile, conv, exact, halves, program, settings, weight};

const ROW: &str = "tensor<fp16, [1, 8, 1, 32]>";

fn on(chip: Chip, route: Route, text: &str) -> Result<Box<dyn CompiledProgram>, DeviceError> {
    compile(&Simulator::new(settings(chip, route, Numerics::Exact)), text, &BlobFiles::default())
}

/// A program of one statement that makes `y` of `x`, both of `ROW` unless said otherwise.
fn single(statement: &str) -> String {
    program(&format!("{ROW} x"), &format!("        {statement}"), "y")
}

/// A constant of fp16 with one number again and again.
fn constant(dims: &[usize], number: f32) -> String {
    let shape: Vec<String> = dims.iter().map(usize::to_string).collect();
    let numbers = vec![format!("{number:?}"); dims.iter().product()];
    format!("tensor<fp16, [{}]>([{}])", shape.join(", "), numbers.join(", "))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Invalid,
    Compiler,
    Lowering,
}

fn kind(error: &DeviceError) -> Option<Kind> {
    match error {
        DeviceError::InvalidProgram(_) => Some(Kind::Invalid),
        DeviceError::CompilerFailed(_) => Some(Kind::Compiler),
        DeviceError::LoweringFailed(_) => Some(Kind::Lowering),
        _ => None,
    }
}

/// A chip, a route and a text, and the rule, kind and words of the refusal, if it is refused.
type Case = (Chip, Route, String, Option<(&'static str, Kind, &'static str)>);

fn expect(cases: Vec<Case>) {
    let names = |error: &DeviceError| {
        error.detail().native.clone().map(|native| native.text).unwrap_or_default()
    };
    for (chip, route, text, expected) in cases {
        match (on(chip, route, &text), expected) {
            (Ok(_), None) => {}
            (Err(error), Some((rule, wanted, native))) => {
                let is_syntax = rule == "MIL003" && error.rule().starts_with("MIL00");
                assert!(error.rule() == rule || is_syntax, "{chip} {route}: {error}");
                assert_eq!(kind(&error), Some(wanted), "{error}");
                assert!(names(&error).contains(native), "{error}");
            }
            (found, expected) => panic!("{chip} {route}: {found:?} for {expected:?}\n{text}"),
        }
    }
}

#[test]
fn rules_refuse_operations_where_they_were_seen_to() {
    use Chip::{M1, M3, M4, M5};
    use Route::{E5rt, InMemory};
    let gelu = format!("{ROW} y = gelu(x = x);");
    let literal = format!("{ROW} y = softmax(axis = -1, x = x);");
    let rank = "tensor<fp16, [1, 1, 1, 1, 8, 32]> y = reshape(shape = tensor<int32, [6]>([1, 1, 1, 1, 8, 32]), x = x);";
    let pad = "tensor<fp16, [1, 10, 1, 32]> y = pad(constant_val = fp16(0.0), mode = string(\"constant\"), \
               pad = tensor<int32, [8]>([0, 0, 1, 1, 0, 0, 0, 0]), x = x);";
    let concat = "tensor<fp16, [1, 16, 1, 32]> y = concat(axis = int32(1), interleave = bool(false), values = (x, x));";
    let half_concat = "tensor<fp16, [1, 16, 1, 32]> y = concat(axis = int32(1), values = (x, x));";
    let norm = format!(
        "{ROW} y = layer_norm(axes = tensor<int32, [1]>([-1]), epsilon = fp16(0.1), gamma = {}, x = x);",
        constant(&[32], 1.0)
    );
    let cumsum = format!("{ROW} y = cumsum(axis = int32(1), x = x);");
    expect(vec![
        (M4, InMemory, single(&gelu), Some(("ANE002", Kind::Compiler, "ANECCompile() FAILED"))),
        (M5, E5rt, single(&gelu), Some(("ANE002", Kind::Compiler, "ANECCompile() FAILED"))),
        (M4, InMemory, single(&literal), Some(("ANE014", Kind::Invalid, "InvalidMILProgram"))),
        (M4, InMemory, single(rank), Some(("ANE024", Kind::Compiler, "ANECCompile() FAILED"))),
        (M4, InMemory, single(pad), Some(("ANE028", Kind::Compiler, "ANECCompile() FAILED"))),
        (
            M4,
            InMemory,
            single(half_concat),
            Some(("ANE001", Kind::Compiler, "ANECCompile() FAILED")),
        ),
        (M4, InMemory, single(concat), None),
        (M5, E5rt, single(concat), None),
        (M1, E5rt, single(&norm), Some(("ANE039", Kind::Compiler, "ANECCompile() FAILED"))),
        (M3, E5rt, single(&norm), None),
        (M5, E5rt, single(&cumsum), Some(("ANE076", Kind::Compiler, "Not implemented"))),
    ]);
}

/// The same for types, names, shapes and syntax.
#[test]
fn rules_refuse_types_and_shapes_where_they_were_seen_to() {
    use Chip::{M1, M4, M5};
    use Route::{E5rt, InMemory};
    let deep = constant(&[4, 4, 1, 1, 1], 1.0);
    expect(vec![
        (
            M4,
            InMemory,
            program(
                "tensor<int32, [1, 32]> x",
                "        tensor<int32, [1, 32]> y = add(x = x, y = x);",
                "y",
            ),
            Some(("ANE075", Kind::Invalid, "InvalidMILProgram")),
        ),
        (
            M4,
            InMemory,
            single(&format!("{ROW} y = nonsense(x = x);")),
            Some(("MIL014", Kind::Invalid, "InvalidMILProgram")),
        ),
        (
            M4,
            InMemory,
            single(&format!("{ROW} z = relu(x = x);")),
            Some(("MIL011", Kind::Invalid, "InvalidMILProgram")),
        ),
        (
            M4,
            InMemory,
            single("tensor<fp16, [1, 8, 1, 31]> y = relu(x = x);"),
            Some(("MIL032", Kind::Invalid, "InvalidMILProgram")),
        ),
        (
            M4,
            InMemory,
            program(
                "tensor<fp16, [1, ?, 1, 32]> x",
                "        tensor<fp16, [1, ?, 1, 32]> y = relu(x = x);",
                "y",
            ),
            Some(("ANE029", Kind::Compiler, "ANECCompile() FAILED")),
        ),
        (
            M4,
            InMemory,
            "program(1.3) { func main<ios18>(".to_owned(),
            Some(("MIL003", Kind::Invalid, "InvalidMILProgram")),
        ),
        (
            M1,
            E5rt,
            program(
                "tensor<fp16, [1, 1, 1, 20000]> x",
                "        tensor<fp16, [1, 1, 1, 20000]> y = relu(x = x);",
                "y",
            ),
            Some(("ANE025", Kind::Compiler, "ANECCompile() FAILED")),
        ),
        (
            M4,
            E5rt,
            program(
                "tensor<fp16, [1, 1, 1, 20000]> x",
                "        tensor<fp16, [1, 1, 1, 20000]> y = relu(x = x);",
                "y",
            ),
            None,
        ),
        (
            M5,
            E5rt,
            program(
                "tensor<fp16, [1, 4, 4, 4, 32]> x",
                &format!(
                    "{CONV}\n        tensor<fp16, [1, 4, 4, 4, 32]> y = conv(weight = {deep}, x = x);"
                ),
                "y",
            ),
            Some(("ANE070", Kind::Lowering, "CompilationFailure")),
        ),
        (M5, E5rt, computed(1), None),
        (M5, E5rt, computed(2), Some(("ANE020", Kind::Compiler, "ANECCompile() FAILED"))),
        (M4, InMemory, computed(2), None),
    ]);
}

/// `conv` of so many images with a weight that is an input: ANE020.
fn computed(batch: usize) -> String {
    let ty = format!("tensor<fp16, [{batch}, 8, 1, 32]>");
    let statement = conv(&ty, "y", "x", "w");
    let parameters = format!("tensor<fp16, [8, 8, 1, 1]> w, {ty} x");
    program(&parameters, &format!("{CONV}\n{statement}"), "y")
}

/// Messages name the program, the place, the rule, what is reported and what to do.
#[test]
fn a_refusal_says_everything() {
    let error =
        on(Chip::M4, Route::InMemory, &single(&format!("{ROW} y = gelu(x = x);"))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "test:5:41: ANE002: `gelu` lacks `mode` (\"_ANECompiler : ANECCompile() FAILED: err=()\"); give `mode`; EXACT is what Core ML means without it"
    );
}

/// Facts §6, column "Simulator": what sources contradict is refused where the catalogue says so, or where that is asked for.
#[test]
fn disputed_rules_are_refused_as_they_are_set() {
    let biased = program(
        &format!("{ROW} x"),
        &format!(
            "{CONV}
        tensor<fp16, [8, 8, 1, 1]> w = const()[name = string(\"w\"), val = {}];
        tensor<fp16, [8]> b = const()[name = string(\"b\"), val = {}];
        {ROW} y = conv(bias = b, dilations = dl, groups = gr, pad = pd, pad_type = pt, strides = st, weight = w, x = x);",
            constant(&[8, 8, 1, 1], 0.5),
            constant(&[8], 1.0),
        ),
        "y",
    );
    let concat = single(
        "tensor<fp16, [1, 16, 1, 32]> y = concat(axis = int32(1), interleave = bool(false), values = (x, x));",
    );
    for (disputed, route, with_bias, with_concat) in [
        (Disputed::Catalogue, Route::InMemory, Some("ANE015"), None),
        (Disputed::Accept, Route::InMemory, None, None),
        (Disputed::Refuse, Route::InMemory, Some("ANE015"), Some("ANE001")),
        (Disputed::Catalogue, Route::E5rt, None, None),
    ] {
        let target = Target { chip: Chip::M4Max, route };
        let device = Simulator::new(Settings { disputed, ..Settings::of(target) });
        for (text, expected) in [(&biased, with_bias), (&concat, with_concat)] {
            let found = compile(&device, text, &BlobFiles::default());
            assert_eq!(
                found.err().map(|error| error.rule().to_owned()).as_deref(),
                expected,
                "{disputed:?}"
            );
        }
    }
}

/// ANE039 on M5: such norms compile, and fail when they run.
#[test]
fn long_norms_fail_on_m5_when_they_run() {
    let ty = "tensor<fp16, [1, 1, 1, 10240]>";
    let text = program(
        &format!("{ty} x"),
        &format!(
            "        {ty} y = layer_norm(axes = tensor<int32, [1]>([-1]), epsilon = fp16(0.1), x = x);"
        ),
        "y",
    );
    let device = |chip| Simulator::new(settings(chip, Route::E5rt, Numerics::Exact));
    let loaded = Loaded::of(&device(Chip::M5), &text, &BlobFiles::default()).unwrap();
    let error = loaded.eval().unwrap_err();
    assert!(matches!(error, DeviceError::Inference(_)) && error.rule() == "ANE039", "{error}");
    Loaded::of(&device(Chip::M4), &text, &BlobFiles::default()).unwrap().eval().unwrap();
}

/// ANE048: 3.75 GB of constants do not load on M1 Ultra; the text alone says so, before any file is read.
#[test]
fn what_the_simulator_cannot_run_is_no_refusal_of_the_engine() {
    // The engine's own table of operations has this one, and the simulator has no meaning for it.
    let text = single(&format!(
        "{ROW} y = local_response_norm(alpha = fp16(1.0), beta = fp16(0.5), k = fp16(1.0), size = int32(3), x = x);"
    ));
    let error = on(Chip::M5, Route::E5rt, &text).unwrap_err();
    assert!(matches!(error, DeviceError::Unsupported(_)) && error.rule() == "MIL030", "{error}");
    assert!(error.detail().native.is_none(), "nobody claims that the engine says so");
}

fn layer() -> (String, Vec<u8>) {
    let statements =
        format!("{CONV}\n{}\n{}", weight("w", "[8, 8, 1, 1]", "w.bin"), conv(ROW, "y", "x", "w"));
    (program(&format!("{ROW} x"), &statements, "y"), halves(&[0.5; 64]))
}

#[test]
fn files_that_do_not_hold_what_the_text_says_are_refused() {
    let (text, whole) = layer();
    let fails = |text: &str, bytes: Option<Vec<u8>>| {
        let mut blobs = BlobFiles::new();
        if let Some(bytes) = bytes {
            blobs.insert("w.bin", bytes);
        }
        compile(&exact(), text, &blobs).unwrap_err()
    };
    let changed = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    for (text, bytes, wanted) in [
        (text.clone(), None, "no file `w.bin`"),
        (text.clone(), Some(whole[..100].to_vec()), "BLOB00"),
        (text.clone(), Some(Vec::new()), "BLOB001"),
        (
            text.replace("uint64(64)", "uint64(128)"),
            Some(whole.clone()),
            "64 bytes before the data",
        ),
        (text.clone(), Some(changed(64, 0)), "BLOB003"),
        (text.clone(), Some(changed(68, 2)), "numbers of fp32"),
        (
            text.replace("[8, 8, 1, 1]", "[16, 8, 1, 1]")
                .replace("[1, 8, 1, 32]> y", "[1, 16, 1, 32]> y"),
            Some(whole.clone()),
            "64 numbers",
        ),
    ] {
        let error = fails(&text, bytes);
        assert!(error.rule() == "MIL034" && error.to_string().contains(wanted), "{error}");
        assert_eq!(kind(&error), Some(Kind::Invalid));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever is done to a text and its file, there is an answer and no panic; what still compiles runs.
    #[test]
    fn damaged_texts_and_files_get_an_answer(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(), in_file in any::<bool>(),
    ) {
        let (mut text, mut file) = layer();
        if in_file {
            let at = at.index(file.len());
            if cut { file.truncate(at) } else { file[at] = byte }
        } else {
            let at = at.index(text.len());
            let mut bytes = text.into_bytes();
            if cut { bytes.truncate(at) } else { bytes[at] = byte & 0x7f }
            text = String::from_utf8(bytes).unwrap();
        }
        let mut blobs = BlobFiles::new();
        blobs.insert("w.bin", file);
        let device = exact();
        match Loaded::of(&device, &text, &blobs) {
            Ok(loaded) => loaded.eval().unwrap(),
            Err(error) => prop_assert!(!error.detail().reason.is_empty()),
        }
    }
}
