//! Short ways to write a program, run it and look at the result.

use half::f16;
use orion_compiler::mil::blob::{BlobType, BlobWriter};
use orion_compiler::target::{Chip, Route, Target};
use orion_runtime::neural_engine::simulator::{Numerics, Settings, Simulator};
use orion_runtime::neural_engine::{
    BlobFiles, CompiledProgram, Device, DeviceError, Port, ProgramSource, Request, Surface,
};

/// A text of one function.
pub(crate) fn program(parameters: &str, statements: &str, results: &str) -> String {
    format!(
        "program(1.3)\n[buildInfo = dict<string, string>({{{{\"coremlc-version\", \"3505.4.1\"}}}})]\n{{\n    \
         func main<ios18>({parameters}) {{\n{statements}\n    }} -> ({results});\n}}\n"
    )
}

/// Settings for a chip on a route.
pub(crate) fn settings(chip: Chip, route: Route, numerics: Numerics) -> Settings {
    Settings { numerics, threads: 2, ..Settings::of(Target { chip, route }) }
}

/// M4 in memory, by the text's own arithmetic.
pub(crate) fn exact() -> Simulator {
    Simulator::new(settings(Chip::M4, Route::InMemory, Numerics::Exact))
}

/// A chip on the e5rt route, as it computes.
pub(crate) fn engine(chip: Chip) -> Simulator {
    Simulator::new(settings(chip, Route::E5rt, Numerics::Ane))
}

pub(crate) fn compile(
    device: &dyn Device,
    text: &str,
    blobs: &BlobFiles,
) -> Result<Box<dyn CompiledProgram>, DeviceError> {
    device.compile(&ProgramSource { name: "test", text, blobs })
}

/// A file with one constant of fp16.
pub(crate) fn halves(values: &[f32]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
    let mut writer = BlobWriter::default();
    writer.push(BlobType::F16, values.len(), &bytes);
    writer.finish()
}

/// Surfaces of the size that ports publish.
pub(crate) fn surfaces(device: &dyn Device, ports: &[Port]) -> Vec<(usize, Surface)> {
    ports.iter().map(|port| (port.symbol, device.surface(port.bytes).unwrap())).collect()
}

/// A loaded program with surfaces for its first procedure.
pub(crate) struct Loaded {
    pub(crate) program: Box<dyn CompiledProgram>,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) request: Request,
}

impl Loaded {
    pub(crate) fn new(
        device: &dyn Device,
        program: Box<dyn CompiledProgram>,
    ) -> Result<Self, DeviceError> {
        program.load()?;
        let procedure = program.attributes()?.procedures.remove(0);
        let request = Request {
            procedure: 0,
            inputs: surfaces(device, &procedure.inputs),
            outputs: surfaces(device, &procedure.outputs),
        };
        let (inputs, outputs) = (procedure.inputs, procedure.outputs);
        Ok(Self { program, inputs, outputs, request })
    }

    pub(crate) fn of(
        device: &dyn Device,
        text: &str,
        blobs: &BlobFiles,
    ) -> Result<Self, DeviceError> {
        Self::new(device, compile(device, text, blobs)?)
    }

    /// Writes an input by name.
    pub(crate) fn write(&self, name: &str, x: &[f32]) {
        let at = self.inputs.iter().position(|port| port.name == name).unwrap();
        self.request.inputs[at].1.write_f32(&self.inputs[at], x).unwrap();
    }

    /// Reads a result by name.
    pub(crate) fn read(&self, name: &str) -> Vec<f32> {
        let at = self.outputs.iter().position(|port| port.name == name).unwrap();
        let mut out = vec![f32::NAN; self.outputs[at].elements()];
        self.request.outputs[at].1.read_f32(&self.outputs[at], &mut out).unwrap();
        out
    }

    pub(crate) fn eval(&self) -> Result<(), DeviceError> {
        self.program.eval(&self.request).map(drop)
    }
}

/// Runs a text without files once; results are in the order of names.
pub(crate) fn run(
    device: &dyn Device,
    text: &str,
    inputs: &[(&str, &[f32])],
) -> Result<Vec<Vec<f32>>, DeviceError> {
    let loaded = Loaded::of(device, text, &BlobFiles::default())?;
    inputs.iter().for_each(|(name, x)| loaded.write(name, x));
    loaded.eval()?;
    Ok(loaded.outputs.iter().map(|port| loaded.read(&port.name)).collect())
}

/// Numbers in −1 to 1, the same for the same seed, all of f16.
pub(crate) fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| f16::from_f32(next()).to_f32()).collect()
}

/// Named constants that `conv` wants.
pub(crate) const CONV: &str = "
        string pt = const()[name = string(\"pt\"), val = string(\"valid\")];
        tensor<int32, [2]> st = const()[name = string(\"st\"), val = tensor<int32, [2]>([1, 1])];
        tensor<int32, [4]> pd = const()[name = string(\"pd\"), val = tensor<int32, [4]>([0, 0, 0, 0])];
        tensor<int32, [2]> dl = const()[name = string(\"dl\"), val = tensor<int32, [2]>([1, 1])];
        int32 gr = const()[name = string(\"gr\"), val = int32(1)];";

/// `name = conv(x, weight)` with those.
pub(crate) fn conv(ty: &str, name: &str, x: &str, weight: &str) -> String {
    format!(
        "        {ty} {name} = conv(dilations = dl, groups = gr, pad = pd, pad_type = pt, strides = st, \
         weight = {weight}, x = {x})[name = string(\"{name}\")];"
    )
}

/// A constant of fp16 in a file.
pub(crate) fn weight(name: &str, shape: &str, path: &str) -> String {
    let ty = format!("tensor<fp16, {shape}>");
    format!(
        "        {ty} {name} = const()[name = string(\"{name}\"), val = {ty}(BLOBFILE(path = \
         string(\"{path}\"), offset = uint64(64)))];"
    )
}

/// A function of one tensor of a row.
pub(crate) fn unary(width: usize, statement: &str) -> String {
    let ty = format!("tensor<fp16, [1, 1, 1, {width}]>");
    program(
        &format!("{ty} x"),
        &format!("        {ty} y = {statement}[name = string(\"y\")];"),
        "y",
    )
}

/// What a chip makes of numbers, by a function of each.
pub(crate) fn each(chip: Chip, statement: &str, x: &[f32]) -> Vec<f32> {
    run(&engine(chip), &unary(x.len(), statement), &[("x", x)]).unwrap().remove(0)
}

/// What a chip makes of pairs of numbers.
pub(crate) fn pairs(chip: Chip, op: &str, x: &[f32], y: &[f32]) -> Vec<f32> {
    let ty = format!("tensor<fp16, [1, 1, 1, {}]>", x.len());
    let statement = format!("        {ty} z = {op}(x = x, y = y)[name = string(\"z\")];");
    let text = program(&format!("{ty} x, {ty} y"), &statement, "z");
    run(&engine(chip), &text, &[("x", x), ("y", y)]).unwrap().remove(0)
}

/// `x · y` for rows and columns, both inputs.
pub(crate) fn product(
    chip: Chip,
    [rows, depth, columns]: [usize; 3],
    x: &[f32],
    y: &[f32],
) -> Vec<f32> {
    let text = program(
        &format!("tensor<fp16, [1, {rows}, {depth}]> x, tensor<fp16, [1, {depth}, {columns}]> y"),
        &format!(
            "        tensor<fp16, [1, {rows}, {columns}]> z = matmul(transpose_x = bool(false), transpose_y = bool(false), \
             x = x, y = y)[name = string(\"z\")];"
        ),
        "z",
    );
    run(&engine(chip), &text, &[("x", x), ("y", y)]).unwrap().remove(0)
}

/// The sum of a row, by `reduce_sum`.
pub(crate) fn sum(chip: Chip, x: &[f32]) -> f32 {
    let text = program(
        &format!("tensor<fp16, [1, 1, 1, {}]> x", x.len()),
        "        tensor<fp16, [1, 1, 1, 1]> y = reduce_sum(axes = tensor<int32, [1]>([-1]), keep_dims = bool(true), x = x)\
         [name = string(\"y\")];",
        "y",
    );
    run(&engine(chip), &text, &[("x", x)]).unwrap()[0][0]
}

/// A dot product that is lowered as such: by a matrix of sixteen equal columns.
pub(crate) fn dot(chip: Chip, x: &[f32], y: &[f32]) -> f32 {
    let columns: Vec<f32> = y.iter().flat_map(|&y| [y; 16]).collect();
    let found = product(chip, [1, x.len(), 16], x, &columns);
    assert!(found.iter().all(|value| value.to_bits() == found[0].to_bits()));
    found[0]
}

/// `y = x + x`, of any size.
pub(crate) fn double(shape: &str, element: &str) -> String {
    let ty = format!("tensor<{element}, {shape}>");
    program(
        &format!("{ty} x"),
        &format!("        {ty} y = add(x = x, y = x)[name = string(\"y\")];"),
        "y",
    )
}
