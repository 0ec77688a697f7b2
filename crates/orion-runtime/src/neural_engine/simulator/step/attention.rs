//! `scaled_dot_product_attention`: `softmax(Q·Kᵀ / √d + mask)·V`, a head at a time. In memory the engine ignores the mask (ANE011).

use orion_compiler::mil::syntax::Statement;
use orion_compiler::{DType, Diagnostic};
use orion_kernels::broadcast::{Binary, Broadcast, binary};
use orion_kernels::half_rounding::round_to_f16_without_nan;
use orion_kernels::softmax::softmax;

use super::super::plan::{Planning, refuse};
use super::super::profile::Quirk;
use super::super::settings::Numerics;
use super::Planner;
use super::elementwise::joined;
use super::matrix::Products;
use super::softmax::engine_softmax;

pub(super) const OPS: &[(&str, Planner)] = &[("scaled_dot_product_attention", plan)];

fn plan<'p, 't>(
    p: &mut Planning<'p, 't>,
    _: usize,
    s: &'p Statement<'t>,
) -> Result<bool, Diagnostic> {
    let [query, key, value] =
        [p.operand(s, "query")?, p.operand(s, "key")?, p.operand(s, "value")?];
    let mask = p.optional(s, "attn_mask")?.filter(|_| !p.target.profile.has(Quirk::IgnoresMasks));
    let [q, k, v] = [query, key, value].map(|value| p.shape(value));
    let rank = q.len();
    if rank < 3 || k.len() != rank || v.len() != rank || !p.ty(query).dtype.is_float() {
        return Ok(false);
    }
    let (depth, queries, keys) = (q[rank - 1], q[rank - 2], k[rank - 2]);
    let scores = Products::new(&q, &k, false, true);
    let mut score_shape = joined(&q[..rank - 2], &k[..rank - 2]);
    score_shape.extend([queries, keys]);
    let sums = Products::new(&score_shape, &v, false, false);
    let (Some(scores), Some(sums)) = (scores, sums) else {
        return Err(refuse(s, "MIL033", format!("attention of {q:?}, {k:?} and {v:?}")));
    };
    let mut result = joined(&score_shape[..rank - 2], &v[..rank - 2]);
    result.extend([queries, v[rank - 1]]);
    let is_condition = mask.is_some_and(|mask| p.ty(mask).dtype == DType::Bool);
    let broadcast = match mask {
        Some(mask) => match Broadcast::new(&score_shape, &p.shape(mask)) {
            Some(broadcast) if joined(&score_shape, &p.shape(mask)) == score_shape => {
                Some(broadcast)
            }
            _ => return Ok(false),
        },
        None => None,
    };
    let out = p.define(s, 0, &result)?;
    let finish = p.finish_of_sum(p.ty(out));
    let numerics = p.target.numerics;
    let ties = p.target.profile.elementwise;
    let scale = 1.0 / (depth as f32).sqrt();
    let count = score_shape.iter().product::<usize>();
    let reads = [Some(query), Some(key), Some(value), mask].into_iter().flatten().collect();
    p.push(
        reads,
        vec![out],
        finish,
        Box::new(move |work, reads, writes| {
            let [mut first, mut second] = std::mem::take(&mut work.buffers.numbers);
            first.resize(count, 0.0);
            second.resize(count, 0.0);
            let is_engine = numerics == Numerics::Ane;
            if is_engine {
                scores.run_fixed(work, &mut first, reads[0], reads[1]);
            } else {
                scores.run(work, &mut first, reads[0], reads[1]);
            }
            first.iter_mut().for_each(|score| *score *= scale);
            if let (Some(broadcast), Some(mask)) = (&broadcast, reads.get(3)) {
                if is_condition {
                    let hidden: Vec<f32> = mask
                        .iter()
                        .map(|&x| if x == 0.0 { f32::NEG_INFINITY } else { 0.0 })
                        .collect();
                    binary(work.pool, Binary::Add, broadcast, &mut second, &first, &hidden);
                } else {
                    binary(work.pool, Binary::Add, broadcast, &mut second, &first, mask);
                }
                std::mem::swap(&mut first, &mut second);
            }
            if is_engine {
                round_to_f16_without_nan(work.pool, &mut first, ties);
                engine_softmax(work.pool, &mut second, &first, keys, 1, ties);
                round_to_f16_without_nan(work.pool, &mut second, ties);
                sums.run_fixed(work, writes[0], &second, reads[2]);
            } else {
                softmax(work.pool, &mut second, &first, keys);
                sums.run(work, writes[0], &second, reads[2]);
            }
            work.buffers.numbers = [first, second];
        }),
    );
    Ok(true)
}
