//! Devices that behave otherwise than the simulator does: what a self-test has to find out.

use std::sync::atomic::{AtomicU64, Ordering};

use orion_compiler::target::Target;
use orion_runtime::neural_engine::simulator::Simulator;
use orion_runtime::neural_engine::{
    Attributes, BlobFiles, CompiledProgram, Counters, Description, Detail, Device, DeviceError,
    Evaluation, Port, ProgramSource, Request, Surface,
};

use crate::fixture::program;

/// What is otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Alteration {
    /// Nothing.
    None,
    /// Every text is taken for `y = x`.
    Credulous,
    /// No compilation is ever answered.
    Silent,
    /// Results, after they were computed.
    Results(fn(&Port, &mut [f32])),
    /// The offset 128 means what 64 does.
    Offsets,
    /// Operands are bound by their place in the request, whatever their symbols.
    Places,
    /// Symbols are published in the order of the alphabet backwards.
    Backwards,
    /// Surfaces have at least 64 KiB.
    Room,
}

/// The simulator, but for one thing.
#[derive(Debug)]
pub(crate) struct Altered {
    inner: Simulator,
    description: Description,
    alteration: Alteration,
    asked: AtomicU64,
}

impl Altered {
    pub(crate) fn new(inner: Simulator, alteration: Alteration) -> Self {
        let description = inner.description().clone();
        Self { inner, description, alteration, asked: AtomicU64::new(0) }
    }

    /// The simulator of one target under the name of another.
    pub(crate) fn named(inner: Simulator, target: Target) -> Self {
        let description = Description { target, ..inner.description().clone() };
        Self { inner, description, alteration: Alteration::None, asked: AtomicU64::new(0) }
    }
}

impl Device for Altered {
    fn description(&self) -> &Description {
        &self.description
    }

    fn compile(&self, source: &ProgramSource<'_>) -> Result<Box<dyn CompiledProgram>, DeviceError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let ProgramSource { name, text, blobs } = *source;
        let inner = match self.alteration {
            Alteration::Silent => {
                return Err(DeviceError::Timeout(Box::new(Detail {
                    program: name.to_owned(),
                    place: None,
                    rule: "RUN036".to_owned(),
                    reason: "no answer".to_owned(),
                    native: None,
                    remedy: String::new(),
                })));
            }
            Alteration::Credulous => {
                let ty = "tensor<fp16, [1, 8, 1, 32]>";
                let statement = format!("        {ty} y = relu(x = x)[name = string(\"y\")];");
                let (text, blobs) =
                    (program(&format!("{ty} x"), &statement, "y"), &BlobFiles::new());
                self.inner.compile(&ProgramSource { name, text: &text, blobs })?
            }
            Alteration::Offsets => {
                let text = text.replace("uint64(128)", "uint64(64)");
                self.inner.compile(&ProgramSource { name, text: &text, blobs })?
            }
            _ => self.inner.compile(source)?,
        };
        Ok(Box::new(AlteredProgram { inner, alteration: self.alteration }))
    }

    fn surface(&self, bytes: usize) -> Result<Surface, DeviceError> {
        let least = if matches!(self.alteration, Alteration::Room) { 1 << 16 } else { 0 };
        self.inner.surface(bytes.max(least))
    }

    /// Compilations are all that it was asked for, not those alone that succeeded.
    fn counters(&self) -> Counters {
        Counters { compiles: self.asked.load(Ordering::Relaxed), ..self.inner.counters() }
    }
}

#[derive(Debug)]
struct AlteredProgram {
    inner: Box<dyn CompiledProgram>,
    alteration: Alteration,
}

/// The symbol that stands at the same place from the other end.
fn mirrored(ports: &[Port], symbol: usize) -> usize {
    let at = ports.iter().rev().position(|port| port.symbol == symbol);
    at.map_or(symbol, |at| ports[at].symbol)
}

impl CompiledProgram for AlteredProgram {
    fn identity(&self) -> &str {
        self.inner.identity()
    }

    fn load(&self) -> Result<(), DeviceError> {
        self.inner.load()
    }

    fn unload(&self) -> Result<(), DeviceError> {
        self.inner.unload()
    }

    fn attributes(&self) -> Result<Attributes, DeviceError> {
        let mut attributes = self.inner.attributes()?;
        if matches!(self.alteration, Alteration::Backwards) {
            for procedure in &mut attributes.procedures {
                for ports in [&mut procedure.inputs, &mut procedure.outputs] {
                    let known = ports.clone();
                    ports.iter_mut().for_each(|port| port.symbol = mirrored(&known, port.symbol));
                }
            }
        }
        Ok(attributes)
    }

    fn eval(&self, request: &Request) -> Result<Evaluation, DeviceError> {
        let procedure = self.inner.attributes()?.procedures.remove(request.procedure);
        let mut request = request.clone();
        for (ports, bound) in
            [(&procedure.inputs, &mut request.inputs), (&procedure.outputs, &mut request.outputs)]
        {
            for (at, (symbol, _)) in bound.iter_mut().enumerate() {
                match self.alteration {
                    Alteration::Places => *symbol = ports[at].symbol,
                    Alteration::Backwards => *symbol = mirrored(ports, *symbol),
                    _ => {}
                }
            }
        }
        let evaluation = self.inner.eval(&request)?;
        if let Alteration::Results(alter) = self.alteration {
            for (symbol, surface) in &request.outputs {
                let port = procedure.outputs.iter().find(|port| port.symbol == *symbol).unwrap();
                let mut numbers = vec![0.0; port.elements()];
                surface.read_f32(port, &mut numbers)?;
                alter(port, &mut numbers);
                surface.write_f32(port, &numbers)?;
            }
        }
        Ok(evaluation)
    }

    fn overwrite(&self, blobs: &BlobFiles) -> Result<(), DeviceError> {
        self.inner.overwrite(blobs)
    }

    fn patched(&self, blobs: &BlobFiles) -> Result<Box<dyn CompiledProgram>, DeviceError> {
        let (inner, alteration) = (self.inner.patched(blobs)?, self.alteration);
        Ok(Box::new(Self { inner, alteration }))
    }
}
