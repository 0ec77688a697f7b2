//! `orion detokenize`: token ids to text.

use std::io::Read;

use clap::Args;
use orion_llm::tokenizer::ShowSpecial;

use super::tokenize::Source;
use crate::failure::Failure;
use crate::output;

/// Turn token ids into text.
#[derive(Debug, Args)]
pub(crate) struct Detokenize {
    #[command(flatten)]
    source: Source,
    /// Token ids, separated by spaces or commas; none reads them from standard input
    ids: Vec<String>,
    /// Leave control tokens out
    #[arg(long)]
    skip_special: bool,
}

impl Detokenize {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let tokenizer = self.source.open()?;
        let mut text = self.ids.join(" ");
        if self.ids.is_empty() {
            std::io::stdin()
                .lock()
                .read_to_string(&mut text)
                .map_err(|error| Failure::Failed(format!("cannot read standard input: {error}")))?;
        }
        let ids = text
            .split(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']'))
            .filter(|word| !word.is_empty())
            .map(|word| {
                word.parse().map_err(|_| Failure::Usage(format!("`{word}` is no token id")))
            })
            .collect::<Result<Vec<u32>, _>>()?;
        let show = if self.skip_special { ShowSpecial::No } else { ShowSpecial::Yes };
        output::write_line(&tokenizer.decode(&ids, show)?)
    }
}
