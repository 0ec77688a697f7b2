//! Line charts: panels over one another that share the horizontal axis, drawn once and written as SVG, PNG or HTML.
//!
//! A [`Figure`] says what is shown. [`Layout`] gives everything its place and yields a scene of lines, dots and
//! texts, which [`svg`] writes as text and [`png`] paints; [`html`] wraps the former into a page.

mod axis;
mod font;
pub(crate) mod html;
mod layout;
pub(crate) mod png;
mod scene;
pub(crate) mod svg;
mod thin;

pub(crate) use layout::Layout;

/// What a chart shows.
pub(crate) struct Figure {
    pub(crate) title: Option<String>,
    /// Name of what the panels share.
    pub(crate) x_label: String,
    /// Whether only whole numbers are marked there.
    pub(crate) x_is_whole: bool,
    /// Names of the runs, in the order of their colours.
    pub(crate) runs: Vec<String>,
    pub(crate) panels: Vec<Panel>,
}

/// One set of axes.
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    /// Explains the styles of lines; may be empty.
    pub(crate) note: &'static str,
    /// Share of the height.
    pub(crate) weight: f64,
    pub(crate) range: Range,
    pub(crate) curves: Vec<Curve>,
}

/// What a vertical axis covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// The values.
    Fit,
    /// The values and zero.
    FromZero,
    /// The values above zero, by their logarithm.
    Logarithmic,
}

/// A line of values in a panel.
pub(crate) struct Curve {
    /// Which run it belongs to: an index into [`Figure::runs`].
    pub(crate) run: usize,
    /// What its values are called.
    pub(crate) label: &'static str,
    pub(crate) style: Style,
    /// Horizontal and vertical value. One that is not finite interrupts the line.
    pub(crate) points: Vec<(f64, f64)>,
}

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Thin and pale: noisy values.
    Faint,
    /// A plain line.
    Line,
    /// A strong line.
    Strong,
    /// Dots on a line.
    Dotted,
}
