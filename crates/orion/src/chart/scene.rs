//! What a picture is made of. Lengths are in pixels of the SVG, from the top left corner.

/// A picture.
pub(crate) struct Scene {
    pub(super) width: f64,
    pub(super) height: f64,
    /// From back to front.
    pub(super) shapes: Vec<Shape>,
}

pub(super) enum Shape {
    Line(Line),
    /// A circle, filled with its colour or, where it is hollow, with white.
    Dot {
        center: (f64, f64),
        radius: f64,
        color: Color,
        hollow: bool,
    },
    Text(Text),
}

/// A line through points.
pub(super) struct Line {
    pub(super) points: Vec<(f64, f64)>,
    pub(super) color: Color,
    pub(super) width: f64,
    /// From 0, invisible, to 1.
    pub(super) opacity: f64,
    /// Length of dashes and of the gaps between them; 0 for a solid line.
    pub(super) dash: f64,
}

/// One line of text.
pub(super) struct Text {
    /// A point on the line that letters stand on.
    pub(super) at: (f64, f64),
    pub(super) anchor: Anchor,
    pub(super) size: f64,
    pub(super) color: Color,
    pub(super) content: String,
}

/// Which part of a text is at its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// Red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Color(pub(super) u8, pub(super) u8, pub(super) u8);

/// Width of the rim of a hollow dot.
pub(super) const RIM: f64 = 1.4;

pub(super) const WHITE: Color = Color(0xFF, 0xFF, 0xFF);
pub(super) const INK: Color = Color(0x22, 0x22, 0x22);
pub(super) const GREY: Color = Color(0x66, 0x66, 0x66);
pub(super) const FRAME: Color = Color(0x99, 0x99, 0x99);
pub(super) const GRID: Color = Color(0xE4, 0xE4, 0xE4);

/// Okabe and Ito's colours, which people of all kinds of colour vision can tell apart; the pale ones come last.
const PALETTE: [Color; 8] = [
    Color(0x00, 0x72, 0xB2),
    Color(0xD5, 0x5E, 0x00),
    Color(0x00, 0x9E, 0x73),
    Color(0xCC, 0x79, 0xA7),
    Color(0xE6, 0x9F, 0x00),
    Color(0x56, 0xB4, 0xE9),
    Color(0x00, 0x00, 0x00),
    Color(0xF0, 0xE4, 0x42),
];

/// The colour of a run, and the length of its dashes: when the colours are used up they come again, dashed.
pub(super) fn color_of(run: usize) -> (Color, f64) {
    (PALETTE[run % PALETTE.len()], (run / PALETTE.len()) as f64 * 4.0)
}

impl std::fmt::Display for Color {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }
}
