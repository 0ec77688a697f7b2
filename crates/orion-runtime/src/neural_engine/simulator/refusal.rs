//! What the chip and the route refuse, with the symptom that was seen.

use orion_compiler::Severity;
use orion_compiler::diagnostic::{Diagnostic, Diagnostics, Lines};
use orion_compiler::lint::{self, When};
use orion_compiler::mil::{self, Document};
use orion_compiler::target::{Family, Route, Target};

use super::settings::Disputed;
use crate::neural_engine::{Detail, DeviceError, NativeError};

/// Domain of errors of the compiler's service.
const COMPILER: &str = "com.apple.appleneuralengine.compiler";
/// Domain of errors of loading and running.
const ENGINE: &str = "com.apple.appleneuralengine";

/// What a text that compiles will meet later.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    /// Loading fails so.
    pub(super) load: Option<DeviceError>,
    /// Running fails so.
    pub(super) run: Option<DeviceError>,
}

/// Who is asked: a program by name, its text, and the target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judge<'a> {
    pub(super) program: &'a str,
    pub(super) text: &'a str,
    pub(super) target: Target,
}

impl Judge<'_> {
    /// Reads the text; what is no MIL is refused.
    pub(super) fn parse(&self) -> Result<Document<'_>, DeviceError> {
        let document = mil::parse(self.text).map_err(|error| self.first(&error))?;
        if let Some(finding) = mil::check(&document).first() {
            return Err(self.invalid(finding));
        }
        if document.functions.is_empty() {
            return Err(self.invalid(&Diagnostic::new("MIL003", "the program has no function")));
        }
        Ok(document)
    }

    /// Applies the rules of the chip and the route.
    pub(super) fn judge(
        &self,
        document: &Document<'_>,
        disputed: Disputed,
    ) -> Result<Verdict, DeviceError> {
        let mut verdict = Verdict::default();
        for finding in lint::lint(document, self.target) {
            let diagnostic = &finding.diagnostic;
            let Some(rule) = lint::rule(diagnostic.code) else { continue };
            let counts = match disputed {
                Disputed::Refuse => diagnostic.severity >= Severity::Warning,
                Disputed::Catalogue => {
                    diagnostic.severity == Severity::Error || CATALOGUE.contains(&rule.code)
                }
                Disputed::Accept => diagnostic.severity == Severity::Error,
            };
            if !counts {
                continue;
            }
            match rule.when {
                When::Parse => return Err(self.invalid(diagnostic)),
                // Such norms compile on M5, and then fail.
                When::Compile if rule.code == "ANE039" && self.family() == Family::A17 => {
                    let native = native(ENGINE, 8, INFERENCE);
                    let detail = self.detail(diagnostic, Some(native));
                    verdict.run.get_or_insert(DeviceError::Inference(detail));
                }
                When::Compile => return Err(self.compiler(diagnostic, rule.symptom)),
                When::Load if self.target.route == Route::E5rt => {
                    return Err(self.compiler(diagnostic, rule.symptom));
                }
                When::Load => {
                    let native = native(ENGINE, 6, TOO_LARGE);
                    let detail = self.detail(diagnostic, Some(native));
                    verdict.load.get_or_insert(DeviceError::LoadFailed(detail));
                }
                // A weight of `conv` that is computed: in memory it is ignored, here there are batches and groups it cannot have.
                When::Silent if rule.code == "ANE020" && self.target.route == Route::E5rt => {
                    return Err(self.compiler(diagnostic, rule.symptom));
                }
                When::Run | When::Silent | When::Process | When::Speed => {}
            }
        }
        Ok(verdict)
    }

    /// The first of what a reader has found.
    fn first(&self, diagnostics: &Diagnostics) -> DeviceError {
        let nothing = Diagnostic::new("MIL001", "the text is no MIL");
        self.invalid(diagnostics.list.first().unwrap_or(&nothing))
    }

    /// The parser's refusal.
    pub(super) fn invalid(&self, diagnostic: &Diagnostic) -> DeviceError {
        let native = native(COMPILER, 1, "InvalidMILProgram");
        DeviceError::InvalidProgram(self.detail(diagnostic, Some(native)))
    }

    /// The compiler's, by the symptom that a rule names.
    fn compiler(&self, diagnostic: &Diagnostic, symptom: &str) -> DeviceError {
        if self.target.route == Route::E5rt && matches!(diagnostic.code, "ANE048" | "ANE076") {
            let native =
                NativeError { domain: None, code: Some(-1), text: "Not implemented".to_owned() };
            return DeviceError::CompilerFailed(self.detail(diagnostic, Some(native)));
        }
        if symptom.contains("InvalidMILProgram") && !symptom.contains("ANECCompile") {
            return self.invalid(diagnostic);
        }
        if symptom.contains("lowering") {
            let native = native(COMPILER, 1, "CompilationFailure");
            return DeviceError::LoweringFailed(self.detail(diagnostic, Some(native)));
        }
        DeviceError::CompilerFailed(self.detail(diagnostic, Some(compile_failed())))
    }

    /// What the simulator does not know how to run, and the engine may.
    pub(super) fn unsupported(&self, diagnostic: &Diagnostic) -> DeviceError {
        DeviceError::Unsupported(self.detail(diagnostic, None))
    }

    fn family(&self) -> Family {
        self.target.chip.family()
    }

    fn detail(&self, diagnostic: &Diagnostic, native: Option<NativeError>) -> Box<Detail> {
        let place = diagnostic.span.map(|(start, _)| {
            let (line, column, _) = Lines::new(self.text).locate(start);
            format!("{line}:{column}")
        });
        Box::new(Detail {
            program: self.program.to_owned(),
            place,
            rule: diagnostic.code.to_owned(),
            reason: diagnostic.message.clone(),
            native,
            remedy: diagnostic.help.clone().unwrap_or_default(),
        })
    }
}

fn native(domain: &'static str, code: i64, text: &str) -> NativeError {
    NativeError { domain: Some(domain), code: Some(code), text: text.to_owned() }
}

/// Rules that only warn, as sources disagree, and that facts §6 has the simulator refuse.
const CATALOGUE: &[&str] = &["ANE015", "ANE023"];

/// What running a program that fails reports.
const INFERENCE: &str =
    "ANEProgramProcessRequestDirect() Failed with status=0x1d : Program Inference error";
/// What loading a program that is too large reports.
const TOO_LARGE: &str = "createProgramInstanceForModel: Program load failure (0x20004)";

/// What a compiler that refuses reports.
pub(super) fn compile_failed() -> NativeError {
    NativeError {
        domain: None,
        code: None,
        text: "_ANECompiler : ANECCompile() FAILED: err=()".to_owned(),
    }
}

/// What a run that fails reports.
pub(super) fn inference_failed() -> NativeError {
    NativeError { domain: Some(ENGINE), code: Some(8), text: INFERENCE.to_owned() }
}

/// What a load that fails reports.
pub(super) fn load_failed() -> NativeError {
    NativeError { domain: Some(ENGINE), code: Some(6), text: TOO_LARGE.to_owned() }
}

/// What the 129th loaded program reports.
pub(super) fn must_compile_again() -> NativeError {
    NativeError { domain: None, code: None, text: "GetANEFModel: must re-compile".to_owned() }
}

/// What a wrong symbol or procedure reports.
pub(super) fn wrong_index() -> NativeError {
    NativeError { domain: None, code: Some(2), text: "error 0x2".to_owned() }
}
