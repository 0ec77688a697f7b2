//! Why a device did not do what it was asked: what Apple's frameworks would report, and the rule behind it.

use std::fmt;

/// What the real service reports (facts §2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeError {
    /// The domain of the `NSError`, where it is known.
    pub domain: Option<&'static str>,
    /// Its code, or the number in its text.
    pub code: Option<i64>,
    /// Its text.
    pub text: String,
}

impl fmt::Display for NativeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(domain) = self.domain {
            write!(f, "{domain} ")?;
        }
        if let Some(code) = self.code {
            write!(f, "Code={code} ")?;
        }
        write!(f, "\"{}\"", self.text)
    }
}

/// What an error is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// The program, by the name that it was compiled under.
    pub program: String,
    /// Line and column of the text, or the operand.
    pub place: Option<String>,
    /// Code of the rule: `ANE…`, of which `orion explain` tells more, `MIL…`, `BLOB…` or `RUN…`.
    pub rule: String,
    /// What is wrong.
    pub reason: String,
    /// What the real service says about it.
    pub native: Option<NativeError>,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, place, rule, reason, native, remedy } = self;
        f.write_str(program)?;
        if let Some(place) = place {
            write!(f, ":{place}")?;
        }
        write!(f, ": {rule}: {reason}")?;
        if let Some(native) = native {
            write!(f, " ({native})")?;
        }
        if !remedy.is_empty() {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

/// Why a device did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The text is refused before anything is compiled.
    #[error("{0}")]
    InvalidProgram(Box<Detail>),
    /// The compiler refuses the program.
    #[error("{0}")]
    CompilerFailed(Box<Detail>),
    /// The program compiles and cannot be brought to the engine.
    #[error("{0}")]
    LoweringFailed(Box<Detail>),
    /// The process has compiled as many programs as it may.
    #[error("{0}")]
    CompileLimit(Box<Detail>),
    /// The engine does not take the program.
    #[error("{0}")]
    LoadFailed(Box<Detail>),
    /// The process holds as many loaded programs as it may.
    #[error("{0}")]
    LoadLimit(Box<Detail>),
    /// The program is not loaded.
    #[error("{0}")]
    NotLoaded(Box<Detail>),
    /// The program is being loaded, unloaded or run by another thread.
    #[error("{0}")]
    Busy(Box<Detail>),
    /// The engine ran the program and failed.
    #[error("{0}")]
    Inference(Box<Detail>),
    /// A request names a symbol or a procedure that the program does not have, or not this one.
    #[error("{0}")]
    WrongIndex(Box<Detail>),
    /// The service behind the framework began anew: every program has to be loaded again.
    #[error("{0}")]
    ServiceRestarted(Box<Detail>),
    /// No answer came.
    #[error("{0}")]
    Timeout(Box<Detail>),
    /// Weights cannot be exchanged like this.
    #[error("{0}")]
    Weights(Box<Detail>),
    /// What the host handed over does not fit the operand, or memory is refused.
    #[error("{0}")]
    Surface(Box<Detail>),
    /// The device could run the program, and the simulator cannot.
    #[error("{0}")]
    Unsupported(Box<Detail>),
}

impl DeviceError {
    /// What it is about.
    pub fn detail(&self) -> &Detail {
        match self {
            Self::InvalidProgram(detail)
            | Self::CompilerFailed(detail)
            | Self::LoweringFailed(detail)
            | Self::CompileLimit(detail)
            | Self::LoadFailed(detail)
            | Self::LoadLimit(detail)
            | Self::NotLoaded(detail)
            | Self::Busy(detail)
            | Self::Inference(detail)
            | Self::WrongIndex(detail)
            | Self::ServiceRestarted(detail)
            | Self::Timeout(detail)
            | Self::Weights(detail)
            | Self::Surface(detail)
            | Self::Unsupported(detail) => detail,
        }
    }

    /// Code of the rule behind it.
    pub fn rule(&self) -> &str {
        &self.detail().rule
    }

    /// Whether the same request may succeed when it is made again, after the program is loaded again where
    /// [`ServiceRestarted`](Self::ServiceRestarted) or [`NotLoaded`](Self::NotLoaded) says so.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Timeout(_) | Self::Busy(_) | Self::ServiceRestarted(_) | Self::NotLoaded(_)
        ) || (matches!(self, Self::Inference(_) | Self::LoadFailed(_)) && self.rule() == "RUN033")
    }
}
