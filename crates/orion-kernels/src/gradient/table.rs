//! Gradients of tables: of embeddings by token id, and of biases, which every row has in common.

use crate::Pool;
use crate::pool::{DisjointMut, split};

/// The gradient of a table `[rows, width]` whose rows `index` were read: `dtable` is overwritten, or added to. Each thread adds up
/// columns of its own, in the order of `index`, so that the result does not depend on the threads. Ids outside of the
/// table are passed over.
///
/// # Panics
/// When `dy` is not `[index.len(), width]` or `dtable` no whole rows.
pub fn embedding_gradient(
    pool: &Pool,
    dtable: &mut [f32],
    dy: &[f32],
    index: &[i32],
    width: usize,
    accumulate: bool,
) {
    assert!(width > 0 && dtable.len().is_multiple_of(width), "whole rows");
    assert_eq!(dy.len(), index.len() * width, "a gradient for each row that was read");
    let rows = dtable.len() / width;
    let out = DisjointMut::new(dtable);
    if !accumulate {
        pool.run(|thread| {
            let own = split(rows, pool.threads(), thread);
            // SAFETY: `split` gives every row to one thread.
            unsafe { out.slice(own.start * width..own.end * width) }.fill(0.0);
        });
    }
    pool.run(|thread| {
        let columns = split(width, pool.threads(), thread);
        for (&id, dy) in index.iter().zip(dy.chunks_exact(width)) {
            let Some(row) = usize::try_from(id).ok().filter(|&row| row < rows) else { continue };
            // SAFETY: every thread has its own columns.
            let to = unsafe { out.slice(row * width + columns.start..row * width + columns.end) };
            to.iter_mut().zip(&dy[columns.clone()]).for_each(|(to, dy)| *to += dy);
        }
    });
}

/// `out[column] = Σ x[row][column]`: the gradient of a bias.
///
/// # Panics
/// When `x` is no whole rows of `out.len()` values.
pub fn add_columns(pool: &Pool, out: &mut [f32], x: &[f32]) {
    let width = out.len();
    assert!(width > 0 && x.len().is_multiple_of(width), "whole rows");
    let parts = DisjointMut::new(out);
    pool.run(|thread| {
        let columns = split(width, pool.threads(), thread);
        // SAFETY: every thread has its own columns.
        let out = unsafe { parts.slice(columns.clone()) };
        out.fill(0.0);
        for row in x.chunks_exact(width) {
            out.iter_mut().zip(&row[columns.clone()]).for_each(|(out, x)| *out += x);
        }
    });
}
