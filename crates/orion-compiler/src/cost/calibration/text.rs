//! MIL text, statement by statement: what programs of workloads are written with.

use std::fmt::Write;

use super::workload::Packing;

/// A function that is being written.
#[derive(Debug, Default)]
pub(super) struct Text {
    parameters: Vec<String>,
    lines: String,
    results: Vec<String>,
    names: usize,
    offset: u64,
}

/// A value of the function: its name and dimensions.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) dims: Vec<u64>,
}

fn ty(element: &str, dims: &[u64]) -> String {
    format!("tensor<{element}, {dims:?}>")
}

impl Text {
    fn fresh(&mut self) -> String {
        self.names += 1;
        format!("v{}", self.names)
    }

    /// A parameter in f16, or in f32 with a cast behind it.
    pub(super) fn input(&mut self, dims: &[u64], is_f32: bool) -> Named {
        let name = self.fresh();
        let element = if is_f32 { "fp32" } else { "fp16" };
        self.parameters.push(format!("{} {name}", ty(element, dims)));
        let input = Named { name, dims: dims.to_vec() };
        if is_f32 { self.cast(&input, "fp16") } else { input }
    }

    /// A result in f16, or in f32 with a cast before it.
    pub(super) fn result(&mut self, value: &Named, is_f32: bool) {
        let value = if is_f32 { self.cast(value, "fp32") } else { value.clone() };
        self.results.push(value.name);
    }

    fn cast(&mut self, value: &Named, element: &str) -> Named {
        let kind = self.setting("string", &format!("\"{element}\""));
        let name = self.fresh();
        let ty = ty(element, &value.dims);
        let _ = writeln!(self.lines, "{ty} {name} = cast(dtype = {kind}, x = {});", value.name);
        Named { name, dims: value.dims.clone() }
    }

    /// A setting: a scalar constant.
    pub(super) fn setting(&mut self, ty: &str, value: &str) -> String {
        let name = self.fresh();
        let _ = writeln!(self.lines, "{ty} {name} = const()[val = {ty}({value})];");
        name
    }

    /// A setting of several whole numbers.
    pub(super) fn list(&mut self, values: &[u64]) -> String {
        let name = self.fresh();
        let ty = ty("int32", &[values.len() as u64]);
        let _ = writeln!(self.lines, "{ty} {name} = const()[val = {ty}({values:?})];");
        name
    }

    /// An operation with one result.
    pub(super) fn op(&mut self, op: &str, arguments: &str, dims: &[u64]) -> Named {
        let name = self.fresh();
        let _ = writeln!(self.lines, "{} {name} = {op}({arguments});", ty("fp16", dims));
        Named { name, dims: dims.to_vec() }
    }

    /// `quantize`, whose result is int8.
    pub(super) fn quantized(&mut self, arguments: &str, dims: &[u64]) -> Named {
        let name = self.fresh();
        let _ = writeln!(self.lines, "{} {name} = quantize({arguments});", ty("int8", dims));
        Named { name, dims: dims.to_vec() }
    }

    /// A constant in the weight file, stored as `packing` says.
    pub(super) fn weight(&mut self, dims: &[u64], packing: Packing) -> Named {
        let elements: u64 = dims.iter().product();
        let result = ty("fp16", dims);
        let shape = format!("tensor<uint32, [{}]>({dims:?})", dims.len());
        match packing {
            Packing::Half => {
                let file = self.file("fp16", dims, 16);
                let name = self.fresh();
                let _ = writeln!(self.lines, "{result} {name} = const()[val = {file}];");
                Named { name, dims: dims.to_vec() }
            }
            Packing::Int8 | Packing::Int8Activations => {
                let data = self.file("int8", dims, 8);
                let channels = dims.first().copied().unwrap_or(1);
                let scale = self.file("fp16", &[channels], 16);
                self.attributed(
                    "constexpr_affine_dequantize",
                    &format!("axis = int32(0), quantized_data = {data}, scale = {scale}, zero_point = int8(0)"),
                    dims,
                )
            }
            Packing::Table(bits) => {
                let indices = self.file("uint8", &[(elements * bits).div_ceil(8)], 8);
                let table = self.file("fp16", &[1 << bits], 16);
                self.attributed(
                    "constexpr_lut_to_dense",
                    &format!("indices = {indices}, lut = {table}, shape = {shape}"),
                    dims,
                )
            }
            Packing::Sparse => {
                let kept = self.file("fp16", &[elements * 318 / 1000], 16);
                let mask = self.file("uint8", &[elements.div_ceil(8)], 8);
                self.attributed(
                    "constexpr_sparse_to_dense",
                    &format!("mask = {mask}, nonzero_data = {kept}, shape = {shape}"),
                    dims,
                )
            }
        }
    }

    fn attributed(&mut self, op: &str, attributes: &str, dims: &[u64]) -> Named {
        let name = self.fresh();
        let _ = writeln!(self.lines, "{} {name} = {op}()[{attributes}];", ty("fp16", dims));
        Named { name, dims: dims.to_vec() }
    }

    fn file(&mut self, element: &str, dims: &[u64], bits: u64) -> String {
        let at = self.offset + 64;
        let elements: u64 = dims.iter().product();
        self.offset = at + (elements * bits).div_ceil(8).next_multiple_of(64);
        let ty = ty(element, dims);
        format!(
            "{ty}(BLOBFILE(path = string(\"@model_path/weights/weight.bin\"), offset = uint64({at})))"
        )
    }

    /// The whole program.
    pub(super) fn finish(self) -> String {
        format!(
            "program(1.3)\n{{\nfunc main<ios18>({}) {{\n{}}} -> ({});\n}}\n",
            self.parameters.join(", "),
            self.lines,
            self.results.join(", ")
        )
    }
}
