//! Writes a scene as SVG. Texts stay texts.

use std::fmt::Write;

use super::font;
use super::scene::{Anchor, RIM, Scene, Shape, WHITE};

/// The scene as one SVG document.
pub(crate) fn write(scene: &Scene) -> String {
    let (width, height) = (scene.width, scene.height);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"{}\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        font::FAMILY
    );
    for shape in &scene.shapes {
        // Writing to a string cannot fail.
        let _ = write_shape(&mut svg, shape);
    }
    svg.push_str("</svg>\n");
    svg
}

fn write_shape(svg: &mut String, shape: &Shape) -> std::fmt::Result {
    match shape {
        Shape::Line(line) => {
            write!(
                svg,
                "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\"",
                line.color, line.width
            )?;
            if line.opacity < 1.0 {
                write!(svg, " stroke-opacity=\"{}\"", line.opacity)?;
            }
            if line.dash > 0.0 {
                write!(svg, " stroke-dasharray=\"{}\"", line.dash)?;
            }
            svg.push_str(" points=\"");
            for (number, (x, y)) in line.points.iter().enumerate() {
                let space = if number == 0 { "" } else { " " };
                write!(svg, "{space}{x:.2},{y:.2}")?;
            }
            svg.push_str("\"/>\n");
            Ok(())
        }
        Shape::Dot { center: (x, y), radius, color, hollow } => {
            write!(svg, "<circle cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"{radius}\"")?;
            if *hollow {
                write!(svg, " stroke=\"{color}\" stroke-width=\"{RIM}\" fill=\"{WHITE}\"")?;
            } else {
                write!(svg, " fill=\"{color}\"")?;
            }
            svg.push_str("/>\n");
            Ok(())
        }
        Shape::Text(text) => {
            let anchor = match text.anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            let ((x, y), size, color) = (text.at, text.size, text.color);
            writeln!(
                svg,
                "<text x=\"{x:.2}\" y=\"{y:.2}\" font-size=\"{size}\" fill=\"{color}\" \
                 text-anchor=\"{anchor}\">{}</text>",
                escape(&text.content)
            )
        }
    }
}

/// A text between tags of XML or HTML, without the characters that XML cannot hold.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{FFFE}' | '\u{FFFF}' => escaped.push('\u{FFFD}'),
            _ if letter.is_control() => escaped.push('\u{FFFD}'),
            _ => escaped.push(letter),
        }
    }
    escaped
}
