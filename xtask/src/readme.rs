//! Runs what the README tells its readers to run: every fenced block tagged `sh ci`, from the repository's root.

use std::process::Command;

use crate::{Failure, markdown, tree};

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    if let Some(argument) = arguments.first() {
        return Err(format!("readme takes no arguments, not `{argument}`"));
    }
    let root = tree::root()?;
    let path = root.join("README.md");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("README.md: {error}"))?;
    for block in markdown::blocks(&text).iter().filter(|block| is_checked(block)) {
        println!("README.md:{}\n{}", block.line, block.text.trim_end());
        let status = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &block.text])
            .current_dir(&root)
            .status()
            .map_err(|error| format!("bash: {error}"))?;
        if !status.success() {
            return Err(format!(
                "README.md:{}: this block fails ({status}); mend it or the program",
                block.line
            ));
        }
    }
    Ok(())
}

fn is_checked(block: &markdown::Block<'_>) -> bool {
    block.tags.first() == Some(&"sh") && block.tags.contains(&"ci")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shell_blocks_marked_for_ci_are_run() {
        let text = "```sh ci\na\n```\n```sh\nb\n```\n```rust ci\nc\n```\n";
        let run: Vec<_> =
            markdown::blocks(text).into_iter().filter(is_checked).map(|b| b.text).collect();
        assert_eq!(run, ["a\n"]);
    }
}
