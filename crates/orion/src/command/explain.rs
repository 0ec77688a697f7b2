//! `orion explain`: what a rule of the engine is, and who saw it.

use clap::Args;
use orion_compiler::diagnostic::nearest;
use orion_compiler::lint::{Rule, SOURCES, rule, rules};

use crate::failure::Failure;
use crate::output;

/// Explain a rule of the Neural Engine, or list them all
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Code or name of a rule, such as ANE010 or unaligned-rows
    rule: Option<String>,
}

impl Explain {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Some(name) = self.rule else {
            let lines: Vec<String> = rules()
                .into_iter()
                .map(|rule| format!("{}  {:<26} {}", rule.code, rule.name, rule.about))
                .collect();
            return output::write_line(&lines.join("\n"));
        };
        match rule(&name) {
            Some(rule) => output::write_line(&text(rule)),
            None => {
                let all = rules();
                let upper = name.to_ascii_uppercase();
                let near = nearest(&upper, all.iter().map(|rule| rule.code))
                    .or_else(|| nearest(&name, all.iter().map(|rule| rule.name)));
                let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
                Err(Failure::Failed(format!(
                    "no rule is called {name:?}{near} `orion explain` lists them"
                )))
            }
        }
    }
}

fn text(rule: &Rule) -> String {
    let found = if rule.check.is_some() { "orion mil lint finds it" } else { "no text shows it" };
    let mut lines = vec![
        format!("{} {}", rule.code, rule.name),
        String::new(),
        rule.about.to_owned(),
        String::new(),
        format!("breach      {}; {found}", rule.when.name()),
        format!("symptom     {}", rule.symptom),
        format!("remedy      {}", rule.remedy),
        format!("confidence  {}", rule.confidence.name()),
        format!("seen on     {}", rule.chips),
        format!("source      {}", rule.source),
    ];
    let is_named = |key: &str| {
        rule.source.split(|letter: char| !letter.is_ascii_alphanumeric()).any(|word| word == key)
    };
    let named = SOURCES.iter().filter(|(key, _)| is_named(key));
    lines.extend(named.map(|(key, source)| format!("            {key}: {source}")));
    lines.join("\n")
}
