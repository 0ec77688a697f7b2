//! Scaled dot-product attention straight from a key-value cache, with the softmax computed on the way (Milakov and
//! Gimelshein, 2018; Dao et al., 2022): scores never leave the caches of the CPU.
//!
//! Few queries (`decode`) stream the cache once, all heads of a thread side by side. Many queries (`prefill`) take the
//! cache in tiles that are converted once for all queries and heads that share them. In training in bf16, its
//! products are of rounded operands, too ([`products`]).

mod decode;
mod key_head;
mod prefill;
mod products;
#[cfg(test)]
mod tests;

use half::f16;

pub(crate) use key_head::KeyHead;
pub use products::attention_by_products;
pub(crate) use products::exponentials_of;

use crate::matmul::MatrixView;
use crate::matmul::lanes::{Lanes, with_lanes};
use crate::pool::DisjointMut;
use crate::{Isa, Pool};

/// Keys or values as they are stored, `[batch, capacity, kv_heads, head_dim]`.
#[derive(Clone, Copy, Debug)]
pub enum Cache<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Half precision.
    F16(&'a [f16]),
}

/// Sizes of the operands and how they are used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Sequences side by side.
    pub batch: usize,
    /// New tokens of each.
    pub queries: usize,
    /// Heads of queries; a multiple of `kv_heads`.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Tokens that the cache has room for.
    pub capacity: usize,
    /// Where the first query stands; it and its companions are in the cache already.
    pub position: usize,
    /// Factor of the scores, usually `1/sqrt(head_dim)`.
    pub scale: f32,
    /// Whether query `t` sees only the keys `0 ..= position + t`, not all `position + queries`.
    pub causal: bool,
}

impl AttentionShape {
    /// Heads of queries that share a head of keys.
    pub(crate) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Checks the lengths of what has the size of queries, and of what has that of stored keys.
    ///
    /// # Panics
    /// When one is not the shape's, queries share heads unevenly, or they reach beyond the capacity.
    pub(crate) fn check(
        &self,
        of_queries: impl IntoIterator<Item = usize>,
        of_keys: impl IntoIterator<Item = usize>,
    ) {
        let size = self.batch * self.queries * self.heads * self.head_dim;
        let stored = self.batch * self.capacity * self.kv_heads * self.head_dim;
        assert!(
            of_queries.into_iter().all(|len| len == size),
            "queries and results have the shape's size"
        );
        assert!(
            of_keys.into_iter().all(|len| len == stored),
            "keys and values have the shape's size"
        );
        assert!(
            self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads),
            "queries share heads evenly"
        );
        assert!(self.position + self.queries <= self.capacity, "queries lie inside of the cache");
    }

    /// Number of keys that query `t` sees.
    fn visible(&self, t: usize) -> usize {
        self.position + if self.causal { t + 1 } else { self.queries }
    }
}

/// What is done to the operands of a product.
pub type Rounding = fn(MatrixView<'_>) -> MatrixView<'_>;

/// Working memory, kept from call to call.
#[derive(Default)]
pub struct Scratch {
    threads: Vec<Vec<f32>>,
    products: Vec<products::ThreadScratch>,
}

impl Scratch {
    /// At least `count` numbers for each of `threads` threads; their contents are arbitrary.
    fn parts(&mut self, threads: usize, count: usize) -> &mut [Vec<f32>] {
        self.threads.resize_with(self.threads.len().max(threads), Vec::new);
        for part in &mut self.threads[..threads] {
            if part.len() < count {
                part.resize(count, 0.0);
            }
        }
        &mut self.threads[..threads]
    }
}

/// Queries of one head from which tiles pay.
const MANY: usize = 8;

/// `out[t] = Σ softmax(scale · q[t] · keys) · values`; `q` and `out` are `[batch, queries, heads, head_dim]`. Head `h`
/// reads key head `h / (heads / kv_heads)`. Keys that no query sees may hold anything.
///
/// # Panics
/// When slices do not have the shape's size, `heads` is no multiple of `kv_heads`, or the queries reach beyond the
/// capacity.
pub fn attention(
    pool: &Pool,
    scratch: &mut Scratch,
    out: &mut [f32],
    q: &[f32],
    keys: Cache<'_>,
    values: Cache<'_>,
    shape: AttentionShape,
) {
    let len = |cache: Cache<'_>| match cache {
        Cache::F32(data) => data.len(),
        Cache::F16(data) => data.len(),
    };
    shape.check([q.len(), out.len()], [len(keys), len(values)]);
    if out.is_empty() {
        return;
    }
    match (keys, values) {
        (Cache::F32(keys), Cache::F32(values)) => run(pool, scratch, out, q, keys, values, shape),
        (Cache::F16(keys), Cache::F16(values)) => run(pool, scratch, out, q, keys, values, shape),
        _ => panic!("keys and values have one element type"),
    }
}

fn run<T: Stored>(
    pool: &Pool,
    scratch: &mut Scratch,
    out: &mut [f32],
    q: &[f32],
    keys: &[T],
    values: &[T],
    shape: AttentionShape,
) {
    if shape.queries < MANY {
        decode::run(pool, scratch, out, q, keys, values, shape);
    } else {
        prefill::run(pool, scratch, out, q, keys, values, shape);
    }
}

/// An element type of caches.
trait Stored: Copy + Send + Sync {
    /// Reads 16 elements.
    ///
    /// # Safety
    /// As [`Lanes`]; `from` is valid for 16 elements.
    unsafe fn load<L: Lanes>(from: *const Self) -> L;

    /// One element.
    fn widen(self) -> f32;

    /// [`decode::stream`] for this type and an instruction set.
    fn stream(isa: Isa, job: &decode::Job<'_, Self>, states: &mut [f32], scores: &mut [f32]);

    /// [`prefill::block`] for this type and an instruction set.
    fn block(isa: Isa, job: &prefill::Job<'_, Self>, part: &mut [f32], out: &DisjointMut<'_, f32>);
}

/// The entry points for one type: functions compiled for an instruction set cannot be generic over it.
macro_rules! entry_points {
    ($ty:ty) => {
        fn stream(isa: Isa, job: &decode::Job<'_, $ty>, states: &mut [f32], scores: &mut [f32]) {
            /// # Safety
            /// As [`Lanes`].
            #[inline(always)]
            unsafe fn typed<L: Lanes>(job: &decode::Job<'_, $ty>, states: &mut [f32], scores: &mut [f32]) {
                // SAFETY: by this function's contract.
                unsafe { decode::stream::<L, $ty>(job, states, scores) }
            }
            with_lanes!(isa, typed(job: &decode::Job<'_, $ty>, states: &mut [f32], scores: &mut [f32]));
        }

        fn block(isa: Isa, job: &prefill::Job<'_, $ty>, part: &mut [f32], out: &DisjointMut<'_, f32>) {
            /// # Safety
            /// As [`Lanes`] and [`prefill::block`].
            #[inline(always)]
            unsafe fn typed<L: Lanes>(job: &prefill::Job<'_, $ty>, part: &mut [f32], out: &DisjointMut<'_, f32>) {
                // SAFETY: by this function's contract.
                unsafe { prefill::block::<L, $ty>(job, part, out) }
            }
            with_lanes!(
                isa,
                typed(job: &prefill::Job<'_, $ty>, part: &mut [f32], out: &DisjointMut<'_, f32>)
            );
        }
    };
}

impl Stored for f32 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const Self) -> L {
        // SAFETY: by this function's contract.
        unsafe { L::load_f32(from.cast()) }
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    entry_points!(f32);
}

impl Stored for f16 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const Self) -> L {
        // SAFETY: by this function's contract.
        unsafe { L::load_f16(from.cast()) }
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }

    entry_points!(f16);
}
