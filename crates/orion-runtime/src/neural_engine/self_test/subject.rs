//! Short ways to write a program, run it on the device and look at the result.

use half::f16;
use orion_compiler::mil::blob::{BlobType, BlobWriter};
use orion_compiler::target::{Route, Target};

use crate::neural_engine::{
    BlobFiles, CompiledProgram, Detail, Device, DeviceError, Port, Procedure, ProgramSource,
    Request,
};

/// The device that is asked.
pub(in crate::neural_engine) struct Subject<'d> {
    pub(in crate::neural_engine) device: &'d dyn Device,
}

/// A loaded program with surfaces for its procedure.
pub(in crate::neural_engine) struct Running {
    pub(in crate::neural_engine) program: Box<dyn CompiledProgram>,
    pub(in crate::neural_engine) procedure: Procedure,
    pub(in crate::neural_engine) request: Request,
}

impl<'d> Subject<'d> {
    pub(in crate::neural_engine) fn new(device: &'d dyn Device) -> Self {
        Self { device }
    }

    pub(in crate::neural_engine) fn target(&self) -> Target {
        self.device.description().target
    }

    pub(in crate::neural_engine) fn is_in_memory(&self) -> bool {
        self.target().route == Route::InMemory
    }

    pub(in crate::neural_engine) fn compile(
        &self,
        text: &str,
        blobs: &BlobFiles,
    ) -> Result<Box<dyn CompiledProgram>, DeviceError> {
        self.device.compile(&ProgramSource { name: "probe", text, blobs })
    }

    /// Loads a program and makes its surfaces.
    pub(in crate::neural_engine) fn start(
        &self,
        program: Box<dyn CompiledProgram>,
    ) -> Result<Running, DeviceError> {
        program.load()?;
        let procedure = program.attributes()?.procedures.into_iter().next();
        let procedure = procedure.ok_or_else(|| lacks("a procedure"))?;
        let request = self.request(0, &procedure)?;
        Ok(Running { program, procedure, request })
    }

    /// Surfaces for a procedure, of the sizes that it publishes.
    fn request(&self, number: usize, procedure: &Procedure) -> Result<Request, DeviceError> {
        let surfaces = |ports: &[Port]| {
            let surface = |port: &Port| Ok((port.symbol, self.device.surface(port.bytes)?));
            ports.iter().map(surface).collect::<Result<_, DeviceError>>()
        };
        let (inputs, outputs) = (surfaces(&procedure.inputs)?, surfaces(&procedure.outputs)?);
        Ok(Request { procedure: number, inputs, outputs })
    }

    /// Turns to another procedure of a loaded program, counted from 0.
    pub(in crate::neural_engine) fn turn(
        &self,
        running: Running,
        number: usize,
    ) -> Result<Running, DeviceError> {
        let procedures = running.program.attributes()?.procedures;
        let procedure = procedures.into_iter().nth(number).ok_or_else(|| lacks("a procedure"))?;
        let request = self.request(number, &procedure)?;
        Ok(Running { program: running.program, procedure, request })
    }

    /// Runs a text without files once, and reads its only result.
    pub(in crate::neural_engine) fn run(
        &self,
        text: &str,
        inputs: &[(&str, &[f32])],
    ) -> Result<Vec<f32>, DeviceError> {
        let running = self.start(self.compile(text, &BlobFiles::new())?)?;
        running.run(inputs)
    }
}

impl Running {
    pub(in crate::neural_engine) fn run(
        &self,
        inputs: &[(&str, &[f32])],
    ) -> Result<Vec<f32>, DeviceError> {
        for (name, numbers) in inputs {
            let at = self.procedure.inputs.iter().position(|port| port.name == *name);
            let bound = at.and_then(|at| {
                Some((self.procedure.inputs.get(at)?, &self.request.inputs.get(at)?.1))
            });
            let (port, surface) = bound.ok_or_else(|| lacks(name))?;
            surface.write_f32(port, numbers)?;
        }
        self.eval()
    }

    /// Runs with zeros for everything.
    pub(in crate::neural_engine) fn run_with_zeros(&self) -> Result<Vec<f32>, DeviceError> {
        for (port, (_, surface)) in self.procedure.inputs.iter().zip(&self.request.inputs) {
            surface.write_f32(port, &vec![0.0; port.elements()])?;
        }
        self.eval()
    }

    /// Runs with what the surfaces hold.
    pub(in crate::neural_engine) fn eval(&self) -> Result<Vec<f32>, DeviceError> {
        self.program.eval(&self.request)?;
        self.read(|_| true)
    }

    /// What the last run left in a result.
    pub(in crate::neural_engine) fn result(&self, name: &str) -> Result<Vec<f32>, DeviceError> {
        self.read(|port| port.name == name)
    }

    /// The first result that is meant.
    fn read(&self, is_meant: impl Fn(&Port) -> bool) -> Result<Vec<f32>, DeviceError> {
        let mut results = self.procedure.outputs.iter().zip(&self.request.outputs);
        let found = results.find(|(port, _)| is_meant(port));
        let (port, (_, surface)) = found.ok_or_else(|| lacks("a result"))?;
        let mut numbers = vec![0.0; port.elements()];
        surface.read_f32(port, &mut numbers)?;
        Ok(numbers)
    }
}

fn lacks(what: &str) -> DeviceError {
    DeviceError::WrongIndex(Box::new(Detail {
        program: "probe".to_owned(),
        place: None,
        rule: "RUN041".to_owned(),
        reason: format!("the loaded program does not publish {what}"),
        native: None,
        remedy: String::new(),
    }))
}

/// A text of one function.
pub(in crate::neural_engine) fn program(
    parameters: &str,
    statements: &str,
    results: &str,
) -> String {
    format!(
        "program(1.3)\n[buildInfo = dict<string, string>({{{{\"coremlc-version\", \"3505.4.1\"}}}})]\n{{\n    \
         func main<ios18>({parameters}) {{\n{statements}\n    }} -> ({results});\n}}\n"
    )
}

/// A row of 32, which is whole in `f16`.
pub(in crate::neural_engine) const ROW: &str = "tensor<fp16, [1, 1, 1, 32]>";

/// Named constants that `conv` wants in memory (ANE077).
pub(in crate::neural_engine) const CONV: &str = "        string pt = const()[name = string(\"pt\"), val = string(\"valid\")];
        tensor<int32, [2]> st = const()[name = string(\"st\"), val = tensor<int32, [2]>([1, 1])];
        tensor<int32, [4]> pd = const()[name = string(\"pd\"), val = tensor<int32, [4]>([0, 0, 0, 0])];
        tensor<int32, [2]> dl = const()[name = string(\"dl\"), val = tensor<int32, [2]>([1, 1])];
        int32 gr = const()[name = string(\"gr\"), val = int32(1)];";

/// `y = op(x)` of a row.
pub(in crate::neural_engine) fn unary(op: &str) -> String {
    program(
        &format!("{ROW} x"),
        &format!("        {ROW} y = {op}(x = x)[name = string(\"y\")];"),
        "y",
    )
}

/// `y = op(a, b)` of two rows.
pub(in crate::neural_engine) fn binary(op: &str) -> String {
    program(
        &format!("{ROW} a, {ROW} b"),
        &format!("        {ROW} y = {op}(x = a, y = b)[name = string(\"y\")];"),
        "y",
    )
}

/// A flag of `matmul`, as the constant with a name that it wants (ANE014).
pub(in crate::neural_engine) const FLAG: &str =
    "        bool no = const()[name = string(\"no\"), val = bool(false)];";

/// A row that begins with these numbers and goes on with zeros.
pub(in crate::neural_engine) fn row(numbers: &[f32]) -> Vec<f32> {
    let mut row = numbers.to_vec();
    row.resize(32, 0.0);
    row
}

/// Numbers in −1 to 1, of `f16`, the same for the same seed.
pub(in crate::neural_engine) fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f16::from_f32((state >> 8) as f32 / (1 << 23) as f32 - 1.0).to_f32()
    };
    (0..count).map(|_| next()).collect()
}

/// A file with constants of fp16, and their offsets.
pub(in crate::neural_engine) fn constants<const N: usize>(
    each: [&[f32]; N],
) -> (Vec<u8>, [u64; N]) {
    let mut writer = BlobWriter::default();
    let offsets = each.map(|numbers| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
        writer.push(BlobType::F16, numbers.len(), &bytes)
    });
    (writer.finish(), offsets)
}

/// A file with one constant of fp16.
pub(in crate::neural_engine) fn halves(numbers: &[f32]) -> Vec<u8> {
    constants([numbers]).0
}
