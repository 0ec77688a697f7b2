//! Products of matrices: of two values, or of a value with a constant that is packed.

use std::sync::Arc;

use orion_compiler::mil::syntax::{Statement, Value};
use orion_compiler::{DType, Diagnostic};
use orion_kernels::PackedMatrix;
use orion_kernels::matmul::{MatrixView, fixed, matmul, product, vector_product};
use orion_kernels::permute::{Permutation, permute};

use super::super::constants::Form;
use super::super::plan::{Finish, Planning, ValueId, Workspace, refuse};
use super::super::profile::Quirk;
use super::super::settings::Numerics;
use super::reduce::sum_in_fours;
use super::{Planner, elementwise};

pub(super) const OPS: &[(&str, Planner)] = &[("matmul", plan_matmul), ("linear", linear)];

/// One of two operands: matrices of this many rows and columns, each stored so or transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operand {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) is_transposed: bool,
}

impl Operand {
    /// Of a shape whose last two dimensions are stored.
    fn new(shape: &[usize], is_transposed: bool) -> Option<Self> {
        let (_, &[first, second]) = shape.split_last_chunk::<2>()?;
        let (rows, columns) = if is_transposed { (second, first) } else { (first, second) };
        Some(Self { rows, columns, is_transposed })
    }

    fn elements(self) -> usize {
        self.rows * self.columns
    }

    /// Whether all its rows, or all its columns, are equal bit for bit.
    fn repeats(self, numbers: &[f32], from: usize, rows: bool) -> bool {
        let numbers = &numbers[from..from + self.elements()];
        let (stored_rows, width) = self.stored();
        if rows == self.is_transposed {
            // Those are stored columns: each line is one number again and again.
            numbers.chunks_exact(width).all(|line| {
                line.iter().all(|x| Some(x.to_bits()) == line.first().map(|x| x.to_bits()))
            })
        } else {
            stored_rows > 0
                && numbers.chunks_exact(width).all(|line| {
                    line.iter().zip(numbers).all(|(x, first)| x.to_bits() == first.to_bits())
                })
        }
    }

    /// The first row, or the first column.
    fn outer<'a>(
        self,
        numbers: &'a [f32],
        from: usize,
        row: bool,
        copy: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let numbers = &numbers[from..from + self.elements()];
        let (_, width) = self.stored();
        if row != self.is_transposed {
            return &numbers[..width];
        }
        copy.clear();
        copy.extend(numbers.iter().step_by(width));
        copy
    }

    /// Rows and their length as they are stored.
    fn stored(self) -> (usize, usize) {
        if self.is_transposed { (self.columns, self.rows) } else { (self.rows, self.columns) }
    }

    /// The matrix that begins at an element.
    fn view(self, numbers: &[f32], from: usize) -> MatrixView<'_> {
        let numbers = &numbers[from..from + self.elements()];
        if self.is_transposed {
            MatrixView::rows(numbers, self.columns, self.rows).transposed()
        } else {
            MatrixView::rows(numbers, self.rows, self.columns)
        }
    }
}

/// Products of batches of matrices, which repeat where one operand has a single one.
#[derive(Clone, Debug)]
pub(super) struct Products {
    pub(super) x: Operand,
    pub(super) y: Operand,
    /// Where the matrices of each product begin.
    pub(super) starts: Vec<(usize, usize)>,
}

impl Products {
    /// For operands of these shapes; `None` when they do not fit.
    pub(super) fn new(
        x_shape: &[usize],
        y_shape: &[usize],
        transpose_x: bool,
        transpose_y: bool,
    ) -> Option<Self> {
        let (x, y) = (Operand::new(x_shape, transpose_x)?, Operand::new(y_shape, transpose_y)?);
        let batches = [x_shape, y_shape].map(|shape| &shape[..shape.len() - 2]);
        let all = elementwise::joined(batches[0], batches[1]);
        let fits = |batch: &[usize]| {
            let sizes = batch.iter().rev().zip(all.iter().rev());
            sizes.into_iter().all(|(own, size)| own == size || *own == 1)
        };
        if x.columns != y.rows || !batches.into_iter().all(fits) {
            return None;
        }
        let starts = batches.map(|batch| {
            orion_compiler::tensor::offsets(
                &all,
                &orion_compiler::tensor::broadcast_steps(batch, &all),
            )
        });
        let [x_starts, y_starts] = starts;
        let starts =
            x_starts.zip(y_starts).map(|(i, j)| (i * x.elements(), j * y.elements())).collect();
        Some(Self { x, y, starts })
    }

    /// The shape of the result.
    fn result(&self, x_shape: &[usize], y_shape: &[usize]) -> Vec<usize> {
        let batches = [x_shape, y_shape].map(|shape| &shape[..shape.len() - 2]);
        let mut shape = elementwise::joined(batches[0], batches[1]);
        shape.extend([self.x.rows, self.y.columns]);
        shape
    }

    /// `out[i] = x[i] · y[i]` in f32: few large ones by all threads, many by a thread each. Equal rows of the result, or
    /// columns, are computed once: programs have a fixed width, which is filled with one token again and again.
    pub(super) fn run(&self, work: &mut Workspace<'_>, out: &mut [f32], x: &[f32], y: &[f32]) {
        let (rows, columns) = (self.x.rows, self.y.columns);
        let size = (rows * columns).max(1);
        let pool = work.pool;
        let starts = &self.starts;
        if rows > 1 && starts.iter().all(|&(from, _)| self.x.repeats(x, from, true)) {
            pool.for_each_part_with(&mut work.buffers.threads, out, size, |own, index, out| {
                let (from_x, from_y) = self.starts[index];
                let row = self.x.outer(x, from_x, true, &mut own.numbers);
                let (first, others) = out.split_at_mut(columns);
                vector_product(pool.isa(), row, &self.y.view(y, from_y), first);
                others.chunks_exact_mut(columns).for_each(|other| other.copy_from_slice(first));
            });
            return;
        }
        if columns > 1 && starts.iter().all(|&(_, from)| self.y.repeats(y, from, false)) {
            pool.for_each_part_with(&mut work.buffers.threads, out, size, |own, index, out| {
                let (from_x, from_y) = self.starts[index];
                let column = self.y.outer(y, from_y, false, &mut own.numbers);
                own.sums.resize(rows, 0.0);
                let x = self.x.view(x, from_x).transposed();
                vector_product(pool.isa(), column, &x, &mut own.sums);
                let sums = own.sums.iter();
                out.chunks_exact_mut(columns).zip(sums).for_each(|(out, &sum)| out.fill(sum));
            });
            return;
        }
        if self.starts.len() < work.pool.threads() {
            for (&(from_x, from_y), out) in self.starts.iter().zip(out.chunks_mut(size)) {
                let (x, y) = (self.x.view(x, from_x), self.y.view(y, from_y));
                product(work.pool, &mut work.buffers.matmul, &x, &y, out, columns, false);
            }
            return;
        }
        let pool = work.pool;
        pool.for_each_part_with(&mut work.buffers.threads, out, size, |own, index, out| {
            let (from_x, from_y) = self.starts[index];
            let (x, y) = (self.x.view(x, from_x), self.y.view(y, from_y));
            product(pool, &mut own.matmul, &x, &y, out, columns, false);
        });
    }

    /// The same in fixed point; results are of f16.
    pub(super) fn run_fixed(
        &self,
        work: &mut Workspace<'_>,
        out: &mut [f32],
        x: &[f32],
        y: &[f32],
    ) {
        let (rows, columns, pool) = (self.x.rows, self.y.columns, work.pool);
        if columns == 0 || rows == 0 {
            return;
        }
        // Rows of one product are shared when there are too few products.
        let ways = pool.threads().div_ceil(self.starts.len().max(1));
        let height = rows.div_ceil(ways).max(1);
        let parts = rows.div_ceil(height);
        let is_even = rows.is_multiple_of(height);
        let (height, parts) = if is_even { (height, parts) } else { (rows, 1) };
        pool.for_each_part_with(
            &mut work.buffers.threads,
            out,
            height * columns,
            |own, index, out| {
                let (from_x, from_y) = self.starts[index / parts];
                let first = index % parts * height;
                let y = self.y.view(y, from_y);
                if self.x.is_transposed {
                    // Columns of a stored matrix are rows of the operand: a copy of some of them.
                    let stored = &x[from_x..from_x + self.x.elements()];
                    own.numbers.clear();
                    for line in stored.chunks_exact(rows) {
                        own.numbers.extend_from_slice(&line[first..first + height]);
                    }
                    let x = MatrixView::rows(&own.numbers, self.x.columns, height).transposed();
                    fixed::product(pool.isa(), &mut own.fixed, &x, &y, out, columns);
                } else {
                    let x = self.x.view(x, from_x).rows_from(first, height);
                    fixed::product(pool.isa(), &mut own.fixed, &x, &y, out, columns);
                }
            },
        );
    }
}

fn plan_matmul<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let (x, y) = (p.operand(s, "x")?, p.operand(s, "y")?);
    let transpose_x = p.flag(s, "transpose_x", false)?;
    let transpose_y = p.flag(s, "transpose_y", false)?;
    let (x_shape, y_shape) = (p.shape(x), p.shape(y));
    if x_shape.len() < 2 || y_shape.len() < 2 || !p.ty(x).dtype.is_float() {
        return Ok(false);
    }
    let Some(products) = Products::new(&x_shape, &y_shape, transpose_x, transpose_y) else {
        return Err(refuse(s, "MIL033", format!("`matmul` of {x_shape:?} and {y_shape:?}")));
    };
    let result = products.result(&x_shape, &y_shape);
    // A constant matrix that all rows are multiplied with is packed like a layer's weights.
    if y_shape.len() == 2 && !transpose_x && p.is_known(y) {
        let (rows, columns) = (products.y.columns, products.y.rows);
        let matrix = constant_matrix(p, s, "y", y, [rows, columns], !transpose_y)?;
        if let Some(matrix) = matrix {
            return packed(p, s, x, &matrix, None, &result);
        }
    }
    let out = p.define(s, 0, &result)?;
    let finish = p.finish_of_sum(p.ty(out));
    let profile = p.target.profile;
    if p.target.numerics != Numerics::Ane {
        p.push(
            vec![x, y],
            vec![out],
            finish,
            Box::new(move |work, reads, writes| {
                products.run(work, writes[0], reads[0], reads[1]);
            }),
        );
    } else if profile.has(Quirk::AddsInFours) && products.y.columns == 1 && !transpose_x {
        // What has a single column is lowered to a reduction there (GD ch. 3: both give the same bytes).
        p.push(
            vec![x, y],
            vec![out],
            finish,
            Box::new(move |work, reads, writes| {
                let depth = products.x.columns;
                for (&(from_x, from_y), out) in
                    products.starts.iter().zip(writes[0].chunks_mut(products.x.rows.max(1)))
                {
                    let y = &reads[1][from_y..from_y + depth];
                    let rows =
                        reads[0][from_x..from_x + products.x.elements()].chunks(depth.max(1));
                    let terms: Vec<f32> =
                        rows.flat_map(|row| row.iter().zip(y).map(|(x, y)| x * y)).collect();
                    sum_in_fours(work.pool, out, &terms, depth, 1);
                }
            }),
        );
    } else {
        p.push(
            vec![x, y],
            vec![out],
            Finish::Keep,
            Box::new(move |work, reads, writes| {
                products.run_fixed(work, writes[0], reads[0], reads[1]);
            }),
        );
    }
    Ok(true)
}

/// A constant operand as a packed matrix `[rows, columns]`. `is_transposed` says that it is stored `[columns, rows]`.
pub(super) fn constant_matrix<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
    operand: &str,
    value: ValueId,
    [rows, columns]: [usize; 2],
    is_transposed: bool,
) -> Result<Option<Arc<PackedMatrix>>, Diagnostic> {
    let Some(argument) = s.operand(operand) else { return Ok(None) };
    let ty = p.ty(value).clone();
    // Only numbers that the text keeps in f32, and the arithmetic too, need more than f16.
    let is_wide = ty.dtype == DType::F32 && p.target.numerics == Numerics::Exact;
    if !matches!(ty.dtype, DType::F16 | DType::F32) || rows == 0 || columns == 0 {
        return Ok(None);
    }
    let form = Form::Matrix { is_wide, first: 0, rows, columns, is_transposed };
    matrix_of(p, s, argument, value, &form).map(Some)
}

/// A constant as a packed matrix, from its file, or from its numbers.
pub(super) fn matrix_of<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
    argument: &'p Value<'t>,
    value: ValueId,
    form: &Form,
) -> Result<Arc<PackedMatrix>, Diagnostic> {
    let ty = p.ty(value).clone();
    let at = |diagnostic: Diagnostic| diagnostic.at(Some(s.op.span()));
    if let Some(constant) = p.scope.constant(argument)
        && let Some(matrix) = p.constants.matrix(constant, &ty, form).map_err(at)?
    {
        return Ok(matrix);
    }
    let numbers =
        p.known(value)?.ok_or_else(|| refuse(s, "MIL030", "the weight is no constant"))?;
    let name = argument.name().map_or_else(
        || {
            s.results
                .first()
                .map_or_else(String::new, |result| format!("{} of {}", ty, result.name.text))
        },
        |name| name.text.to_owned(),
    );
    let index = p.index;
    p.constants.matrix_of_numbers(index, &name, &numbers, form).map_err(at)
}

fn linear<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let (x, weight) = (p.operand(s, "x")?, p.operand(s, "weight")?);
    let (x_shape, w_shape) = (p.shape(x), p.shape(weight));
    let (&[rows, columns], Some(&last)) = (w_shape.as_slice(), x_shape.last()) else {
        return Ok(false);
    };
    if columns != last || !p.ty(x).dtype.is_float() {
        return Err(refuse(s, "MIL033", format!("`linear` of {x_shape:?} by {w_shape:?}")));
    }
    let bias = match p.optional(s, "bias")? {
        Some(bias) => match p.known(bias)?.filter(|bias| bias.len() == rows) {
            Some(bias) => Some(bias),
            None => return Ok(false),
        },
        None => None,
    };
    let mut result = x_shape;
    if let Some(last) = result.last_mut() {
        *last = rows;
    }
    let Some(matrix) = constant_matrix(p, s, "weight", weight, [rows, columns], false)? else {
        return Ok(false);
    };
    packed(p, s, x, &matrix, bias, &result)
}

/// `x · matrixᵀ + bias`, where the rows of `x` are all that lie before its last dimension.
fn packed<'p, 't>(
    p: &mut Planning<'p, 't>,
    s: &'p Statement<'t>,
    x: ValueId,
    matrix: &Arc<PackedMatrix>,
    bias: Option<Arc<Vec<f32>>>,
    result: &[usize],
) -> Result<bool, Diagnostic> {
    let out = p.define(s, 0, result)?;
    let finish = p.finish_of_sum(p.ty(out));
    let (matrix, columns) = (Arc::clone(matrix), matrix.columns());
    let count = p.ty(x).elements() / columns.max(1);
    if p.target.numerics != Numerics::Ane {
        p.push(
            vec![x],
            vec![out],
            finish,
            Box::new(move |work, reads, writes| {
                let scratch = &mut work.buffers.matmul;
                matmul(work.pool, scratch, reads[0], count, &[&matrix], &mut [&mut *writes[0]]);
                if let Some(bias) = &bias {
                    orion_kernels::elementwise::add_assign(work.pool, writes[0], bias);
                }
            }),
        );
        return Ok(true);
    }
    let rows = matrix.rows();
    let turns =
        Permutation::new(&[count, columns], &[1, 0]).zip(Permutation::new(&[rows, count], &[1, 0]));
    let Some((inwards, outwards)) = turns else { return Ok(false) };
    p.push(
        vec![x],
        vec![out],
        Finish::Keep,
        Box::new(move |work, reads, writes| {
            let [turned, sums] = &mut work.buffers.numbers;
            turned.resize(reads[0].len(), 0.0);
            sums.resize(writes[0].len(), 0.0);
            permute(work.pool, &inwards, turned, reads[0]);
            let (scratch, bias) = (&mut work.buffers.fixed, bias.as_deref().map(Vec::as_slice));
            fixed::channel_product(work.pool, scratch, &matrix, turned, count, bias, sums);
            permute(work.pool, &outwards, writes[0], sums);
        }),
    );
    Ok(true)
}
