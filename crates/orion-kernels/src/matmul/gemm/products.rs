//! Products of dense matrices, one or several in one go.

use super::{
    DisjointMut, Job, LONGEST, MatrixView, NumbersMut, Plan, Product, ProductTile, Right,
    TileKernel, grow, run,
};
use crate::convert::f32_to_bf16;
use crate::matmul::Scratch;
use crate::pool::Pool;

/// `out = x · y`, or `out += x · y`: a product among several.
pub struct DenseProduct<'a> {
    /// `[m, k]`.
    pub x: MatrixView<'a>,
    /// `[k, n]`, rounded as `x` is, or neither is.
    pub y: MatrixView<'a>,
    /// `[m, n]`, row after row. In bf16, rounded to nearest, ties to even; subnormal results may become zeros.
    pub out: NumbersMut<'a>,
    /// Whether the product is added to what `out` holds, which is f32 then.
    pub accumulate: bool,
}

/// Several products, none of which is an operand of another: each thread does its shares of all, and the threads meet once.
/// Neighbours of one left operand share what is packed of it.
///
/// Called from inside a job of `pool`, it does all the work on the calling thread.
///
/// # Panics
/// When inner dimensions differ, operands are rounded differently, an `out` is too short, or one of bf16 is to be added to.
pub fn products(pool: &Pool, scratch: &mut Scratch, list: &mut [DenseProduct<'_>]) {
    let mut jobs: Vec<Job<'_, MatrixView<'_>>> = Vec::new();
    for DenseProduct { x, y, out, accumulate } in list {
        let columns = y.column_count();
        assert!(out.len() >= x.row_count() * columns, "room for the product");
        let Some(mut plan) = plan_of(pool, x, y) else { continue };
        if x.column_count() == 0 {
            if !*accumulate {
                out.clear();
            }
            continue;
        }
        let is_short = plan.units <= LONGEST * plan.kernel.depth;
        let product = match out {
            NumbersMut::F32(out) => {
                let (out, accumulate) = (DisjointMut::new(out), *accumulate);
                Product::Matrix { out, stride: columns, accumulate }
            }
            NumbersMut::Bf16(out) => {
                assert!(!*accumulate, "sums are of f32");
                if !is_short {
                    let (mut buffer, count) = (scratch.turned.take(), x.row_count() * columns);
                    let whole = &mut grow(&mut buffer, count)[..count];
                    product(pool, scratch, x, y, whole, columns, false);
                    f32_to_bf16(pool, &mut out[..count], whole);
                    scratch.turned = buffer;
                    continue;
                }
                plan.kernel.depth = plan.units;
                Product::Rounded { out: DisjointMut::new(out), stride: columns }
            }
        };
        let right = Right { panels: y, product };
        match jobs.last_mut().filter(|job| is_short && job.x.is_same(x)) {
            Some(job) => {
                job.plan.kernel.depth = job.plan.kernel.depth.max(plan.kernel.depth);
                job.rights.push(right);
            }
            None => jobs.push(Job { plan, x: *x, rights: vec![right] }),
        }
    }
    run(pool, scratch, &jobs);
}

/// `out = x · y`, or `out += x · y` when `accumulate`. Both operands are rounded alike, or not at all. The rows of `out`
/// start `stride` values apart.
///
/// Called from inside a job of `pool`, it does all the work on the calling thread.
///
/// # Panics
/// When the inner dimensions differ, the operands are rounded differently, or `out` is too short.
pub fn product(
    pool: &Pool,
    scratch: &mut Scratch,
    x: &MatrixView<'_>,
    y: &MatrixView<'_>,
    out: &mut [f32],
    stride: usize,
    accumulate: bool,
) {
    let (m, columns) = (x.row_count(), y.column_count());
    let Some(plan) = plan_of(pool, x, y) else { return };
    assert!(stride >= columns && out.len() >= (m - 1) * stride + columns, "room for the product");
    if x.column_count() == 0 {
        if !accumulate {
            out.chunks_mut(stride).take(m).for_each(|row| row[..columns].fill(0.0));
        }
        return;
    }
    let product = Product::Matrix { out: DisjointMut::new(out), stride, accumulate };
    run(pool, scratch, &[Job { plan, x: *x, rights: vec![Right { panels: y, product }] }]);
}

/// `x · y` tile by tile, for who needs not all of it in memory. Operands are as those of [`product`].
///
/// # Panics
/// When the inner dimensions differ or are zero, or the operands are rounded differently.
pub(crate) fn product_tiles(
    pool: &Pool,
    scratch: &mut Scratch,
    x: &MatrixView<'_>,
    y: &MatrixView<'_>,
    take: impl Fn(ProductTile<'_>) + Sync,
) {
    assert!(x.column_count() > 0, "columns to sum over");
    let Some(mut plan) = plan_of(pool, x, y) else { return };
    plan.kernel.depth = plan.units;
    let rights = vec![Right { panels: y, product: Product::Tiles(&take) }];
    run(pool, scratch, &[Job { plan, x: *x, rights }]);
}

/// How to multiply two matrices, if their product has any elements.
fn plan_of(pool: &Pool, x: &MatrixView<'_>, y: &MatrixView<'_>) -> Option<Plan> {
    assert_eq!(x.column_count(), y.row_count(), "inner dimensions");
    assert_eq!(x.narrow(), y.narrow(), "operands that are rounded alike");
    let kernel = TileKernel::of(pool.isa(), x.narrow());
    let has_elements = x.row_count() > 0 && y.column_count() > 0;
    has_elements.then(|| Plan::new(pool.isa(), kernel, x.row_count(), x.column_count()))
}
