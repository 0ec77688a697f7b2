//! The operands of attention as matrices: what belongs to one head of keys of one sequence.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::AttentionShape;
use crate::Pool;
use crate::matmul::MatrixView;
use crate::numbers::Numbers;

/// A head of keys of one sequence, with the heads of queries that share it.
#[derive(Clone, Copy)]
pub(crate) struct KeyHead {
    pub(crate) shape: AttentionShape,
    pub(crate) sequence: usize,
    pub(crate) kv: usize,
}

impl KeyHead {
    /// Calls `job(thread, head, part)` for every head and each of so many parts of it; a thread that is done takes the next.
    pub(crate) fn share(
        pool: &Pool,
        shape: AttentionShape,
        parts: usize,
        job: impl Fn(usize, Self, usize) + Sync,
    ) {
        let next = AtomicUsize::new(0);
        pool.run(|thread| {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= shape.batch * shape.kv_heads * parts {
                    break;
                }
                let (head, part) = (index / parts, index % parts);
                let (sequence, kv) = (head / shape.kv_heads, head % shape.kv_heads);
                job(thread, Self { shape, sequence, kv }, part);
            }
        });
    }

    /// Keys that any query sees.
    pub(crate) fn seen(&self) -> usize {
        self.shape.position + self.shape.queries
    }

    /// Keys that some of the queries before `end` see.
    pub(crate) fn visible(&self, end: usize) -> usize {
        self.shape.visible(end.saturating_sub(1))
    }

    /// Where key `index` starts in keys or values.
    pub(crate) fn place_of_key(&self, index: usize) -> usize {
        let AttentionShape { capacity, kv_heads, head_dim, .. } = self.shape;
        ((self.sequence * capacity + index) * kv_heads + self.kv) * head_dim
    }

    /// Where the query `index` of head `member` of the group starts in `q`, its gradient or that of the result.
    pub(crate) fn place_of_query(&self, member: usize, index: usize) -> usize {
        let AttentionShape { queries, heads, head_dim, .. } = self.shape;
        let head = self.kv * self.shape.group() + member;
        ((self.sequence * queries + index) * heads + head) * head_dim
    }

    /// The keys or values that are seen, `[seen, head_dim]`.
    pub(crate) fn keys<'a>(&self, data: Numbers<'a>) -> MatrixView<'a> {
        let AttentionShape { kv_heads, head_dim, .. } = self.shape;
        let data = data.part(self.place_of_key(0)..data.len());
        MatrixView::of(data, self.seen(), head_dim, kv_heads * head_dim)
    }

    /// Some queries of a head of the group, `[rows, head_dim]`.
    pub(crate) fn queries<'a>(
        &self,
        data: Numbers<'a>,
        member: usize,
        rows: &Range<usize>,
    ) -> MatrixView<'a> {
        let AttentionShape { heads, head_dim, .. } = self.shape;
        let data = data.part(self.place_of_query(member, rows.start)..data.len());
        MatrixView::of(data, rows.len(), head_dim, heads * head_dim)
    }

    /// Asks for the queries from `first` on, `count` of them or what there is.
    pub(crate) fn prefetch_queries(
        &self,
        data: Numbers<'_>,
        member: usize,
        first: usize,
        count: usize,
    ) {
        let rows = first..(first + count).min(self.shape.queries);
        if !rows.is_empty() {
            self.queries(data, member, &rows).prefetch_all();
        }
    }
}
