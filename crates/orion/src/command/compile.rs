//! `orion compile`: a model as programs for the Neural Engine.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use orion_compiler::analysis::working_set::working_set;
use orion_compiler::engine::{Options, WeightForm};
use orion_compiler::mil;
use orion_compiler::mil::lower::{Content, Lowered, Storage, lower_stored};
use orion_compiler::mil::package::{FOLDER, package};
use orion_compiler::partition::{Cut, Expression, Partition, Piece, Port, Side};
use orion_compiler::target::{Chip, Route, Target};
use orion_compiler::verify;
use orion_llm::Checkpoint;
use orion_llm::block::Adapter;
use orion_llm::engine::{ProgramRequest, Stage, programs};
use orion_runtime::expression::evaluate;
use orion_runtime::neural_engine::constant_file;
use orion_runtime::weights::WeightSet;
use serde_json::{Value as Json, json};

use super::engine::cut;
use crate::default_model;
use crate::failure::Failure;
use crate::interrupt;
use crate::output;

/// Write a model as programs for the Neural Engine
///
/// The model's definition is laid out for the engine, cut into programs, and written as MIL with the constants that each
/// program reads. A manifest says in which order programs run and what they hand to each other. The folder appears whole or
/// not at all.
#[derive(Debug, Args)]
pub(crate) struct Compile {
    /// Model: a GGUF, safetensors or llama2.c file, or a Hugging Face folder [default: the built-in story model]
    #[arg(long, short, value_name = "PATH")]
    model: Option<PathBuf>,
    /// Folder to write; it must not be there yet
    #[arg(long, short, value_name = "FOLDER")]
    out: PathBuf,
    /// What is written for each program
    #[arg(long, value_enum, default_value_t = Emit::Mil)]
    emit: Emit,
    /// Chip that the programs are for
    #[arg(long, value_name = "CHIP", default_value_t = Chip::default())]
    target: Chip,
    /// How programs come to the engine: in-memory or e5rt
    #[arg(long, value_name = "ROUTE", default_value_t = Route::default())]
    route: Route,
    /// What the programs do
    #[arg(long = "for", value_enum, value_delimiter = ',', default_values_t = [Purpose::Prefill, Purpose::Decode])]
    purposes: Vec<Purpose>,
    /// Tokens that are read at once, and of a training sequence
    #[arg(long, default_value_t = 128, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    tokens: u32,
    /// Sequences of a training batch
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Tokens that a decode program computes, of which one is wanted [default: 16 in-memory, for whole rows; 1 on e5rt]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    decode_tokens: Option<u32>,
    /// Tokens that the key-value cache holds; rows are whole where it is a multiple of 32
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    context: u32,
    /// Where programs begin and end: blocks, parts, layers, layers=N or whole
    #[arg(long, default_value = "parts", value_parser = cut)]
    cut: Cut,
    /// What weights are: constants of the programs, or inputs that can change
    #[arg(long, value_enum, default_value_t = WeightChoice::Constants)]
    weights: WeightChoice,
    /// How weights that are constants are stored: f16, int8, lut4 or lut6
    #[arg(long, value_name = "STORAGE", default_value_t = Storage::default())]
    storage: Storage,
    /// Adds low-rank adapters of this rank to the attention's projections, as inputs
    #[arg(long, value_name = "RANK", value_parser = clap::value_parser!(u32).range(1..=4096))]
    lora: Option<u32>,
    /// Gives probabilities instead of logits
    #[arg(long)]
    probabilities: bool,
    /// Keeps squares in norms within f16, at the price of a few operations
    #[arg(long)]
    ranged_norms: bool,
    /// Pads all results of a program to one size, which some have found necessary (ANE005)
    #[arg(long)]
    uniform_outputs: bool,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Emit {
    /// MIL text beside its constants.
    Mil,
    /// The graph of every piece, the host's too.
    Ir,
    /// A package that Core ML and coremltools read.
    Mlpackage,
}

/// What programs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Purpose {
    /// Read a text at once.
    Prefill,
    /// Read or write tokens behind a key-value cache.
    Decode,
    /// Give the loss of a batch and its gradients.
    Training,
}

/// What weights are to the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WeightChoice {
    Constants,
    Inputs,
}

/// Layers with an adapter.
const ADAPTED: [&str; 5] = ["q_proj", "k_proj", "v_proj", "o_proj", "c_attn"];

impl Compile {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if self.out.exists() {
            let message =
                format!("{} is there already; remove it or choose another", self.out.display());
            return Err(Failure::Failed(message));
        }
        interrupt::watch()?;
        let name = default_model::name(self.model.as_deref()).display().to_string();
        let checkpoint = default_model::open(self.model.as_deref(), None)?;
        let parent =
            self.out.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = tempfile::Builder::new()
            .prefix(".compile")
            .tempdir_in(parent)
            .map_err(|error| Failure::Failed(format!("{}: {error}", parent.display())))?;
        let mut stages = Vec::new();
        for &purpose in &self.purposes {
            stages.push(self.stage(purpose, &checkpoint, folder.path())?);
        }
        let manifest = json!({
            "model": name,
            "chip": self.target.name(),
            "route": self.route.name(),
            "stages": stages,
        });
        let text = serde_json::to_string_pretty(&manifest).map_err(Failure::failed)? + "\n";
        write(&folder.path().join("manifest.json"), text.as_bytes())?;
        let place = folder.keep();
        fs::rename(&place, &self.out).map_err(|error| {
            // What could not get to its place is of no use.
            let _ = fs::remove_dir_all(&place);
            Failure::Failed(format!("{}: {error}", self.out.display()))
        })
    }

    fn stage(
        &self,
        purpose: Purpose,
        checkpoint: &Checkpoint,
        folder: &Path,
    ) -> Result<Json, Failure> {
        let default_width = if self.route == Route::E5rt { 1 } else { 16 };
        let stage = match purpose {
            Purpose::Prefill => Stage::Prefill { tokens: self.tokens as usize },
            Purpose::Decode => Stage::Decode {
                tokens: self.decode_tokens.unwrap_or(default_width) as usize,
                context: self.context as usize,
            },
            Purpose::Training => {
                Stage::Training { batch: self.batch as usize, tokens: self.tokens as usize }
            }
        };
        let weights = match (self.weights, self.lora) {
            (WeightChoice::Inputs, _) => WeightForm::Inputs,
            (WeightChoice::Constants, Some(_)) => WeightForm::AdaptersAsInputs,
            (WeightChoice::Constants, None) => WeightForm::Constants,
        };
        let adapter =
            self.lora.map(|rank| Adapter { rank: rank as usize, scale: 1.0, targets: &ADAPTED });
        let request = ProgramRequest {
            stage,
            cut: self.cut,
            options: Options {
                weights,
                ranged_norms: self.ranged_norms,
                uniform_outputs: self.uniform_outputs,
                ..Options::default()
            },
            target: Target { chip: self.target, route: self.route },
            adapter,
            probabilities: self.probabilities,
        };
        let pieces =
            programs(&*checkpoint.model, &checkpoint.weights, &request).map_err(Failure::failed)?;
        let name = match purpose {
            Purpose::Prefill => "prefill",
            Purpose::Decode => "decode",
            Purpose::Training => "training",
        };
        let writing = Writing {
            emit: self.emit,
            target: Target { chip: self.target, route: self.route },
            storage: self.storage,
            partition: &pieces.partition,
            shared: pieces.partition.shared(),
            weights: &checkpoint.weights,
            folder: folder.join(name),
            names: BTreeMap::new(),
            taken: BTreeMap::new(),
            bytes: 0,
        };
        writing.run(name)
    }
}

struct Writing<'a> {
    emit: Emit,
    target: Target,
    storage: Storage,
    partition: &'a Partition,
    shared: Vec<usize>,
    weights: &'a WeightSet,
    folder: PathBuf,
    /// What was written for each piece.
    names: BTreeMap<usize, String>,
    taken: BTreeMap<String, usize>,
    bytes: usize,
}

impl Writing<'_> {
    fn run(mut self, stage: &str) -> Result<Json, Failure> {
        fs::create_dir_all(&self.folder).map_err(|error| failed(&self.folder, &error))?;
        let mut list = Vec::new();
        for index in 0..self.partition.pieces.len() {
            let piece = &self.partition.pieces[index];
            let place = self.piece(index, piece)?;
            list.push(self.entry(index, piece, place.as_deref()));
        }
        let engine = self.partition.engine().count();
        let distinct: Vec<&usize> = self
            .shared
            .iter()
            .filter(|&&at| self.partition.pieces[at].side == Side::Engine)
            .collect();
        let mut distinct: Vec<usize> = distinct.into_iter().copied().collect();
        distinct.sort_unstable();
        distinct.dedup();
        output::write_line(&format!(
            "{stage}: {engine} dispatches of {} different programs, {} of constants",
            distinct.len(),
            output::bytes(self.bytes as u64)
        ))?;
        Ok(json!({ "name": stage, "pieces": list }))
    }

    /// Where a piece's program is written; one without constants of its own is written once.
    fn piece(&mut self, index: usize, piece: &Piece) -> Result<Option<String>, Failure> {
        let first = self.shared[index];
        let same_constants = |other: &Piece| {
            let texts = |piece: &Piece| -> Vec<String> {
                let own = piece.weights.iter().filter(|weight| is_constant(piece, &weight.name));
                own.map(|weight| weight.program.to_string()).collect()
            };
            texts(other) == texts(piece)
        };
        if let (Some(known), Some(other)) =
            (self.names.get(&first), self.partition.pieces.get(first))
            && same_constants(other)
        {
            return Ok(Some(known.clone()));
        }
        if self.emit != Emit::Ir && piece.side == Side::Host {
            return Ok(None);
        }
        let reads_model = piece
            .weights
            .iter()
            .any(|weight| is_constant(piece, &weight.name) && !weight.program.weights().is_empty());
        let stem = if !reads_model && self.emit != Emit::Ir {
            piece.program.name.clone()
        } else {
            piece.label.replace(' ', "_")
        };
        let count = self.taken.entry(stem.clone()).or_default();
        *count += 1;
        let name = if *count == 1 { stem } else { format!("{stem}_{count}") };
        let name = match self.emit {
            Emit::Ir => {
                write(
                    &self.folder.join(format!("{name}.oir")),
                    piece.program.to_string().as_bytes(),
                )?;
                format!("{name}.oir")
            }
            Emit::Mil => {
                self.mil(piece, &self.folder.join(&name))?;
                name
            }
            Emit::Mlpackage => {
                let name = format!("{name}.mlpackage");
                self.package(piece, &self.folder.join(&name))?;
                name
            }
        };
        self.names.entry(index).or_insert_with(|| name.clone());
        Ok(Some(name))
    }

    fn lower(&self, piece: &Piece) -> Result<Lowered, Failure> {
        let program = verify(piece.program.clone()).map_err(Failure::failed)?;
        lower_stored(&program, self.target, self.storage).map_err(|diagnostic| {
            Failure::Failed(format!(
                "{} for {}: {}: {}",
                piece.label, self.target, diagnostic.code, diagnostic.message
            ))
        })
    }

    fn mil(&mut self, piece: &Piece, folder: &Path) -> Result<(), Failure> {
        let lowered = self.lower(piece)?;
        fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
        write(&folder.join("model.mil"), lowered.text.as_bytes())?;
        self.constants(piece, &lowered, folder)
    }

    fn package(&mut self, piece: &Piece, folder: &Path) -> Result<(), Failure> {
        let lowered = self.lower(piece)?;
        let document = mil::parse(&lowered.text).map_err(Failure::failed)?;
        let package = package(&document)
            .map_err(|error| Failure::Failed(format!("{}: {error}", piece.label)))?;
        for (name, bytes) in &package.files {
            let path = folder.join(name);
            if let Some(above) = path.parent() {
                fs::create_dir_all(above).map_err(|error| failed(above, &error))?;
            }
            write(&path, bytes)?;
        }
        self.constants(piece, &lowered, &folder.join(FOLDER))
    }

    fn constants(
        &mut self,
        piece: &Piece,
        lowered: &Lowered,
        folder: &Path,
    ) -> Result<(), Failure> {
        for constant in &lowered.constants {
            // What was written so far goes with its temporary folder.
            interrupt::stopped_before("the folder was whole")?;
            let numbers: Vec<f32> = match &constant.content {
                Content::Literal(tensor) => tensor.to_f32(),
                Content::Weight(name) => {
                    let expression = piece.weights.iter().find(|found| found.name == *name);
                    let program = expression.map(|found| &found.program).ok_or_else(|| {
                        Failure::Failed(format!("{}: nothing computes `{name}`", piece.label))
                    })?;
                    evaluate(program, &|name, ty| self.weights.read(name, ty).map(Cow::Owned))?
                }
            };
            let rows = constant.ty.shape.first().copied().unwrap_or(1);
            let bytes = constant_file(&numbers, rows, constant.part);
            self.bytes += bytes.len();
            let name = constant.path.strip_prefix("@model_path/").unwrap_or(&constant.path);
            let path = folder.join(name);
            if let Some(above) = path.parent() {
                fs::create_dir_all(above).map_err(|error| failed(above, &error))?;
            }
            write(&path, &bytes)?;
        }
        Ok(())
    }

    fn entry(&self, index: usize, piece: &Piece, place: Option<&str>) -> Json {
        let side = match piece.side {
            Side::Host => "host",
            Side::Engine => "engine",
        };
        // What a weight of the program is made of, and how, as the graph's text.
        let weight = |weight: &Expression| {
            let of: Vec<&String> =
                weight.program.weights().iter().map(|weight| &weight.name).collect();
            json!({ "name": weight.name, "of": of, "expression": weight.program.to_string() })
        };
        let ports = |ports: &[Port]| -> Vec<Json> {
            ports.iter().map(|port| json!([port.name, port.value.index()])).collect()
        };
        let engine = piece.side == Side::Engine;
        json!({
            "label": piece.label,
            "working_set_bytes": engine.then(|| working_set(&piece.program).peak),
            "side": side,
            "program": place,
            "same_text_as": (self.shared[index] != index).then(|| self.shared[index]),
            "inputs": ports(&piece.inputs),
            "outputs": ports(&piece.outputs),
            "weights": piece.weights.iter().map(weight).collect::<Vec<_>>(),
        })
    }
}

/// Whether a weight of a piece is a constant of its program, not an input.
fn is_constant(piece: &Piece, name: &str) -> bool {
    piece.program.weights().iter().any(|weight| weight.name == name)
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("{}: {error}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = fs::write(path, bytes).and_then(|()| fs::File::open(path)?.sync_all());
    written.map_err(|error| failed(path, &error))
}
