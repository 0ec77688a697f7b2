//! What a program costs before its first call: compiling, loading, unloading. Published figures differ by a factor of two
//! between machines and versions of the system; these are between them.

use super::work::Work;

/// Seconds before and after calls.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Preparation {
    /// Compiling, with nothing in the cache.
    pub compile: f64,
    /// Loading what is compiled.
    pub load: f64,
    /// Unloading.
    pub unload: f64,
}

/// A small program: 33 to 51 ms (AF, M5 Pro), 42 ms (OR, M4 Max), 55 ms (MD, M4 and M5).
const COMPILE: f64 = 38e-3;
/// A byte of constants: 92 ms for 33.5 MB (AF, M5 Pro), 150 ms for 149 MB (FG, M3 Max).
const COMPILE_BYTE: f64 = 1.0e-9;
/// A statement: ten programs of some thirty statements without constants took 440 ms (AR, M4 Max).
const COMPILE_STATEMENT: f64 = 0.2e-3;
/// 1.7 ms (MD, M5).
const LOAD: f64 = 1.7e-3;
/// 5 to 10 ms for programs of 13 to 149 MB (FG, M3 Max).
const LOAD_BYTE: f64 = 0.05e-9;
/// MD, M5.
const UNLOAD: f64 = 0.5e-3;

impl Preparation {
    /// Of a program.
    pub fn of(work: &Work) -> Self {
        let constants = work.constants as f64;
        Self {
            compile: COMPILE
                + constants * COMPILE_BYTE
                + work.statements as f64 * COMPILE_STATEMENT,
            load: LOAD + constants * LOAD_BYTE,
            unload: UNLOAD,
        }
    }
}
