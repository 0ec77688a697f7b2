//! `orion mil fmt`: the canonical form of a text.

use std::path::PathBuf;

use clap::Args;
use orion_compiler::mil::print;

use super::{Source, write_file};
use crate::failure::Failure;
use crate::output;

/// Print a text in canonical form
///
/// That is the form in which Core ML's own compiler writes. Spellings of types and numbers stay, and so do comments.
#[derive(Debug, Args)]
pub(crate) struct Fmt {
    /// MIL texts; several with --write or --check
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write each file instead of standard output; it changes whole or not at all
    #[arg(long, short, conflicts_with = "check")]
    write: bool,
    /// Write nothing; name the files that are not in canonical form, and fail if there are any
    #[arg(long)]
    check: bool,
}

impl Fmt {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if self.files.len() > 1 && !self.write && !self.check {
            return Err(Failure::Usage("several files need --write or --check".to_owned()));
        }
        let mut others = false;
        for path in &self.files {
            let source = Source::read(path)?;
            let text = print(&source.parse()?);
            let is_same = text.as_bytes() == source.bytes;
            if self.check {
                if !is_same {
                    others = true;
                    output::write_line(&source.name)?;
                }
            } else if self.write {
                if path.as_os_str() == "-" {
                    return Err(Failure::Usage("standard input cannot be written".to_owned()));
                }
                if !is_same {
                    write_file(path, text.as_bytes())?;
                }
            } else {
                output::write(&text)?;
            }
        }
        if others { Err(Failure::Found) } else { Ok(()) }
    }
}
