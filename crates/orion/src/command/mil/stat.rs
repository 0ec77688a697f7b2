//! `orion mil stat`: operations, arithmetic and bytes of a program.

use std::path::PathBuf;

use clap::Args;
use orion_compiler::mil;
use serde_json::json;

use super::Source;
use crate::failure::Failure;
use crate::output;

/// Count operations, arithmetic and bytes
///
/// What the text says by itself: a function is a dispatch; constants in files count as their types say.
#[derive(Debug, Args)]
pub(crate) struct Stat {
    /// MIL text
    file: PathBuf,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

impl Stat {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let source = Source::read(&self.file)?;
        let document = source.parse()?;
        let stats = mil::stat(&document);
        if self.json {
            let functions: Vec<_> = stats
                .iter()
                .map(|stat| {
                    json!({
                        "name": stat.function,
                        "ops": stat.ops,
                        "flops": stat.flops,
                        "interface_bytes": stat.interface_bytes,
                        "interior_bytes": stat.interior_bytes,
                        "constants": stat.constants,
                        "file_constant_bytes": stat.file_bytes,
                        "text_constant_bytes": stat.text_bytes,
                        "results_of_unknown_size": stat.unknown,
                    })
                })
                .collect();
            let report = json!({ "functions": functions, "dispatches": stats.len() });
            return output::write_line(&report.to_string());
        }
        for stat in &stats {
            let mut ops: Vec<(&String, &usize)> = stat.ops.iter().collect();
            ops.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), (*name).clone()));
            let ops: Vec<String> =
                ops.into_iter().map(|(name, count)| format!("{name} {count}")).collect();
            let mut lines = vec![
                format!("function            {}", stat.function),
                format!("operations          {} ({})", stat.op_count(), ops.join(", ")),
                format!("arithmetic          {:.3} MFLOP", stat.flops as f64 / 1e6),
                format!("inputs and results  {}", output::bytes(stat.interface_bytes)),
                format!("values in between   {}", output::bytes(stat.interior_bytes)),
                format!(
                    "constants           {}, {} in files, {} in the text",
                    stat.constants,
                    output::bytes(stat.file_bytes),
                    output::bytes(stat.text_bytes)
                ),
            ];
            if stat.unknown > 0 {
                lines.push(format!("of unknown size     {} values, not counted", stat.unknown));
            }
            output::write_line(&lines.join("\n"))?;
        }
        output::write_line(&format!("dispatches          {}", stats.len()))
    }
}
