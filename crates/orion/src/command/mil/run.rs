//! `orion mil run`: what a program computes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use orion_compiler::interpret::Arguments;
use orion_compiler::mil::raise;
use orion_compiler::mil::raise::{Files, Raised};
use orion_compiler::mil::syntax::{Document, Value, unquote};
use orion_compiler::{DType, Precision, Tensor, TensorType, interpret, verify};
use orion_kernels::memory::MappedFile;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use super::{Source, write_file};
use crate::failure::Failure;
use crate::{npy, output};

/// Compute what a program computes, by the meaning of its operations
///
/// The interpreter is slow and obvious: it says what is right, not how an engine rounds. Constants in files are looked for
/// beside the text: `@model_path` is its folder.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// MIL text
    file: PathBuf,
    /// An input as a NumPy array, name=FILE.npy
    #[arg(long, short, value_name = "NAME=FILE", value_parser = pair)]
    input: Vec<(String, PathBuf)>,
    /// Fill inputs that are not given with random numbers of this seed, whole ones with zeros
    #[arg(long, value_name = "SEED")]
    random: Option<u64>,
    /// Folder that @model_path stands for, if not that of the text
    #[arg(long, value_name = "FOLDER")]
    weights: Option<PathBuf>,
    /// Function to run; the first, if none is named
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// Write each result to FOLDER/NAME.npy
    #[arg(long, short, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

fn pair(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("write NAME=FILE.npy")?;
    Ok((name.to_owned(), PathBuf::from(path)))
}

/// Files of constants that a text names.
struct Mapped(BTreeMap<String, MappedFile>);

impl Files for Mapped {
    fn bytes(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path).map(MappedFile::bytes)
    }
}

impl Run {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let source = Source::read(&self.file)?;
        let document = source.sound()?;
        let function = document.functions.iter();
        let mut function =
            function.filter(|f| self.function.as_ref().is_none_or(|name| name == f.name.text));
        let function = function.next().ok_or_else(|| {
            let name = self.function.as_deref().unwrap_or("main");
            Failure::Failed(format!("{}: there is no function `{name}`", source.name))
        })?;
        let files = self.files(&document);
        let refuse = |diagnostic| source.refuse(&source.diagnostics(vec![diagnostic]));
        let raised = raise(function, &files).map_err(refuse)?;
        let arguments = self.arguments(&raised, &files).map_err(|error| match error {
            Failure::Failed(message) => Failure::Failed(format!("{}: {message}", source.name)),
            other => other,
        })?;
        let names: Vec<String> =
            raised.program.outputs().iter().map(|output| output.name.clone()).collect();
        let program = verify(raised.program).map_err(Failure::failed)?;
        let results =
            interpret(&program, &arguments, Precision::Declared).map_err(Failure::failed)?;
        for (name, tensor) in names.iter().zip(&results.outputs) {
            output::write_line(&summary(name, tensor))?;
            if let Some(folder) = &self.out {
                std::fs::create_dir_all(folder)
                    .map_err(|error| Failure::Failed(format!("{}: {error}", folder.display())))?;
                write_file(&folder.join(format!("{name}.npy")), &npy::write(tensor))?;
            }
        }
        Ok(())
    }

    /// The files that the text names, as far as they are there: what is missing is told where it is read.
    fn files(&self, document: &Document<'_>) -> Mapped {
        let folder =
            self.weights.as_deref().or_else(|| self.file.parent()).unwrap_or(Path::new("."));
        let mut files = BTreeMap::new();
        for function in &document.functions {
            for statement in &function.statements {
                for argument in statement.arguments.iter().chain(&statement.attributes) {
                    let Value::Call(_, arguments) = argument.value.bare() else { continue };
                    let path = arguments.iter().find(|argument| argument.name.text == "path");
                    let Some(Value::String(word)) = path.map(|path| path.value.bare()) else {
                        continue;
                    };
                    let path = unquote(word.text);
                    let place = folder.join(path.strip_prefix("@model_path/").unwrap_or(&path));
                    if !files.contains_key(&path)
                        && let Ok(file) = MappedFile::open(&place)
                    {
                        files.insert(path, file);
                    }
                }
            }
        }
        Mapped(files)
    }

    fn arguments(&self, raised: &Raised, files: &Mapped) -> Result<Arguments, Failure> {
        let program = &raised.program;
        let known = |name: &str| program.inputs().iter().any(|input| input.name == name);
        if let Some((name, _)) = self.input.iter().find(|(name, _)| !known(name)) {
            let names: Vec<&str> =
                program.inputs().iter().map(|input| input.name.as_str()).collect();
            return Err(Failure::Failed(format!(
                "there is no input `{name}`; there are {}",
                names.join(", ")
            )));
        }
        let mut arguments = Arguments::default();
        let mut random = Xoshiro256PlusPlus::seed_from_u64(self.random.unwrap_or_default());
        for input in program.inputs() {
            let ty = program.type_of(input.value);
            let given = self.input.iter().find(|(name, _)| *name == input.name);
            arguments.inputs.push(match given {
                Some((_, path)) => {
                    let bytes = std::fs::read(path).map_err(|error| format!("{error}"));
                    let tensor = bytes.and_then(|bytes| npy::read(&bytes, ty));
                    tensor
                        .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?
                }
                None if self.random.is_some() => noise(ty, &mut random),
                None => {
                    let message = format!(
                        "the input `{}` is missing; give --input {0}=FILE.npy, or --random 1",
                        input.name
                    );
                    return Err(Failure::Failed(message));
                }
            });
        }
        for (weight, place) in program.weights().iter().zip(&raised.weights) {
            let tensor = place.read(program.type_of(weight.value), files);
            let tensor = tensor.map_err(|finding| {
                Failure::Failed(format!("`{}`: {}", weight.name, finding.message))
            })?;
            arguments.weights.push(tensor);
        }
        let states = program.states().iter();
        arguments.states =
            states.map(|state| Tensor::zeros(program.type_of(state.value))).collect();
        Ok(arguments)
    }
}

/// Numbers between −1 and 1.
fn noise(ty: &TensorType, random: &mut Xoshiro256PlusPlus) -> Tensor {
    match ty.dtype {
        DType::I32 | DType::Bool => Tensor::zeros(ty),
        _ => {
            let number = |_| f64::from(random.next_u32()) / f64::from(u32::MAX) * 2.0 - 1.0;
            Tensor::real(ty.clone(), (0..ty.elements()).map(number).collect()).rounded()
        }
    }
}

fn summary(name: &str, tensor: &Tensor) -> String {
    const SHOWN: usize = 6;
    let numbers: Vec<f64> = match tensor.ty().dtype {
        DType::I32 => tensor.ints().iter().map(|&x| f64::from(x)).collect(),
        DType::Bool => tensor.bools().iter().map(|&x| f64::from(u8::from(x))).collect(),
        _ => tensor.reals().to_vec(),
    };
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mean = numbers.iter().sum::<f64>() / numbers.len().max(1) as f64;
    let first: Vec<String> = numbers.iter().take(SHOWN).map(|x| format!("{x:.6}")).collect();
    let more = if numbers.len() > SHOWN { ", …" } else { "" };
    format!(
        "{name}: {}, {low:.6} to {high:.6}, mean {mean:.6}\n  [{}{more}]",
        tensor.ty(),
        first.join(", ")
    )
}
