//! A persistent thread pool for work that lasts microseconds. Workers spin between jobs, so starting and joining a
//! job costs about a microsecond; they give way on a busy machine and sleep when nothing comes. Work is always cut the
//! same way for a given thread count, so results are reproducible bit for bit; when another process holds a worker's
//! core, the caller takes over the share that the worker has not begun.

mod disjoint;

use std::{
    any::Any,
    cell::UnsafeCell,
    hint,
    ops::Range,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

pub(crate) use disjoint::DisjointMut;

use crate::isa::Isa;

/// Spins with the CPU's pause hint before a waiter starts to offer its core to others: some 20 µs.
const PAUSES_BEFORE_YIELD: u32 = 512;
/// How long an idle worker stays awake. Longer than any gap inside a token, shorter than a user notices.
const AWAKE: Duration = Duration::from_micros(1500);

/// A fixed set of threads that run one job at a time; the calling thread is number 0.
pub struct Pool {
    isa: Isa,
    threads: usize,
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[repr(align(128))]
struct Padded<T>(T);

struct Shared {
    /// Number of the current job; a change is the signal to start.
    generation: Padded<AtomicUsize>,
    /// Workers that have not finished the current job.
    running: Padded<AtomicUsize>,
    /// Held by the thread whose job is running.
    busy: Padded<AtomicBool>,
    stop: AtomicBool,
    job: UnsafeCell<Option<Job>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    asleep: Vec<Padded<AtomicBool>>,
    /// Per worker: the last job whose share has been begun, by the worker or by the caller in its place.
    begun: Vec<Padded<AtomicUsize>>,
}

/// A closure with its type and lifetime erased. `Pool::run` does not return before the workers are done with it.
#[derive(Clone, Copy)]
struct Job {
    closure: *const (),
    call: unsafe fn(*const (), usize),
}

impl Job {
    fn erase<F: Fn(usize) + Sync>(closure: &F) -> Self {
        unsafe fn call<F: Fn(usize)>(closure: *const (), thread: usize) {
            // SAFETY: `erase` paired this function with a closure of this type, which the caller keeps alive.
            unsafe { (*closure.cast::<F>())(thread) }
        }
        Self { closure: (&raw const *closure).cast(), call: call::<F> }
    }
}

// SAFETY: `job` is written only by the holder of `busy` while no share runs, and read only between
// beginning a share and their decrement of `running`; the closure behind it is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is only dereferenced while the closure is alive.
unsafe impl Send for Shared {}

impl Pool {
    /// A pool of `threads` threads (at least one, this one included) whose kernels use `isa`.
    ///
    /// When the system refuses a thread, the pool has as many as it got.
    pub fn new(threads: usize, isa: Isa) -> Self {
        let wanted = threads.max(1) - 1;
        let shared = Arc::new(Shared {
            generation: Padded(AtomicUsize::new(0)),
            running: Padded(AtomicUsize::new(0)),
            busy: Padded(AtomicBool::new(false)),
            stop: AtomicBool::new(false),
            job: UnsafeCell::new(None),
            panic: Mutex::new(None),
            begun: (0..wanted).map(|_| Padded(AtomicUsize::new(0))).collect(),
            asleep: (0..wanted).map(|_| Padded(AtomicBool::new(false))).collect(),
        });
        let workers: Vec<_> = (0..wanted)
            .map_while(|worker| {
                let shared = Arc::clone(&shared);
                thread::Builder::new()
                    .name(format!("orion-{}", worker + 1))
                    .spawn(move || shared.work(worker))
                    .ok()
            })
            .collect();
        Self { isa, threads: workers.len() + 1, shared, workers }
    }

    /// Number of threads, the caller included.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The instruction set that kernels on this pool use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Whether a job runs, so that another one would be done by its caller alone.
    pub(crate) fn is_busy(&self) -> bool {
        self.shared.busy.0.load(Ordering::Relaxed)
    }

    /// Calls `job(thread)` once for every `thread` in `0..threads()` and returns when all have ended.
    ///
    /// Called from inside a job, or while another thread's job runs, it does all the parts on the calling thread.
    ///
    /// # Panics
    /// When a part panics, with that part's payload, after every other part has ended.
    pub fn run(&self, job: impl Fn(usize) + Sync) {
        let shared = &*self.shared;
        if self.workers.is_empty() || shared.busy.0.swap(true, Ordering::Acquire) {
            (0..self.threads).for_each(job);
            return;
        }
        let erased = Job::erase(&job);
        // SAFETY: this thread holds `busy` and no worker runs, so nobody else touches the cell.
        unsafe { *shared.job.get() = Some(erased) };
        shared.running.0.store(self.workers.len(), Ordering::Relaxed);
        let generation = shared.generation.0.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        self.wake();

        let own = panic::catch_unwind(AssertUnwindSafe(|| job(0)));
        if shared.running.0.load(Ordering::Acquire) != 0 {
            for worker in 0..self.workers.len() {
                shared.share(worker, generation);
            }
        }
        let mut waiter = Waiter::new();
        while shared.running.0.load(Ordering::Acquire) != 0 {
            waiter.pause();
        }
        let worker = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        shared.busy.0.store(false, Ordering::Release);
        if let Some(payload) = own.err().or(worker) {
            panic::resume_unwind(payload);
        }
    }

    /// Cuts `out` into parts of `part_len` (the last may be shorter) and calls `job(part_index, part)` for each, a
    /// contiguous run of parts per thread.
    ///
    /// # Panics
    /// When `part_len` is zero and `out` is not empty, or when a part panics.
    pub fn for_each_part_mut<T: Send>(
        &self,
        out: &mut [T],
        part_len: usize,
        job: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let mut states = vec![(); self.threads];
        self.for_each_part_with(&mut states, out, part_len, |(), index, part| job(index, part));
    }

    /// As [`Pool::for_each_part_mut`], and lends every thread its own element of `states` as scratch.
    ///
    /// # Panics
    /// When `states` has fewer elements than the pool has threads, and as [`Pool::for_each_part_mut`].
    pub fn for_each_part_with<S: Send, T: Send>(
        &self,
        states: &mut [S],
        out: &mut [T],
        part_len: usize,
        job: impl Fn(&mut S, usize, &mut [T]) + Sync,
    ) {
        if out.is_empty() {
            return;
        }
        assert!(part_len > 0, "parts must have at least one element");
        assert!(states.len() >= self.threads, "one state per thread");
        let parts = out.len().div_ceil(part_len);
        let (out, states) = (DisjointMut::new(out), DisjointMut::new(states));
        self.run(|thread| {
            // SAFETY: `run` gives every thread number once, so each state and each part has one borrower.
            let state = unsafe { &mut states.slice(thread..thread + 1)[0] };
            for index in split(parts, self.threads, thread) {
                let start = index * part_len;
                let end = (start + part_len).min(out.len());
                // SAFETY: `split` hands every part to one thread only, and parts do not overlap.
                job(state, index, unsafe { out.slice(start..end) });
            }
        });
    }

    fn wake(&self) {
        for (worker, asleep) in self.workers.iter().zip(&self.shared.asleep) {
            if asleep.0.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.generation.0.fetch_add(1, Ordering::SeqCst);
        self.wake();
        for worker in self.workers.drain(..) {
            // A worker catches its jobs' panics, so it has nothing to report here.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn work(&self, worker: usize) {
        let mut seen = 0;
        loop {
            seen = self.next_generation(worker, seen);
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            self.share(worker, seen);
        }
    }

    /// Does a worker's share of job `generation`, unless it has been begun already.
    fn share(&self, worker: usize, generation: usize) {
        // Every share of the job before has been begun, and none of the job after: only one thread gets past this, and
        // none that is late.
        let begin = self.begun[worker].0.compare_exchange(
            generation.wrapping_sub(1),
            generation,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if begin.is_err() {
            return;
        }
        // SAFETY: `run` has written the cell before this job's number, and waits for this share.
        if let Some(job) = unsafe { *self.job.get() } {
            // SAFETY: `run` keeps the closure alive until `running` is zero.
            let part = panic::catch_unwind(|| unsafe { (job.call)(job.closure, worker + 1) });
            if let Err(payload) = part {
                let mut slot = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
                slot.get_or_insert(payload);
            }
        }
        self.running.0.fetch_sub(1, Ordering::Release);
    }

    fn next_generation(&self, worker: usize, seen: usize) -> usize {
        let mut waiter = Waiter::new();
        loop {
            let generation = self.generation.0.load(Ordering::Acquire);
            if generation != seen {
                return generation;
            }
            if waiter.pause() < AWAKE {
                continue;
            }
            // The flag goes up before the last look and `run` publishes before it looks at the flag: one of them sees
            // the other (sequential consistency), so no signal is lost.
            self.asleep[worker].0.store(true, Ordering::SeqCst);
            while self.generation.0.load(Ordering::SeqCst) == seen {
                thread::park();
            }
            self.asleep[worker].0.store(false, Ordering::SeqCst);
        }
    }
}

/// Spinning that becomes more polite with time.
struct Waiter {
    pauses: u32,
    since: Option<Instant>,
}

impl Waiter {
    fn new() -> Self {
        Self { pauses: 0, since: None }
    }

    /// Waits a moment and says for how long this waiter has been giving way.
    fn pause(&mut self) -> Duration {
        if self.pauses < PAUSES_BEFORE_YIELD {
            self.pauses += 1;
            hint::spin_loop();
            return Duration::ZERO;
        }
        thread::yield_now();
        self.since.get_or_insert_with(Instant::now).elapsed()
    }
}

/// The `index`-th of `ways` contiguous, nearly equal cuts of `0..count`.
pub fn split(count: usize, ways: usize, index: usize) -> Range<usize> {
    let (size, extra) = (count / ways, count % ways);
    let start = index * size + index.min(extra);
    start..start + size + usize::from(index < extra)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> Pool {
        Pool::new(threads, Isa::portable())
    }

    #[test]
    fn every_thread_number_runs_exactly_once_per_job() {
        for threads in [1, 2, 5] {
            let pool = pool(threads);
            let calls: Vec<_> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
            for _ in 0..200 {
                pool.run(|thread| {
                    calls[thread].fetch_add(1, Ordering::Relaxed);
                });
            }
            assert!(calls.iter().all(|count| count.load(Ordering::Relaxed) == 200));
        }
    }

    #[test]
    fn sleeping_workers_wake_for_the_next_job() {
        let pool = pool(3);
        let count = AtomicUsize::new(0);
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(6));
            pool.run(|_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
        }
        assert_eq!(count.into_inner(), 9);
    }

    #[test]
    fn parts_cover_the_slice_in_order_with_a_short_tail() {
        let pool = pool(3);
        let mut out = vec![0; 23];
        pool.for_each_part_mut(&mut out, 4, |index, part| {
            for (offset, value) in part.iter_mut().enumerate() {
                *value = index * 4 + offset;
            }
        });
        assert_eq!(out, (0..23).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_in_a_worker_reaches_the_caller_and_the_pool_lives_on() {
        let pool = pool(2);
        for guilty in [0, 1] {
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
                pool.run(|thread| assert_ne!(thread, guilty, "as planned"));
            }));
            assert!(outcome.is_err());
        }
        pool.run(|_| {});
    }

    #[test]
    fn a_nested_run_does_all_its_parts_inline() {
        let pool = pool(2);
        let count = AtomicUsize::new(0);
        pool.run(|_| {
            pool.run(|_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(count.into_inner(), 4);
    }

    #[test]
    fn split_covers_everything_evenly() {
        for (count, ways) in [(0, 3), (2, 3), (10, 3), (12, 4)] {
            let mut next = 0;
            for index in 0..ways {
                let range = split(count, ways, index);
                assert_eq!(range.start, next);
                assert!(range.len() >= count / ways && range.len() <= count.div_ceil(ways));
                next = range.end;
            }
            assert_eq!(next, count);
        }
    }
}
