//! What a run does and how long it takes, as a trace that Perfetto (<https://ui.perfetto.dev>) and Chrome show: programs
//! compiled and loaded, runs, the host's part, copies, tokens. A [`Recorder`] collects spans while a program runs; a [`Trace`]
//! is the file. Who has no recorder pays nothing.
//!
//! Two clocks never share a track: this machine's, one track a thread, and a chip's *modelled* one, a process of its own that says
//! so in its name, in which dispatches lie end to end.
//!
//! The format is the Trace Event Format
//! (<https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>): complete events (`X`) with times in
//! microseconds, metadata events (`M`) with names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

use serde_json::{Map, Value, json};

/// Spans that a recorder keeps; later ones are only counted. They take some hundred bytes each.
const MOST: usize = 1 << 20;

/// Where spans lie, one after the other or one in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Track {
    process: usize,
    thread: usize,
}

/// A trace: processes with tracks with spans.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Names of processes, each with the names of its tracks.
    processes: Vec<(String, Vec<String>)>,
    spans: Vec<TracedSpan>,
    dropped: u64,
}

#[derive(Clone, Debug)]
struct TracedSpan {
    track: Track,
    category: &'static str,
    name: String,
    /// Seconds.
    start: f64,
    /// Seconds.
    length: f64,
    arguments: Map<String, Value>,
}

impl Trace {
    /// Adds a process with one track.
    pub fn process(&mut self, name: impl Into<String>, track: impl Into<String>) -> Track {
        self.processes.push((name.into(), vec![track.into()]));
        Track { process: self.processes.len() - 1, thread: 0 }
    }

    /// Adds a track to the process that another one is of.
    pub fn track(&mut self, beside: Track, name: impl Into<String>) -> Track {
        let Some((_, tracks)) = self.processes.get_mut(beside.process) else { return beside };
        tracks.push(name.into());
        Track { process: beside.process, thread: tracks.len() - 1 }
    }

    /// Adds what took `length` seconds from `start` on, both in seconds.
    pub fn span(
        &mut self,
        track: Track,
        category: &'static str,
        name: impl Into<String>,
        (start, length): (f64, f64),
        arguments: Map<String, Value>,
    ) {
        if self.spans.len() < MOST {
            let name = name.into();
            self.spans.push(TracedSpan { track, category, name, start, length, arguments });
        } else {
            self.dropped += 1;
        }
    }

    /// The trace as an object with `traceEvents`, in the order of time, the longer first.
    pub fn to_json(&self) -> Value {
        let mut events = Vec::new();
        for (pid, (name, tracks)) in self.processes.iter().enumerate() {
            let named = |kind: &str, tid: usize, name: &str| json!({"ph": "M", "name": kind, "pid": pid + 1, "tid": tid, "args": {"name": name}});
            events.push(named("process_name", 0, name));
            let order = json!({"sort_index": pid});
            events.push(json!({"ph": "M", "name": "process_sort_index", "pid": pid + 1, "tid": 0, "args": order}));
            let threads = tracks.iter().enumerate();
            events.extend(threads.map(|(tid, name)| named("thread_name", tid + 1, name)));
        }
        let mut spans: Vec<&TracedSpan> = self.spans.iter().collect();
        spans.sort_by(|a, b| a.start.total_cmp(&b.start).then(b.length.total_cmp(&a.length)));
        events.extend(spans.into_iter().map(|span| {
            json!({
                "ph": "X",
                "name": span.name,
                "cat": span.category,
                "pid": span.track.process + 1,
                "tid": span.track.thread + 1,
                "ts": span.start * 1e6,
                "dur": span.length * 1e6,
                "args": span.arguments,
            })
        }));
        json!({"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"dropped_spans": self.dropped}})
    }
}

/// Collects spans of a run, from any thread.
#[derive(Debug)]
pub struct Recorder {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    trace: Trace,
    threads: Vec<(ThreadId, Track)>,
    /// A track for each chip, and its modelled clock in seconds.
    modelled: BTreeMap<String, (Track, f64)>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    /// Nothing yet; time begins now.
    pub fn new() -> Self {
        Self { started: Instant::now(), state: Mutex::default() }
    }

    /// What begins now on this thread, and ends when it is dropped.
    #[must_use = "a span ends when it is dropped"]
    pub fn span(self: &Arc<Self>, category: &'static str, name: impl Into<String>) -> Span {
        let recorder = Arc::clone(self);
        let (name, arguments) = (name.into(), Map::new());
        Span { recorder, category, name, arguments, start: Instant::now() }
    }

    /// A run that a cost model says takes so many seconds on a device, which is called by the
    /// [name](crate::neural_engine::Description::name) of its description. It begins when the one before has ended.
    pub fn modelled(&self, device: &str, name: &str, seconds: f64) {
        let mut state = self.state();
        let State { trace, modelled, .. } = &mut *state;
        let (track, now) = modelled.entry(device.to_owned()).or_insert_with(|| {
            let process = format!("modelled, not measured: {device}");
            (trace.process(process, "dispatches by the modelled clock"), 0.0)
        });
        trace.span(*track, "dispatch", name, (*now, seconds), Map::new());
        *now += seconds;
    }

    /// What has ended so far.
    pub fn trace(&self) -> Trace {
        self.state().trace.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, span: &mut Span) {
        let end = Instant::now();
        let thread = thread::current().id();
        let mut state = self.state();
        let State { trace, threads, .. } = &mut *state;
        let track = match threads.iter().find(|(known, _)| *known == thread) {
            Some((_, track)) => *track,
            None => {
                let track = match threads.first() {
                    Some((_, first)) => {
                        trace.track(*first, format!("thread {}", threads.len() + 1))
                    }
                    None => trace.process("this machine, measured", "thread 1"),
                };
                threads.push((thread, track));
                track
            }
        };
        let start = span.start.saturating_duration_since(self.started);
        let length = end.saturating_duration_since(span.start);
        let times = (start.as_secs_f64(), length.as_secs_f64());
        let (name, arguments) =
            (std::mem::take(&mut span.name), std::mem::take(&mut span.arguments));
        trace.span(track, span.category, name, times, arguments);
    }
}

/// Something that goes on.
#[derive(Debug)]
pub struct Span {
    recorder: Arc<Recorder>,
    category: &'static str,
    name: String,
    arguments: Map<String, Value>,
    start: Instant,
}

impl Span {
    /// Says more about it.
    pub fn argument(&mut self, name: &str, value: impl Into<Value>) {
        self.arguments.insert(name.to_owned(), value.into());
    }

    /// The same, of a new span.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.argument(name, value);
        self
    }

    /// Adds to a number that is said about it.
    pub fn count(&mut self, name: &str, more: u64) {
        let before = self.arguments.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.argument(name, before + more);
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let recorder = Arc::clone(&self.recorder);
        recorder.end(self);
    }
}
