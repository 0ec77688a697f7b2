//! `orion mil graph`: a program as a picture.

use std::path::PathBuf;

use clap::Args;
use orion_compiler::mil::graph::{boxes, dot};
use orion_compiler::mil::syntax::Function;

use super::{Source, layered, write_file};
use crate::failure::Failure;
use crate::output;

/// Draw a program
///
/// Without --out, DOT, the language of Graphviz, on standard output.
#[derive(Debug, Args)]
pub(crate) struct Graph {
    /// MIL text
    file: PathBuf,
    /// Picture to write; its ending says how: .dot or .svg
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The function to draw as SVG; the first, if none is named
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
}

impl Graph {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let source = Source::read(&self.file)?;
        let document = source.parse()?;
        let Some(out) = &self.out else { return output::write(&dot(&document)) };
        let ending = out.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let picture = match ending {
            "dot" | "gv" => dot(&document),
            "svg" => {
                let is_wanted = |function: &&Function<'_>| {
                    self.function.as_ref().is_none_or(|name| name == function.name.text)
                };
                let function = document.functions.iter().find(is_wanted);
                layered::svg(&boxes(function.ok_or_else(|| self.missing(&source))?))
            }
            _ => {
                let message = format!("{}: the ending has to be .dot or .svg", out.display());
                return Err(Failure::Usage(message));
            }
        };
        write_file(out, picture.as_bytes())
    }

    fn missing(&self, source: &Source) -> Failure {
        let name = self.function.as_deref().unwrap_or("main");
        Failure::Failed(format!("{}: there is no function `{name}`", source.name))
    }
}
