//! The font of charts: DejaVu Sans, which is inside of the program, so that a picture needs none of the system's.

use std::sync::LazyLock;

use ttf_parser::{Face, GlyphId, OutlineBuilder};

/// What an SVG asks for; Verdana's letters have the same widths.
pub(super) const FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";

static FACE: LazyLock<Option<Face<'static>>> =
    LazyLock::new(|| Face::parse(dejavu::sans::regular(), 0).ok());

/// Width of a text at a size.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let Some(face) = &*FACE else { return 0.0 };
    let units: f64 = text.chars().map(|letter| advance(face, glyph(face, letter))).sum();
    units * scale(face, size)
}

/// Gives `draw` each letter of a text: the face, the glyph, how far right it starts, and the size of a font unit.
pub(super) fn each_glyph(text: &str, size: f64, draw: &mut dyn FnMut(Glyph<'_>)) {
    let Some(face) = &*FACE else { return };
    let scale = scale(face, size);
    let mut right = 0.0;
    for letter in text.chars() {
        let glyph = glyph(face, letter);
        draw(Glyph { face, id: glyph, right, scale });
        right += advance(face, glyph) * scale;
    }
}

/// A letter of a text.
pub(super) struct Glyph<'a> {
    face: &'a Face<'static>,
    id: GlyphId,
    /// Where it starts, from the start of the text.
    pub(super) right: f64,
    /// Pixels of a font unit.
    pub(super) scale: f64,
}

impl Glyph<'_> {
    /// Draws the letter's outline, in font units with heights upward.
    pub(super) fn outline(&self, path: &mut dyn OutlineBuilder) {
        self.face.outline_glyph(self.id, path);
    }
}

/// The glyph of a letter; the font's empty box where it has none.
fn glyph(face: &Face<'_>, letter: char) -> GlyphId {
    face.glyph_index(letter).unwrap_or(GlyphId(0))
}

fn advance(face: &Face<'_>, glyph: GlyphId) -> f64 {
    f64::from(face.glyph_hor_advance(glyph).unwrap_or(0))
}

fn scale(face: &Face<'_>, size: f64) -> f64 {
    size / f64::from(face.units_per_em())
}
