//! How weights of dense layers are stored: in `f16`, or in fewer bits that the engine widens as it reads them (facts §3.7). Which
//! chips read them as they are stored, and which widen them when a program is compiled, the cost model's table says.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use super::writer::{Writer, identifier};
use super::{Constant, Content};
use crate::{DType, TensorType};

/// How weights of dense layers are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Storage {
    /// As the engine computes with them.
    #[default]
    F16,
    /// Whole numbers of 8 bits, with a factor for each row: `constexpr_affine_dequantize`.
    Int8,
    /// Indices of 4 bits into a table of 16 numbers: `constexpr_lut_to_dense`.
    Lut4,
    /// Indices of 6 bits into a table of 64 numbers.
    Lut6,
}

impl Storage {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::F16, Self::Int8, Self::Lut4, Self::Lut6];

    /// Bits of an index into a table, for those that have one.
    pub const fn index_bits(self) -> Option<u32> {
        match self {
            Self::Lut4 => Some(4),
            Self::Lut6 => Some(6),
            Self::F16 | Self::Int8 => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Int8 => "int8",
            Self::Lut4 => "lut4",
            Self::Lut6 => "lut6",
        }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Storage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|storage| storage.name() == text);
        known.ok_or_else(|| format!("weights are stored as f16, int8, lut4 or lut6, not {text:?}"))
    }
}

/// What a file has of a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The numbers in `f16`.
    Numbers,
    /// Whole numbers from -127 to 127, `int8`.
    Quantized,
    /// What those of a row are multiplied with, `fp16 [rows]`.
    Scales,
    /// Indices of so many bits, `uint4` or `uint6`.
    Indices(u32),
    /// The numbers of a table of so many bits, `fp16 [1, …, 2^bits, 1]`.
    Table(u32),
}

/// Weights of fewer elements stay in `f16`: they cost next to nothing.
const WORTH_IT: usize = 1024;

impl Writer<'_> {
    /// The weight `[rows, columns, 1, 1]` of a dense layer.
    pub(super) fn dense_weight(&mut self, stem: &str, shape: &[usize]) -> String {
        let content = || Content::Weight(stem.to_owned());
        let elements: usize = shape.iter().product();
        let ty = TensorType::new(DType::F16, shape);
        if self.storage == Storage::F16 || elements < WORTH_IT {
            return self.file(stem, shape, content());
        }
        let name = self.free(&identifier(stem));
        let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
        let dims = dims.join(", ");
        let mut part = |part: Part, suffix: &str, ty_of_file: &str| {
            let path = format!("@model_path/weights/{name}_{suffix}.bin");
            let value =
                format!("{ty_of_file}(BLOBFILE(path = string(\"{path}\"), offset = uint64(64)))");
            let constant = Constant { path, ty: ty.clone(), content: content(), part };
            self.constants.push(constant);
            value
        };
        if let Some(bits) = self.storage.index_bits() {
            // The form of iOS 18, whose tables are for blocks; here one for all.
            let table_dims = format!("{}{}, 1", "1, ".repeat(shape.len()), 1_u32 << bits);
            let indices =
                part(Part::Indices(bits), "indices", &format!("tensor<uint{bits}, [{dims}]>"));
            let table = part(Part::Table(bits), "table", &format!("tensor<fp16, [{table_dims}]>"));
            let _ = writeln!(
                self.body,
                "            tensor<fp16, [{dims}]> {name} = constexpr_lut_to_dense(indices = {indices}, lut = {table})[name = string(\"{name}\")];"
            );
        } else {
            let rows = shape.first().copied().unwrap_or(1);
            let data = part(Part::Quantized, "int8", &format!("tensor<int8, [{dims}]>"));
            let scales = part(Part::Scales, "scale", &format!("tensor<fp16, [{rows}]>"));
            let _ = writeln!(
                self.body,
                "            tensor<fp16, [{dims}]> {name} = constexpr_affine_dequantize()[axis = int32(0), name = string(\"{name}\"), quantized_data = {data}, scale = {scales}, zero_point = int8(0)];"
            );
        }
        name
    }
}
