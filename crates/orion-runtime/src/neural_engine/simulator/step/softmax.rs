//! Softmax along a dimension.

use orion_compiler::Diagnostic;
use orion_compiler::mil::syntax::Statement;
use orion_kernels::half_rounding::{Ties, round_to_f16_without_nan};
use orion_kernels::pool::Pool;
use orion_kernels::softmax::{softmax, softmax_columns};
use orion_kernels::unary::{Unary, unary};

use super::super::plan::{Finish, Planning};
use super::super::settings::Numerics;
use super::Planner;

pub(super) const OPS: &[(&str, Planner)] = &[("softmax", plan)];

fn plan<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let x = p.operand(s, "x")?;
    let shape = p.shape(x);
    let axis = p.axis(s, "axis", -1, shape.len())?;
    let out = p.define(s, 0, &shape)?;
    let (length, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    if p.target.numerics == Numerics::Ane {
        let ties = p.target.profile.elementwise;
        p.push(
            vec![x],
            vec![out],
            Finish::Engine(ties),
            Box::new(move |work, reads, writes| {
                engine_softmax(work.pool, writes[0], reads[0], length, inner, ties);
            }),
        );
        return Ok(true);
    }
    let finish = p.finish_of(p.ty(out));
    p.push(
        vec![x],
        vec![out],
        finish,
        Box::new(move |work, reads, writes| {
            if inner == 1 {
                softmax(work.pool, writes[0], reads[0], length);
            } else {
                softmax_columns(work.pool, writes[0], reads[0], length, inner);
            }
        }),
    );
    Ok(true)
}

/// As facts §5.2 has it: the largest is subtracted, the exponentials are f16, their sum is wide. Results are not rounded yet.
pub(super) fn engine_softmax(
    pool: &Pool,
    out: &mut [f32],
    x: &[f32],
    length: usize,
    inner: usize,
    ties: Ties,
) {
    let block = length * inner;
    if block == 0 {
        return;
    }
    let mut most = vec![0.0_f32; inner];
    for (out, x) in out.chunks_exact_mut(block).zip(x.chunks_exact(block)) {
        most.fill(f32::NEG_INFINITY);
        for x in x.chunks_exact(inner) {
            most.iter_mut().zip(x).for_each(|(most, &x)| *most = if x > *most { x } else { *most });
        }
        for (out, x) in out.chunks_exact_mut(inner).zip(x.chunks_exact(inner)) {
            out.iter_mut().zip(x).zip(&most).for_each(|((out, x), most)| *out = x - most);
        }
    }
    round_to_f16_without_nan(pool, out, ties);
    exponentials(pool, out);
    round_to_f16_without_nan(pool, out, ties);
    let mut sums = vec![0.0_f32; inner];
    for out in out.chunks_exact_mut(block) {
        sums.fill(0.0);
        for out in out.chunks_exact(inner) {
            sums.iter_mut().zip(out).for_each(|(sum, x)| *sum += x);
        }
        for out in out.chunks_exact_mut(inner) {
            out.iter_mut().zip(&sums).for_each(|(x, sum)| *x /= sum);
        }
    }
}

/// `eˣ` of every number, in pieces that stay in a cache.
fn exponentials(pool: &Pool, values: &mut [f32]) {
    const PIECE: usize = 4096;
    pool.for_each_part_mut(values, PIECE, |_, piece| {
        let mut copy = [0.0_f32; PIECE];
        copy[..piece.len()].copy_from_slice(piece);
        unary(pool, Unary::Exp, piece, &copy[..piece.len()]);
    });
}
