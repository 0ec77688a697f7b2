//! Texts of other origin, from the folder that `ORION_MIL_CORPUS` names: what the rules let pass is run, and compared with the
//! interpreter where that is quick. Files of constants are made up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::f16;
use orion_compiler::interpret::Arguments;
use orion_compiler::mil::blob::BlobType;
use orion_compiler::mil::syntax::{Document, Value};
use orion_compiler::mil::{self, raise};
use orion_compiler::target::{Chip, Route};
use orion_compiler::{DType, Precision, Tensor, interpret, verify};
use orion_runtime::neural_engine::simulator::{Disputed, Numerics, Settings, Simulator};
use orion_runtime::neural_engine::{BlobFiles, DeviceError};

use crate::fixture::{Loaded, noise, settings};

/// Arithmetic up to which the interpreter is quick.
const MOST_FLOPS: u64 = 20_000_000;

/// Files with numbers at all places that a text names.
fn files(document: &Document<'_>) -> BTreeMap<String, Vec<u8>> {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for function in &document.functions {
        for statement in &function.statements {
            for argument in statement.arguments.iter().chain(&statement.attributes) {
                let Some((path, offset)) = raise::constant_place(&argument.value) else { continue };
                let Value::Typed(typed) = &argument.value else { continue };
                let Some((element, _)) = typed.ty.tensor() else { continue };
                let Some(ty) = BlobType::of_name(element.text) else { continue };
                let Ok(count) = raise::value_type(&typed.ty).map(|ty| ty.elements()) else {
                    continue;
                };
                let (Ok(start), Some(bytes)) = (usize::try_from(offset), ty.bytes_of(count)) else {
                    continue;
                };
                let file = files.entry(path).or_default();
                if file.len() < start + 64 + bytes {
                    file.resize(start + 64 + bytes, 0);
                }
                file[4..8].copy_from_slice(&2_u32.to_le_bytes());
                let longs = [bytes as u64, (start + 64) as u64];
                file[start..start + 8]
                    .copy_from_slice(&[0xef, 0xbe, 0xad, 0xde, ty as u8, 0, 0, 0]);
                for (at, long) in longs.iter().enumerate() {
                    file[start + 8 + 8 * at..start + 16 + 8 * at]
                        .copy_from_slice(&long.to_le_bytes());
                }
                // The same few numbers again and again: files are large.
                let few = noise(count.min(4093), offset + 1);
                let numbers = few.iter().cycle();
                let data = &mut file[start + 64..start + 64 + bytes];
                match ty {
                    BlobType::F16 => data.chunks_exact_mut(2).zip(numbers).for_each(|(to, x)| {
                        to.copy_from_slice(&f16::from_f32(x / 8.0).to_le_bytes())
                    }),
                    BlobType::F32 => data
                        .chunks_exact_mut(4)
                        .zip(numbers)
                        .for_each(|(to, x)| to.copy_from_slice(&(x / 8.0).to_le_bytes())),
                    _ => data
                        .iter_mut()
                        .zip(numbers)
                        .for_each(|(to, x)| *to = ((x * 50.0) as i8).cast_unsigned()),
                }
            }
        }
    }
    files
}

/// The largest difference from the interpreter, as a share of the largest result.
fn difference(
    document: &Document<'_>,
    files: &BTreeMap<String, Vec<u8>>,
    loaded: &Loaded,
) -> Option<f64> {
    let raised = raise::raise(&document.functions[0], files).ok()?;
    let mut arguments = Arguments::default();
    for (weight, source) in raised.program.weights().iter().zip(&raised.weights) {
        arguments.weights.push(source.read(raised.program.type_of(weight.value), files).ok()?);
    }
    for (index, input) in raised.program.inputs().iter().enumerate() {
        let ty = raised.program.type_of(input.value);
        let numbers = noise(ty.elements(), index as u64 + 7);
        loaded.write(&input.name, &numbers);
        arguments.inputs.push(match ty.dtype {
            DType::F16 | DType::F32 => {
                Tensor::real(ty.clone(), numbers.iter().map(|&x| f64::from(x)).collect())
            }
            _ => return None,
        });
    }
    let names: Vec<String> =
        raised.program.outputs().iter().map(|output| output.name.clone()).collect();
    let program = verify(raised.program).ok()?;
    let expected = interpret(&program, &arguments, Precision::Declared).ok()?;
    loaded.eval().unwrap();
    let mut most = 0.0_f64;
    for (name, expected) in names.iter().zip(&expected.outputs) {
        let size = expected.reals().iter().fold(1e-3, |most: f64, x| most.max(x.abs()));
        for (found, expected) in loaded.read(name).iter().zip(expected.reals()) {
            if found.is_finite() || expected.is_finite() {
                most = most.max((f64::from(*found) - expected).abs() / size);
            }
        }
    }
    Some(most)
}

fn texts(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(texts(&path));
        } else if path.extension().is_some_and(|extension| extension == "mil") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn texts_of_other_origin_are_run_or_refused_with_a_rule() {
    let Some(folder) = std::env::var_os("ORION_MIL_CORPUS") else {
        println!("skipped: ORION_MIL_CORPUS is not set");
        return;
    };
    let (mut ran, mut compared, mut refused) = (0, 0, BTreeMap::<String, usize>::new());
    let paths = texts(Path::new(&folder));
    for path in &paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let Ok(text) = std::fs::read_to_string(path) else { continue };
        let Ok(document) = mil::parse(&text) else { continue };
        let files = files(&document);
        let mut blobs = BlobFiles::new();
        files.iter().for_each(|(path, bytes)| blobs.insert(path.clone(), bytes.clone()));
        let device = Simulator::new(Settings {
            disputed: Disputed::Accept,
            ..settings(Chip::M4, Route::InMemory, Numerics::Exact)
        });
        match Loaded::of(&device, &text, &blobs) {
            Ok(loaded) => {
                let flops: u64 = mil::stat(&document).iter().map(|stat| stat.flops).sum();
                let numbers: usize =
                    loaded.inputs.iter().map(orion_runtime::neural_engine::Port::elements).sum();
                if flops <= MOST_FLOPS && numbers <= 2_000_000 {
                    if let Some(difference) = difference(&document, &files, &loaded) {
                        assert!(difference < 4e-3, "{name}: {difference}");
                        compared += 1;
                    }
                } else if flops <= 10 * MOST_FLOPS {
                    loaded.eval().unwrap();
                }
                ran += 1;
            }
            // Surfaces of the other runtime, and what the graph has no meaning for.
            Err(DeviceError::Unsupported(_)) => {
                *refused.entry(format!("no meaning: {name}")).or_default() += 1
            }
            Err(error) => *refused.entry(error.rule().to_owned()).or_default() += 1,
        }
    }
    println!(
        "{ran} of {} texts ran, {compared} of them compared; refused by {refused:?}",
        paths.len()
    );
    assert!(ran >= 70 && compared >= 12, "{ran} ran, {compared} compared");
}
