//! What is simulated: the chip and route, and where sources disagree about them, whom to believe.

use std::fmt;
use std::str::FromStr;

use orion_compiler::target::{Route, Target};

use super::faults::Faults;

/// How numbers are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Numerics {
    /// Every operation in f32 or wider, rounded once to the type that the text declares, ties to even: what the text means.
    Exact,
    /// As the engine computes: sums in fixed point, functions from tables, results in f16, no NaN.
    #[default]
    Ane,
    /// In f32 without rounding between operations: as quick as possible.
    Fast,
}

impl Numerics {
    /// All, for `--numerics`.
    pub const ALL: [Self; 3] = [Self::Exact, Self::Ane, Self::Fast];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Ane => "ane",
            Self::Fast => "fast",
        }
    }
}

impl fmt::Display for Numerics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Numerics {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|numerics| numerics.name() == text);
        found.ok_or_else(|| {
            format!("no numerics are called {text:?}; known are exact, ane and fast")
        })
    }
}

/// How operands lie in surfaces: facts §0.4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Rows begin at multiples of 64 bytes.
    #[default]
    Rows64,
    /// Rows one after the other, in surfaces that are as large as if they began at multiples of 64 bytes: what the first Orion
    /// reported. Where rows have a multiple of 64 bytes both are the same.
    OrionPacked,
}

/// What becomes of rules that sources contradict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disputed {
    /// What the catalogue of facts §6 has the simulator do: `bias` of `conv` and a lone `reshape` of a `matmul` are refused
    /// in memory, `concat` is not.
    #[default]
    Catalogue,
    /// Nobody is believed who saw a refusal.
    Accept,
    /// Everybody is.
    Refuse,
}

/// What a program that is loaded again has for weights after its files were overwritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reload {
    /// Those that it was compiled with, as measured on M4 and M5.
    #[default]
    Stale,
    /// Those of the files, as one project believed.
    Follows,
}

/// How much a process may do; `None` is no limit. Facts §2.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Programs that it compiles.
    pub compiles: Option<u64>,
    /// Programs that are loaded at the same time.
    pub loaded: Option<u64>,
}

impl Limits {
    /// Those that were seen on a route: 119 compiled in memory, 128 loaded on either.
    pub const fn of(route: Route) -> Self {
        let compiles = match route {
            Route::InMemory => Some(119),
            Route::E5rt => None,
        };
        Self { compiles, loaded: Some(128) }
    }
}

/// What is simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The chip and the route.
    pub target: Target,
    /// How numbers are computed.
    pub numerics: Numerics,
    /// How operands lie in surfaces.
    pub layout: Layout,
    /// How much the process may do.
    pub limits: Limits,
    /// What becomes of rules that sources contradict.
    pub disputed: Disputed,
    /// What weights a program has after files were overwritten.
    pub reload: Reload,
    /// Whether constants of a program with several files can be exchanged. That was shown for one file only.
    pub patches_several_files: bool,
    /// What fails on purpose.
    pub faults: Faults,
    /// Threads; 0 for as many as the machine has cores.
    pub threads: usize,
}

impl Settings {
    /// The defaults for a chip and a route.
    pub fn of(target: Target) -> Self {
        Self {
            target,
            numerics: Numerics::default(),
            layout: Layout::default(),
            limits: Limits::of(target.route),
            disputed: Disputed::default(),
            reload: Reload::default(),
            patches_several_files: false,
            faults: Faults::default(),
            threads: 0,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::of(Target::default())
    }
}
