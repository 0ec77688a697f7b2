//! The simulated Neural Engine beside the CPU backend, on the shape of GPT-2 with 124 M parameters: 12 layers of 768 channels
//! and a head of 50,257, random weights. Each layer is a program, with its weights as 1×1 convolutions; the CPU runs the same
//! arithmetic as one program in f32.
//!
//! `cargo bench -p orion-runtime --bench simulator [fast|ane|exact …]`; `ORION_THREADS` sets the threads (default: all).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use half::f16;
use orion_compiler::mil::blob::{BlobType, BlobWriter};
use orion_compiler::target::{Chip, Route, Target};
use orion_compiler::{Builder, DType, TensorType, Value, verify};
use orion_runtime::cpu::Cpu;
use orion_runtime::neural_engine::simulator::{Numerics, Settings, Simulator};
use orion_runtime::neural_engine::{
    BlobFiles, CompiledProgram, Device, DeviceError, Port, ProgramSource, Request, Surface,
};
use orion_runtime::weights::{Arrangement, MemoryWeights, WeightSet, WeightSource};
use orion_runtime::{Backend, TensorView, TensorViewMut};

use layer::{Shape, head_text, layer_text};

#[path = "../tests/neural_engine/layer.rs"]
mod layer;

type Failure = Box<dyn std::error::Error>;

const LAYERS: usize = 12;
const WIDTH: usize = 768;
const HEADS: usize = 12;
const VOCABULARY: usize = 50_257;
/// Tokens that a decoded token looks back on.
const CONTEXT: usize = 128;
/// Columns of a decoding program, of which the first is the token.
const COLUMNS: usize = 16;

const fn shape(columns: usize) -> Shape {
    Shape { channels: WIDTH, heads: HEADS, inner: 4 * WIDTH, columns, context: CONTEXT }
}

fn main() -> Result<(), Failure> {
    let named: Vec<Numerics> =
        std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let all = if named.is_empty() { vec![Numerics::Fast, Numerics::Ane] } else { named };
    let threads = std::env::var("ORION_THREADS").ok().and_then(|value| value.parse().ok());
    let threads = threads.unwrap_or(0);
    let cpu = CpuModel::new(threads)?;
    let (decode, prefill) = (cpu.decode()?, cpu.prefill()?);
    show("cpu f32 decode", decode, decode);
    show("cpu f32 prefill of 128", prefill, prefill);
    drop(cpu);
    for numerics in all {
        let model = Engine::new(numerics, threads, COLUMNS)?;
        show(&format!("{numerics} decode, 16 columns that differ"), model.time(false)?, decode);
        show(
            &format!("{numerics} decode, one token and 15 empty columns"),
            model.time(true)?,
            decode,
        );
        drop(model);
        let model = Engine::new(numerics, threads, CONTEXT)?;
        show(&format!("{numerics} prefill of 128"), model.time(false)?, prefill);
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a benchmark's figures")]
fn show(what: &str, seconds: f64, reference: f64) {
    println!("{what:<46} {:8.2} ms  {:5.2} x", seconds * 1e3, reference / seconds);
}

/// The median time of several runs. With one thread it is the thread's own time where the system counts it, so that what else
/// runs on the machine disturbs it little.
fn median(threads: usize, mut run: impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
    run()?;
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < 5 || (begin.elapsed().as_secs_f64() < 3.0 && times.len() < 50) {
        let (start, own) = (Instant::now(), thread_seconds());
        run()?;
        let elapsed = start.elapsed().as_secs_f64();
        let own = own.zip(thread_seconds()).map(|(before, after)| after - before);
        times.push(own.filter(|_| threads == 1).unwrap_or(elapsed));
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Seconds that this thread has run, where Linux counts them.
fn thread_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds * 1e-9)
}

/// Numbers in −0.05 to 0.05.
fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * 0.05
    };
    (0..count).map(|_| next()).collect()
}

/// The model on the CPU.
struct CpuModel {
    executable: Arc<dyn orion_runtime::Executable>,
    decode: orion_runtime::ProgramId,
    prefill: orion_runtime::ProgramId,
    threads: usize,
}

impl CpuModel {
    fn new(threads: usize) -> Result<Self, Failure> {
        let mut stored = MemoryWeights::new("bench");
        for layer in 0..LAYERS {
            for (index, (name, rows, columns)) in shape(1).matrices().into_iter().enumerate() {
                let seed = (layer * 10 + index) as u64;
                let values = noise(rows * columns, seed);
                stored.insert_f32(format!("{layer}.{name}"), &[rows, columns], &values)?;
            }
        }
        stored.insert_f32("head", &[VOCABULARY, WIDTH], &noise(VOCABULARY * WIDTH, 999))?;
        stored.insert_f32("ones", &[WIDTH], &[1.0; WIDTH])?;
        stored.insert_f32("zeros", &[WIDTH], &[0.0; WIDTH])?;
        let source: Arc<dyn WeightSource> = Arc::new(stored);
        let mut weights = WeightSet::new(Arc::clone(&source));
        for entry in source.entries() {
            weights.bind(&entry.name, entry, Arrangement::AsStored, None);
        }
        let executable = Cpu::new(threads).load(Arc::new(weights))?;
        let decode = executable.add(&cpu_program(1)?)?;
        let prefill = executable.add(&cpu_program(CONTEXT)?)?;
        Ok(Self { executable, decode, prefill, threads })
    }

    fn decode(&self) -> Result<f64, Failure> {
        self.time(self.decode, 1, CONTEXT - 1)
    }

    fn prefill(&self) -> Result<f64, Failure> {
        self.time(self.prefill, CONTEXT, 0)
    }

    fn time(
        &self,
        program: orion_runtime::ProgramId,
        tokens: usize,
        position: usize,
    ) -> Result<f64, Failure> {
        let mut session = self.executable.session();
        let x = noise(tokens * WIDTH, 5);
        let position = [i32::try_from(position)?];
        let mut logits = vec![0.0; tokens * VOCABULARY];
        median(self.threads, || {
            let inputs = [TensorView::F32(&x), TensorView::I32(&position)];
            session.run(program, &inputs, &mut [TensorViewMut::F32(&mut logits)])?;
            Ok(())
        })
    }
}

fn cpu_program(
    tokens: usize,
) -> Result<orion_compiler::Verified<orion_compiler::Program>, Failure> {
    let b = Builder::new("gpt2");
    let f32_type = |shape: &[usize]| TensorType::new(DType::F32, shape);
    let mut x = b.input("x", f32_type(&[1, tokens, WIDTH]));
    let position = b.input("position", TensorType::scalar(DType::I32));
    let (ones, zeros) =
        (b.weight("ones", f32_type(&[WIDTH])), b.weight("zeros", f32_type(&[WIDTH])));
    for layer in 0..LAYERS {
        let linear = |name: &str, x: Value| {
            let (_, rows, columns) =
                shape(1).matrices().into_iter().find(|matrix| matrix.0 == name).unwrap_or_default();
            let weight = b.weight(format!("{layer}.{name}"), f32_type(&[rows, columns]));
            b.linear(x, weight, None)
        };
        let heads = |x: Value| b.reshape(x, &[1, tokens, HEADS, WIDTH / HEADS]);
        let normed = b.layer_norm(x, ones, zeros, 1e-5);
        let [q, k, v] = ["q", "k", "v"].map(|name| heads(linear(name, normed)));
        let append = |part: &str, x: Value| {
            let ty = f32_type(&[1, CONTEXT, HEADS, WIDTH / HEADS]);
            let state = b.state(format!("{layer}.{part}"), ty);
            let next = b.update_slice(state, x, position, 1);
            b.set_state(state, next);
            next
        };
        let (keys, values) = (append("keys", k), append("values", v));
        let mixed = b.attention([q, keys, values, position], 0.125, true);
        x = b.add(x, linear("o", b.reshape(mixed, &[1, tokens, WIDTH])));
        let hidden = linear("up", b.layer_norm(x, ones, zeros, 1e-5));
        x = b.add(x, linear("down", b.gelu(hidden, true)));
    }
    let x = b.layer_norm(x, ones, zeros, 1e-5);
    let head = b.weight("head", f32_type(&[VOCABULARY, WIDTH]));
    b.output("logits", b.linear(x, head, None));
    Ok(verify(b.finish()?)?)
}

/// The model on the simulated engine.
struct Engine {
    layers: Vec<Stage>,
    head: Stage,
    columns: usize,
    threads: usize,
}

/// A loaded program with its surfaces.
struct Stage {
    program: Box<dyn CompiledProgram>,
    inputs: BTreeMap<String, (Port, Surface)>,
    outputs: BTreeMap<String, (Port, Surface)>,
    request: Request,
}

impl Stage {
    fn new(
        device: &dyn Device,
        name: &str,
        text: &str,
        blobs: &BlobFiles,
    ) -> Result<Self, Failure> {
        let program = device.compile(&ProgramSource { name, text, blobs })?;
        program.load()?;
        let procedure = program.attributes()?.procedures.remove(0);
        let bind = |ports: Vec<Port>| -> Result<BTreeMap<String, (Port, Surface)>, DeviceError> {
            let bound = ports.into_iter().map(|port| {
                let surface = device.surface(port.bytes)?;
                Ok((port.name.clone(), (port, surface)))
            });
            bound.collect()
        };
        let (inputs, outputs) = (bind(procedure.inputs)?, bind(procedure.outputs)?);
        let mut stage = Self { program, inputs, outputs, request: Request::default() };
        stage.bind();
        Ok(stage)
    }

    fn bind(&mut self) {
        let pairs = |side: &BTreeMap<String, (Port, Surface)>| {
            side.values().map(|(port, surface)| (port.symbol, surface.clone())).collect()
        };
        self.request.inputs = pairs(&self.inputs);
        self.request.outputs = pairs(&self.outputs);
    }

    fn write(&self, name: &str, x: &[f32]) -> Result<(), Failure> {
        let (port, surface) = self.inputs.get(name).ok_or("no such input")?;
        Ok(surface.write_f32(port, x)?)
    }
}

impl Engine {
    fn new(numerics: Numerics, threads: usize, columns: usize) -> Result<Self, Failure> {
        let target = Target { chip: Chip::M4, route: Route::InMemory };
        let device = Simulator::new(Settings { numerics, threads, ..Settings::of(target) });
        let text = layer_text(shape(columns));
        let mut layers: Vec<Stage> = Vec::new();
        for layer in 0..LAYERS {
            let mut blobs = BlobFiles::new();
            for (index, (name, rows, columns)) in shape(1).matrices().into_iter().enumerate() {
                blobs.insert(
                    format!("{name}.bin"),
                    halves(&noise(rows * columns, (layer * 10 + index) as u64)),
                );
            }
            let mut stage = Stage::new(&device, &format!("layer {layer}"), &text, &blobs)?;
            // What a layer gives is what the next one takes, in the same surface.
            if let Some(before) = layers.last()
                && let (Some((_, from)), Some((_, to))) =
                    (before.outputs.get("out"), stage.inputs.get_mut("x"))
            {
                *to = from.clone();
                stage.bind();
            }
            layers.push(stage);
        }
        let mut blobs = BlobFiles::new();
        blobs.insert("head.bin", halves(&noise(VOCABULARY * WIDTH, 999)));
        let mut head = Stage::new(&device, "head", &head_text(shape(columns), VOCABULARY), &blobs)?;
        if let (Some((_, from)), Some((_, to))) =
            (layers[LAYERS - 1].outputs.get("out"), head.inputs.get_mut("x"))
        {
            *to = from.clone();
            head.bind();
        }
        let engine = Self { layers, head, columns, threads };
        for (index, stage) in engine.layers.iter().enumerate() {
            stage.write("mask", &vec![0.0; columns * CONTEXT])?;
            for (name, seed) in [("keys", 1), ("values", 2)] {
                let elements = stage.inputs.get(name).map_or(0, |(port, _)| port.elements());
                stage.write(name, &noise(elements, seed + index as u64))?;
            }
        }
        Ok(engine)
    }

    fn time(&self, is_padded: bool) -> Result<f64, Failure> {
        let mut x = noise(WIDTH * self.columns, 5);
        if is_padded {
            x.chunks_mut(self.columns).for_each(|row| row[1..].fill(0.0));
        }
        let (port, surface) = self.head.outputs.get("logits").ok_or("no logits")?;
        let mut logits = vec![0.0; VOCABULARY];
        let mut fresh = vec![f16::ZERO; WIDTH];
        let seconds = median(self.threads, || {
            self.layers[0].write("x", &x)?;
            for stage in &self.layers {
                stage.program.eval(&stage.request)?;
                // The token's keys and values go into the cache.
                for (made, cache) in [("k", "keys"), ("v", "values")] {
                    let (from, made) = stage.outputs.get(made).ok_or("no key")?;
                    let (to, cache) = stage.inputs.get(cache).ok_or("no cache")?;
                    made.read_region_f16(from, &from.columns(0..1), &mut fresh)?;
                    cache.write_region_f16(to, &to.columns(CONTEXT - 1..CONTEXT), &fresh)?;
                }
            }
            self.head.program.eval(&self.head.request)?;
            surface.read_region_f32(port, &port.columns(0..1), &mut logits)?;
            Ok(())
        })?;
        if logits.iter().any(|x| !x.is_finite()) || logits.iter().all(|&x| x == 0.0) {
            return Err("the logits are no numbers".into());
        }
        Ok(seconds)
    }
}

fn halves(values: &[f32]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
    let mut writer = BlobWriter::default();
    writer.push(BlobType::F16, values.len(), &bytes);
    writer.finish()
}
