//! The little of Markdown that the checks read: fenced blocks, links and code spans.

/// A fenced block: the words after the fence, its lines, and where it begins.
pub(crate) struct Block<'a> {
    pub(crate) tags: Vec<&'a str>,
    pub(crate) text: String,
    /// Of the opening fence, from 1.
    pub(crate) line: usize,
}

/// The fenced blocks of a text; one that is not closed ends with it.
pub(crate) fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    for (line, content) in text.lines().enumerate() {
        if let Some(tags) = content.trim_start().strip_prefix("```") {
            open = !open;
            if open {
                let tags = tags.split_whitespace().collect();
                blocks.push(Block { tags, text: String::new(), line: line + 1 });
            }
        } else if open && let Some(block) = blocks.last_mut() {
            block.text.push_str(content);
            block.text.push('\n');
        }
    }
    blocks
}

/// `(line, content)` of the lines outside fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut open = false;
    text.lines().enumerate().filter_map(move |(line, content)| {
        let fence = content.trim_start().starts_with("```");
        open ^= fence;
        (!open && !fence).then_some((line + 1, content))
    })
}

/// `(line, target)` of each inline link and image.
pub(crate) fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (line, content) in prose(text) {
        for part in content.split("](").skip(1) {
            if let Some((target, _)) = part.split_once(')') {
                found.push((line, target.split_whitespace().next().unwrap_or_default()));
            }
        }
    }
    found
}

/// `(line, text)` of each code span.
pub(crate) fn spans(text: &str) -> Vec<(usize, &str)> {
    let of_line =
        |(line, content)| str::split(content, '`').skip(1).step_by(2).map(move |span| (line, span));
    prose(text).flat_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "See [a](a.md \"title\") and `b/c`.\n```sh ci\nls [x](y) `z`\n```\n![d](d.png) `e`\n```\nlast";

    #[test]
    fn blocks_carry_their_tags_and_lines() {
        let blocks = blocks(TEXT);
        assert_eq!(blocks[0].tags, ["sh", "ci"]);
        assert_eq!((blocks[0].text.as_str(), blocks[0].line), ("ls [x](y) `z`\n", 2));
        assert_eq!((blocks[1].text.as_str(), blocks[1].tags.len()), ("last\n", 0));
    }

    #[test]
    fn links_and_spans_inside_blocks_are_not_prose() {
        assert_eq!(links(TEXT), [(1, "a.md"), (5, "d.png")]);
        assert_eq!(spans(TEXT), [(1, "b/c"), (5, "e")]);
    }
}
