//! Random graphs: chains of what passes look at, each valid by construction.

use orion_compiler::op::{Concat, Conv1x1, Pad, Reshape, Slice, Split, Transpose};
use orion_compiler::{BuildError, Builder, DType, Program, TensorType, Value};

use super::draw::Draw;

/// A program of about `steps` operations, another one for each seed.
pub(crate) fn random(seed: u64, steps: usize) -> Result<Program, BuildError> {
    let mut draw = Draw::new("graph", seed);
    let b = Builder::new("random");
    let dtype = if draw.below(4) == 0 { DType::F16 } else { DType::F32 };
    // Some with dimensions alike, where types do not refuse what a rule got wrong.
    let shapes: [&[usize]; 7] =
        [&[1, 4, 1, 3], &[2, 4, 3], &[1, 6, 2], &[4, 6], &[2, 2, 3, 4], &[3, 3, 3], &[2, 2, 2, 2]];
    let mut pool: Vec<Value> = (0..2)
        .map(|index| {
            let shape = shapes[draw.below(shapes.len())];
            b.input(format!("x{index}"), TensorType::new(dtype, shape))
        })
        .collect();
    for step in 0..steps {
        // Late values more often than early ones.
        let back = draw.below(pool.len().min(4));
        let x = pool[pool.len() - 1 - back];
        let kind = draw.below(19);
        let made = Drawing { b: &b, draw: &mut draw, pool: &pool, step }.apply(kind, x);
        pool.extend(made.into_iter().filter(|&value| b.type_of(value).elements() <= 300));
    }
    let mut outputs: Vec<Value> = pool.iter().rev().take(3).copied().collect();
    outputs.push(pool[pool.len() / 2]);
    for (index, value) in outputs.into_iter().enumerate() {
        b.output(format!("y{index}"), value);
    }
    b.finish()
}

struct Drawing<'a> {
    b: &'a Builder,
    draw: &'a mut Draw,
    pool: &'a [Value],
    step: usize,
}

impl Drawing<'_> {
    fn apply(&mut self, kind: usize, x: Value) -> Vec<Value> {
        let b = self.b;
        let ty = b.type_of(x);
        let rank = ty.rank();
        let number = |value: f64| b.scalar(ty.dtype, value);
        vec![match kind {
            0 => b.tanh(x),
            1 => b.sigmoid(x),
            2 => b.neg(x),
            3 => b.gelu(x, true),
            4 => b.mul(x, number([0.5, 2.0, 1.0, 3.0, -1.0, 0.25][self.draw.below(6)])),
            5 => b.div(x, number([2.0, 1.0, 5.0, -4.0][self.draw.below(4)])),
            6 => b.add(number([0.0, 1.0, -2.0][self.draw.below(3)]), x),
            7 => self.with_another(x),
            8 | 9 => self.transposed(x),
            10 | 11 => self.reshaped(x),
            12 => self.product_with_weight(x),
            13 => self.scores(x),
            14 => return self.joined_or_cut(x),
            15 => {
                let axis = self.draw.below(rank.max(1)) as i64;
                if rank == 0 { x } else { b.reduce_sum(x, &[axis], self.draw.below(2) == 0) }
            }
            16 => {
                let other = if ty.dtype == DType::F16 { DType::F32 } else { DType::F16 };
                b.cast(b.cast(x, other), ty.dtype)
            }
            17 => self.between_layouts(x),
            // What was computed before, once more.
            _ => b.add(b.tanh(x), b.tanh(x)),
        }]
    }

    /// A sum or product with a value, weight or constant that fits.
    fn with_another(&mut self, x: Value) -> Value {
        let b = self.b;
        let ty = b.type_of(x);
        let fits: Vec<Value> =
            (self.pool.iter().copied()).filter(|&other| b.type_of(other) == ty).collect();
        let other = match self.draw.below(3) {
            0 => fits[self.draw.below(fits.len())],
            1 => {
                // A weight that is broadcast, some of its dimensions being one.
                let lead = self.draw.below(ty.rank() + 1);
                let mut shape = ty.shape[lead..].to_vec();
                shape.iter_mut().for_each(|dim| {
                    if self.draw.below(2) == 0 {
                        *dim = 1;
                    }
                });
                b.weight(format!("w{}", self.step), ty.with_shape(shape))
            }
            _ => {
                let values = (0..ty.elements()).map(|at| (at % 3) as f64 - 1.0).collect();
                b.constant(ty.dtype, &ty.shape, values)
            }
        };
        match self.draw.below(4) {
            0 => b.add(x, other),
            1 => b.mul(other, x),
            2 => b.sub(other, x),
            _ => b.maximum(x, other),
        }
    }

    fn transposed(&mut self, x: Value) -> Value {
        let rank = self.b.type_of(x).rank();
        let mut permutation: Vec<usize> = (0..rank).collect();
        for at in (1..rank).rev() {
            permutation.swap(at, self.draw.below(at + 1));
        }
        if rank > 1 && self.draw.below(2) == 0 {
            permutation = (0..rank).collect();
            permutation.swap(rank - 2, rank - 1);
        }
        self.b.apply1(Transpose { permutation }, &[x])
    }

    fn reshaped(&mut self, x: Value) -> Value {
        let mut shape = self.b.type_of(x).shape;
        let at = self.draw.below(shape.len() + 1);
        match self.draw.below(4) {
            0 if shape.len() < 5 => shape.insert(at, 1),
            1 if at + 1 < shape.len() => {
                shape[at] *= shape[at + 1];
                shape.remove(at + 1);
            }
            2 if at < shape.len() && shape.len() < 5 && shape[at].is_multiple_of(2) => {
                shape[at] /= 2;
                shape.insert(at + 1, 2);
            }
            _ => shape = vec![shape.iter().product()],
        }
        self.b.apply1(Reshape { shape }, &[x])
    }

    /// Elementwise operations between two changes of layout.
    fn between_layouts(&mut self, x: Value) -> Value {
        let layout = |own: &mut Self, x: Value| match own.draw.below(2) {
            0 => own.transposed(x),
            _ => own.reshaped(x),
        };
        let mut y = layout(self, x);
        for index in 0..=self.draw.below(3) {
            let ty = self.b.type_of(y);
            let stretched = |dim: &usize| if self.draw.below(2) == 0 { 1 } else { *dim };
            let shape: Vec<usize> = ty.shape.iter().map(stretched).collect();
            let weight = self.b.weight(format!("s{}.{index}", self.step), ty.with_shape(shape));
            y = match self.draw.below(3) {
                0 => self.b.mul(y, weight),
                1 => self.b.sub(weight, self.b.tanh(y)),
                _ => self.b.mul(y, self.b.sigmoid(y)),
            };
        }
        layout(self, y)
    }

    /// A product with a weight on either side, stored either way, or a convolution.
    fn product_with_weight(&mut self, x: Value) -> Value {
        let b = self.b;
        let ty = b.type_of(x);
        if ty.rank() < 2 {
            return x;
        }
        let outs = 2 + self.draw.below(3);
        let name = format!("m{}", self.step);
        if ty.rank() == 4 && self.draw.below(2) == 0 {
            let weight = b.weight(name, matrix(DType::F32, &[outs, ty.dim(1)]));
            let mut operands = vec![x, weight];
            if self.draw.below(2) == 0 {
                operands.push(b.weight(format!("b{}", self.step), matrix(DType::F32, &[outs])));
            }
            let y = b.apply1(Conv1x1 {}, &operands);
            let bias = b.weight(format!("c{}", self.step), matrix(ty.dtype, &[outs, 1, 1]));
            return if self.draw.below(2) == 0 { b.add(y, bias) } else { y };
        }
        let (weight_first, turned_x, turned_w) =
            (self.draw.below(2) == 0, self.draw.below(2) == 0, self.draw.below(2) == 0);
        let inner = ty.dim(if weight_first ^ turned_x { -2 } else { -1 });
        let shape = if weight_first ^ turned_w { [outs, inner] } else { [inner, outs] };
        let weight = b.weight(name, matrix(ty.dtype, &shape));
        if weight_first {
            b.matmul(weight, x, turned_w, turned_x)
        } else {
            b.matmul(x, weight, turned_x, turned_w)
        }
    }

    /// A product of a value with itself, perhaps in rotary halves.
    fn scores(&mut self, x: Value) -> Value {
        let b = self.b;
        let ty = b.type_of(x);
        if ty.rank() < 2 {
            return x;
        }
        if self.draw.below(3) == 0 {
            return b.matmul(x, x, true, false);
        }
        let (axis, other) = (-1, b.tanh(x));
        let (mut left, mut right) = (b.concat(&[x, other], axis), b.concat(&[other, x], axis));
        if self.draw.below(3) == 0 {
            // Both in another shape, whose last dimensions may join what was joined.
            let mut shape = b.type_of(left).shape;
            if self.draw.below(3) == 0 {
                let rank = shape.len();
                shape.swap(rank - 2, rank - 1);
                let [left, right] = [left, right].map(|value| b.reshape(value, &shape));
                return b.matmul(left, right, true, false);
            }
            if self.draw.below(2) == 0 || shape.len() < 3 {
                shape.insert(0, 1);
            } else {
                let (rank, last) = (shape.len(), shape[shape.len() - 1]);
                shape[rank - 2] *= last;
                shape.remove(rank - 1);
            }
            return b.matmul(b.reshape(left, &shape), b.reshape(right, &shape), false, true);
        }
        if self.draw.below(2) == 0 {
            left = b.mul(left, b.scalar(ty.dtype, 0.5));
        }
        if self.draw.below(2) == 0 {
            let rank = ty.rank();
            let mut permutation: Vec<usize> = (0..rank).collect();
            permutation.swap(rank - 2, rank - 1);
            right = b.transpose(right, &permutation);
            return b.matmul(left, right, false, false);
        }
        if self.draw.below(2) == 0 {
            // The way back: a product that is cut where an operand is joined.
            let width = ty.dim(-1);
            let square = b.matmul(x, x, false, true);
            let product = b.matmul(square, right, false, false);
            let parts = b.split(product, -1, [width; 2]);
            return b.sub(parts[0], parts[1]);
        }
        b.matmul(left, right, false, true)
    }

    fn joined_or_cut(&mut self, x: Value) -> Vec<Value> {
        let b = self.b;
        let ty = b.type_of(x);
        if ty.rank() == 0 {
            return Vec::new();
        }
        let axis = self.draw.below(ty.rank());
        let (size, own) = (ty.shape[axis], axis as i64);
        match self.draw.below(6) {
            0 => vec![b.apply1(Concat { axis: own }, &[x, x])],
            4 if size.is_multiple_of(2) => {
                let sizes = vec![size / 2, size / 2];
                let mut parts = b.apply(Split { axis: own, sizes }, &[x]);
                if self.draw.below(2) == 0 {
                    parts.reverse();
                }
                vec![b.apply1(Concat { axis: own }, &parts)]
            }
            1 if size > 1 => b.apply(Split { axis: own, sizes: vec![1, size - 1] }, &[x]),
            2 => {
                let joined = b.apply1(Concat { axis: own }, &[x, b.tanh(x)]);
                b.apply(Split { axis: own, sizes: vec![size, size] }, &[joined])
            }
            3 => {
                let (mut starts, mut ends) = (vec![0; ty.rank()], ty.shape.clone());
                let joined = b.apply1(Concat { axis: own }, &[x, b.neg(x)]);
                (starts[axis], ends[axis]) = (size, 2 * size);
                vec![b.apply1(Slice { starts, ends }, &[joined])]
            }
            _ => {
                let (before, mut after) = (vec![0; ty.rank()], vec![0; ty.rank()]);
                after[axis] = self.draw.below(2);
                vec![b.apply1(Pad { before, after }, &[x])]
            }
        }
    }
}

fn matrix(dtype: DType, shape: &[usize]) -> TensorType {
    TensorType::new(dtype, shape)
}
