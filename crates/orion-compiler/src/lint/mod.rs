//! Rules of the Neural Engine that a MIL text can break: one file each, and the list of them all. A rule says what happens,
//! who saw it on which chip, and what to write instead; where sources contradict one another it warns and says so. Rules
//! that no text can break are in [`beyond_text`](crate::lint), so that all of them can be explained.
//!
//! Sources are those of the facts sheet: repositories, papers and measurements that are named by short keys in
//! [`SOURCES`].

mod beyond_text;
mod context;
mod sources;

use crate::mil::Document;
use crate::target::Target;
use crate::{Diagnostic, Severity};

pub use context::Context;
pub use sources::SOURCES;

/// How well a rule is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// Measured on hardware.
    Measured,
    /// Decoded from Apple's binaries, not run.
    Decoded,
    /// Said by a published specification.
    Specified,
    /// Said without a measurement that could be checked.
    Claimed,
    /// Sources contradict one another.
    Disputed,
    /// Follows from several facts.
    Inferred,
}

impl Confidence {
    /// A word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Decoded => "decoded",
            Self::Specified => "specified",
            Self::Claimed => "claimed",
            Self::Disputed => "disputed",
            Self::Inferred => "inferred",
        }
    }
}

/// When a breach shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The text is refused.
    Parse,
    /// The compiler refuses.
    Compile,
    /// Loading fails.
    Load,
    /// Running fails.
    Run,
    /// Nothing fails, and results are wrong.
    Silent,
    /// The process or the system suffers.
    Process,
    /// It is slow.
    Speed,
}

impl When {
    /// A phrase for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parse => "the text is refused",
            Self::Compile => "compilation fails",
            Self::Load => "loading fails",
            Self::Run => "running fails",
            Self::Silent => "results are silently wrong",
            Self::Process => "the process suffers",
            Self::Speed => "it is slow",
        }
    }
}

/// A rule of the engine.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// `ANE001`; never renumbered. Up to 075 the numbers are those of the facts sheet.
    pub code: &'static str,
    /// The forbidden thing, in a few words with hyphens.
    pub name: &'static str,
    /// What the rule is.
    pub about: &'static str,
    /// When a breach shows.
    pub when: When,
    /// How it shows.
    pub symptom: &'static str,
    /// What to do instead.
    pub remedy: &'static str,
    /// Keys of [`SOURCES`].
    pub source: &'static str,
    /// How well it is known.
    pub confidence: Confidence,
    /// Where it was seen.
    pub chips: &'static str,
    /// Finds breaches; `None` for a rule that no text can break.
    pub check: Option<fn(&Context<'_, '_>, &mut Findings)>,
}

/// A change of the text that keeps its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The bytes that are replaced.
    pub span: (usize, usize),
    /// What stands there then.
    pub text: String,
}

/// A breach of a rule.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What, where, how bad.
    pub diagnostic: Diagnostic,
    /// What mends it, if that is safe.
    pub fix: Vec<Edit>,
}

/// What a rule's check has found.
pub struct Findings {
    rule: &'static Rule,
    list: Vec<Finding>,
}

impl Findings {
    /// Adds an error.
    pub fn error(&mut self, message: impl Into<String>, span: (usize, usize)) -> &mut Finding {
        self.add(Severity::Error, message.into(), span)
    }

    /// Adds a warning.
    pub fn warning(&mut self, message: impl Into<String>, span: (usize, usize)) -> &mut Finding {
        self.add(Severity::Warning, message.into(), span)
    }

    /// Adds a note.
    pub fn note(&mut self, message: impl Into<String>, span: (usize, usize)) -> &mut Finding {
        self.add(Severity::Note, message.into(), span)
    }

    fn add(&mut self, severity: Severity, message: String, span: (usize, usize)) -> &mut Finding {
        let message = match self.rule.confidence {
            Confidence::Disputed if severity < Severity::Error => {
                format!("{message} (sources contradict each other)")
            }
            Confidence::Claimed => format!("{message} (claimed, not measured)"),
            _ => message,
        };
        let diagnostic =
            Diagnostic::new(self.rule.code, message).at(Some(span)).help(self.rule.remedy);
        self.list
            .push(Finding { diagnostic: Diagnostic { severity, ..diagnostic }, fix: Vec::new() });
        let last = self.list.len() - 1;
        &mut self.list[last]
    }
}

impl Finding {
    /// Says what mends it.
    pub fn fix(&mut self, edits: impl IntoIterator<Item = Edit>) {
        self.fix.extend(edits);
    }
}

macro_rules! rules {
    ($($module:ident,)*) => {
        $(mod $module;)*

        /// Rules that a text can break, by code.
        const CHECKED: &[&Rule] = &[$(&$module::RULE,)*];
    };
}

rules! {
    incomplete_concat,
    gelu_without_mode,
    mixed_surface_sizes,
    unsorted_results,
    unsorted_inputs,
    unaligned_rows,
    masked_attention,
    blob_offset,
    bare_literal,
    conv_bias,
    large_working_set,
    tile,
    dynamic_conv_weight,
    batch_broadcast,
    constant_matmul_operand,
    matmul_reshape_result,
    high_rank,
    large_dimension,
    conv_window,
    argument_reduction,
    channel_padding,
    unknown_dimension,
    width_offset_slice,
    concat_of_slices,
    infinite_mask,
    rounding,
    softplus,
    half_affine_norm,
    reserved_names,
    sqrt_operand,
    early_reductions,
    narrow_input,
    deep_program,
    large_constants,
    surface_type,
    ultra_width_axis,
    ragged_width,
    odd_groups,
    zero_after_reduce,
    softmax_length,
    slice_of_input,
    depth_convolution,
    several_images,
    low_bit_conv_weight,
    batch,
    interface_type,
    unsupported_op,
    incomplete_conv,
}

/// Every rule, by code.
pub fn rules() -> Vec<&'static Rule> {
    let mut all: Vec<&Rule> = CHECKED.iter().copied().chain(beyond_text::RULES).collect();
    all.sort_by_key(|rule| rule.code);
    all
}

/// The rule of this code or name.
pub fn rule(code: &str) -> Option<&'static Rule> {
    rules().into_iter().find(|rule| rule.code.eq_ignore_ascii_case(code) || rule.name == code)
}

/// All breaches, in the order of the text. The document should have passed [`mil::check`](crate::mil::check()).
pub fn lint(document: &Document<'_>, target: Target) -> Vec<Finding> {
    let mut found = Vec::new();
    for function in &document.functions {
        let context = Context::new(function, target);
        for &rule in CHECKED {
            let Some(check) = rule.check else { continue };
            let mut findings = Findings { rule, list: Vec::new() };
            check(&context, &mut findings);
            found.extend(findings.list);
        }
    }
    found.sort_by_key(|finding| (finding.diagnostic.span, finding.diagnostic.code));
    found
}

/// The text with what can be mended safely mended. Of fixes that overlap, the first counts; the others show again.
pub fn mend(text: &str, findings: &[Finding]) -> String {
    let mut fixes: Vec<&[Edit]> = findings.iter().map(|finding| finding.fix.as_slice()).collect();
    fixes.sort_by_key(|edits| edits.first().map(|edit| edit.span));
    let mut taken: Vec<&Edit> = Vec::new();
    for edits in fixes {
        let meets = |edit: &Edit| {
            taken.iter().any(|other| {
                edit.span.0 < other.span.1.max(other.span.0 + 1)
                    && other.span.0 < edit.span.1.max(edit.span.0 + 1)
            })
        };
        if !edits.iter().any(meets) {
            taken.extend(edits);
        }
    }
    taken.sort_by_key(|edit| edit.span);
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for edit in taken {
        out += text.get(from..edit.span.0).unwrap_or_default();
        out += &edit.text;
        from = edit.span.1;
    }
    out + text.get(from..).unwrap_or_default()
}
