//! Programs of workloads: what was run where a figure was measured, as MIL.

use super::super::notch;
use super::text::{Named, Text};
use super::workload::{Decoder, Kind, Packing, RowOperation, Workload};

impl Workload {
    /// Its program.
    pub fn program(&self) -> String {
        let mut text = Text::default();
        match self.kind {
            Kind::Convolution { from, to, window, image: [height, width] } => {
                let x = text.input(&[self.batch, from, height, width], self.is_f32);
                let y = self.convolutions(&mut text, x, to, window);
                text.result(&y, self.is_f32);
            }
            Kind::Matmul([rows, depth, columns]) => {
                let x = text.input(&[rows, depth], self.is_f32);
                let y = self.linear(&mut text, &x, columns);
                text.result(&y, self.is_f32);
            }
            Kind::Product([rows, depth, columns]) => {
                let x = text.input(&[rows, depth], self.is_f32);
                let y = text.input(&[depth, columns], self.is_f32);
                let product = matmul(&mut text, &x, &y, &[rows, columns]);
                text.result(&product, self.is_f32);
            }
            Kind::Rows(operation, dims) => {
                let x = text.input(&dims, self.is_f32);
                let y = rows(&mut text, &x, operation);
                text.result(&y, self.is_f32);
            }
            Kind::Attention { length, width, heads } => {
                let x = text.input(&[length, width], self.is_f32);
                let y = self.attention(&mut text, &x, heads);
                text.result(&y, self.is_f32);
            }
            Kind::Sdpa { heads, length, width } => {
                let dims = [1, heads, length, width];
                let [q, k, v] = [(); 3].map(|()| text.input(&dims, self.is_f32).name);
                let arguments = format!("query = {q}, key = {k}, value = {v}");
                let y = text.op("scaled_dot_product_attention", &arguments, &dims);
                text.result(&y, self.is_f32);
            }
            Kind::Head { from, to, parts } => {
                let x = text.input(&[1, from, 1, 1], self.is_f32);
                for part in 0..parts {
                    let channels = to * (part + 1) / parts - to * part / parts;
                    let weight = text.weight(&[channels, from, 1, 1], self.packing);
                    let y = convolution(&mut text, &x, &weight, 1);
                    text.result(&y, self.is_f32);
                }
            }
            Kind::Decode(decoder) => self.decode(&mut text, &decoder),
        }
        text.finish()
    }

    fn convolutions(&self, text: &mut Text, mut x: Named, to: u64, window: u64) -> Named {
        let mut shared: Option<Named> = None;
        for _ in 0..self.depth {
            let from = x.dims.get(1).copied().unwrap_or_default();
            if self.packing == Packing::Int8Activations {
                x = int8(text, &x);
            }
            if self.parts > 1 {
                x = self.split_convolution(text, &x, to, window);
            } else {
                let weight = match &shared {
                    Some(weight) => weight.clone(),
                    None => text.weight(&[to, from, window, window], self.packing),
                };
                if self.is_shared {
                    shared = Some(weight.clone());
                }
                x = convolution(text, &x, &weight, window);
            }
            if self.has_relu {
                x = text.op("relu", &format!("x = {}", x.name), &x.dims.clone());
            }
        }
        x
    }

    /// The sums of a convolution in parts: slices of the input channels, and the parts added.
    fn split_convolution(&self, text: &mut Text, x: &Named, to: u64, window: u64) -> Named {
        let [batch, from, height, width] =
            [0, 1, 2, 3].map(|at| x.dims.get(at).copied().unwrap_or(1));
        let mut sum: Option<Named> = None;
        for part in 0..self.parts {
            let begin = from * part / self.parts;
            let channels = from * (part + 1) / self.parts - begin;
            let slice = slice(text, x, &[0, begin, 0, 0], &[batch, channels, height, width]);
            let weight = text.weight(&[to, channels, window, window], self.packing);
            let partial = convolution(text, &slice, &weight, window);
            sum = Some(match sum {
                None => partial,
                Some(sum) => binary(text, "add", &sum, &partial.name),
            });
        }
        sum.unwrap_or_else(|| x.clone())
    }

    /// Rows by a constant matrix that is stored with its columns as rows; in parts where the workload says so.
    fn linear(&self, text: &mut Text, x: &Named, columns: u64) -> Named {
        let [rows, depth] = [0, 1].map(|at| x.dims.get(at).copied().unwrap_or(1));
        let parts = match self.parts {
            0 => notch::split(columns, depth, 2).unwrap_or(1),
            parts => parts,
        };
        let mut sum: Option<Named> = None;
        for part in 0..parts {
            let begin = depth * part / parts;
            let length = depth * (part + 1) / parts - begin;
            let x =
                if parts > 1 { slice(text, x, &[0, begin], &[rows, length]) } else { x.clone() };
            let weight = text.weight(&[columns, length], self.packing);
            let [no, yes] = ["false", "true"].map(|flag| text.setting("bool", flag));
            let arguments = format!(
                "transpose_x = {no}, transpose_y = {yes}, x = {}, y = {}",
                x.name, weight.name
            );
            let partial = text.op("matmul", &arguments, &[rows, columns]);
            sum = Some(match sum {
                None => partial,
                Some(sum) => binary(text, "add", &sum, &partial.name),
            });
        }
        sum.unwrap_or_else(|| x.clone())
    }

    fn attention(&self, text: &mut Text, x: &Named, heads: u64) -> Named {
        let [length, width] = [0, 1].map(|at| x.dims.get(at).copied().unwrap_or(1));
        let each = width / heads;
        let biased = |text: &mut Text, x: &Named| {
            let product = self.linear(text, x, width);
            let bias = text.weight(&[1, width], Packing::Half);
            binary(text, "add", &product, &bias.name)
        };
        let [query, key, value] = [(); 3].map(|()| {
            let projected = biased(text, x);
            let apart = reshape(text, &projected, &[length, heads, each]);
            transpose(text, &apart, &[1, 0, 2])
        });
        let key = transpose(text, &key, &[0, 2, 1]);
        let scores = matmul(text, &query, &key, &[heads, length, length]);
        let scale = text.setting("fp16", "0.125");
        let scores = binary(text, "mul", &scores, &scale);
        let weights = softmax(text, &scores);
        let sums = matmul(text, &weights, &value, &[heads, length, each]);
        let sums = transpose(text, &sums, &[1, 0, 2]);
        let joined = reshape(text, &sums, &[length, width]);
        biased(text, &joined)
    }

    /// A token for each of the batch, as ANEForge's decoding benchmark writes it.
    fn decode(&self, text: &mut Text, d: &Decoder) {
        let each = match d.width {
            4096.. => 128,
            width => width / d.heads,
        };
        let groups = self.batch * d.key_heads;
        let together = d.heads / d.key_heads;
        let mut x = text.input(&[self.batch, d.width], false);
        for _ in 0..d.layers {
            let normed = rows(text, &x, RowOperation::RmsNorm);
            let query = self.linear(text, &normed, d.heads * each);
            let key = self.linear(text, &normed, d.key_heads * each);
            let value = self.linear(text, &normed, d.key_heads * each);
            let query = reshape(text, &query, &[groups, together, each]);
            let key = reshape(text, &key, &[groups, each, 1]);
            let value = reshape(text, &value, &[groups, 1, each]);
            let keys = text.input(&[groups, each, d.cache], false);
            let values = text.input(&[groups, d.cache, each], false);
            let past = matmul(text, &query, &keys, &[groups, together, d.cache]);
            let own = matmul(text, &query, &key, &[groups, together, 1]);
            let [past, own] = [past, own].map(|scores| {
                let scale = text.setting("fp16", "0.125");
                binary(text, "mul", &scores, &scale)
            });
            let scores = concat(text, &[&past, &own], 2, &[groups, together, d.cache + 1]);
            let weights = softmax(text, &scores);
            let values = concat(text, &[&values, &value], 1, &[groups, d.cache + 1, each]);
            let sums = matmul(text, &weights, &values, &[groups, together, each]);
            let sums = reshape(text, &sums, &[self.batch, d.heads * each]);
            let projected = self.linear(text, &sums, d.width);
            x = binary(text, "add", &x, &projected.name);
            let normed = rows(text, &x, RowOperation::RmsNorm);
            let gate = self.linear(text, &normed, d.hidden);
            let up = self.linear(text, &normed, d.hidden);
            let gate = text.op("silu", &format!("x = {}", gate.name), &gate.dims.clone());
            let gated = binary(text, "mul", &gate, &up.name);
            let down = self.linear(text, &gated, d.width);
            x = binary(text, "add", &x, &down.name);
        }
        let normed = rows(text, &x, RowOperation::RmsNorm);
        // Two of the generations have no dimension above 16,384.
        let mut left = d.vocabulary;
        while left > 0 {
            let tile = left.min(16_384);
            let logits = self.linear(text, &normed, tile);
            text.result(&logits, false);
            left -= tile;
        }
    }
}

fn convolution(text: &mut Text, x: &Named, weight: &Named, window: u64) -> Named {
    let kind = text.setting("string", "\"custom\"");
    let ones = text.list(&[1, 1]);
    let border = text.list(&[window / 2; 4]);
    let groups = text.setting("int32", "1");
    let mut dims = x.dims.clone();
    if let (Some(channels), Some(&to)) = (dims.get_mut(1), weight.dims.first()) {
        *channels = to;
    }
    let arguments = format!(
        "dilations = {ones}, groups = {groups}, pad = {border}, pad_type = {kind}, strides = {ones}, weight = {}, x = {}",
        weight.name, x.name
    );
    text.op("conv", &arguments, &dims)
}

/// Through int8: what comes out is fp16 that int8 arithmetic takes.
fn int8(text: &mut Text, x: &Named) -> Named {
    let scale = text.setting("fp16", "0.05");
    let kind = text.setting("string", "\"int8\"");
    let arguments = format!("input = {}, output_dtype = {kind}, scale = {scale}", x.name);
    let quantized = text.quantized(&arguments, &x.dims);
    text.op("dequantize", &format!("input = {}, scale = {scale}", quantized.name), &x.dims)
}

fn rows(text: &mut Text, x: &Named, operation: RowOperation) -> Named {
    let dims = x.dims.clone();
    let short = [dims.first().copied().unwrap_or(1), 1];
    let width = dims.last().copied().unwrap_or(1);
    match operation {
        RowOperation::Relu => text.op("relu", &format!("x = {}", x.name), &dims),
        RowOperation::Gelu => {
            let mode = text.setting("string", "\"EXACT\"");
            text.op("gelu", &format!("mode = {mode}, x = {}", x.name), &dims)
        }
        RowOperation::Sum => reduce(text, "reduce_sum", x, &short),
        RowOperation::Softmax => softmax(text, x),
        RowOperation::LayerNorm => {
            let mean = reduce(text, "reduce_mean", x, &short);
            let centred = binary(text, "sub", x, &mean.name);
            let squares = binary(text, "mul", &centred, &centred.name);
            let variance = reduce(text, "reduce_mean", &squares, &short);
            let epsilon = text.setting("fp16", "1e-5");
            let variance = binary(text, "add", &variance, &epsilon);
            let none = text.setting("fp16", "0");
            let arguments = format!("epsilon = {none}, x = {}", variance.name);
            let inverse = text.op("rsqrt", &arguments, &short);
            let normed = binary(text, "mul", &centred, &inverse.name);
            let [scale, offset] = [(); 2].map(|()| text.weight(&[1, width], Packing::Half));
            let scaled = binary(text, "mul", &normed, &scale.name);
            binary(text, "add", &scaled, &offset.name)
        }
        RowOperation::RmsNorm => {
            let length = reduce(text, "reduce_l2_norm", x, &short);
            let least = text.setting("fp16", "1e-3");
            let length = binary(text, "maximum", &length, &least);
            let unit = binary(text, "real_div", x, &length.name);
            let scale = text.weight(&[1, width], Packing::Half);
            binary(text, "mul", &unit, &scale.name)
        }
    }
}

fn reduce(text: &mut Text, op: &str, x: &Named, dims: &[u64]) -> Named {
    let axis = text.list(&[x.dims.len() as u64 - 1]);
    let keep = text.setting("bool", "true");
    text.op(op, &format!("axes = {axis}, keep_dims = {keep}, x = {}", x.name), dims)
}

fn softmax(text: &mut Text, x: &Named) -> Named {
    let axis = text.setting("int32", "-1");
    text.op("softmax", &format!("axis = {axis}, x = {}", x.name), &x.dims)
}

fn binary(text: &mut Text, op: &str, x: &Named, y: &str) -> Named {
    text.op(op, &format!("x = {}, y = {y}", x.name), &x.dims)
}

fn matmul(text: &mut Text, x: &Named, y: &Named, dims: &[u64]) -> Named {
    let no = text.setting("bool", "false");
    let arguments =
        format!("transpose_x = {no}, transpose_y = {no}, x = {}, y = {}", x.name, y.name);
    text.op("matmul", &arguments, dims)
}

fn reshape(text: &mut Text, x: &Named, dims: &[u64]) -> Named {
    let shape = text.list(dims);
    text.op("reshape", &format!("shape = {shape}, x = {}", x.name), dims)
}

fn transpose(text: &mut Text, x: &Named, order: &[usize]) -> Named {
    let dims: Vec<u64> = order.iter().map(|&axis| x.dims.get(axis).copied().unwrap_or(1)).collect();
    let order: Vec<u64> = order.iter().map(|&axis| axis as u64).collect();
    let order = text.list(&order);
    text.op("transpose", &format!("perm = {order}, x = {}", x.name), &dims)
}

fn concat(text: &mut Text, values: &[&Named], axis: u64, dims: &[u64]) -> Named {
    let axis = text.setting("int32", &axis.to_string());
    let interleave = text.setting("bool", "false");
    let names: Vec<&str> = values.iter().map(|value| value.name.as_str()).collect();
    let arguments =
        format!("axis = {axis}, interleave = {interleave}, values = ({})", names.join(", "));
    text.op("concat", &arguments, dims)
}

fn slice(text: &mut Text, x: &Named, begin: &[u64], size: &[u64]) -> Named {
    let begin = text.list(begin);
    let dims = size;
    let size = text.list(size);
    text.op("slice_by_size", &format!("begin = {begin}, size = {size}, x = {}", x.name), dims)
}
