//! Gives everything in a figure its place.

use super::axis::{Axis, drawable};
use super::font;
use super::scene::{Anchor, Color, FRAME, GREY, GRID, INK, Line, Scene, Shape, Text, color_of};
use super::thin::thin;
use super::{Curve, Figure, Panel, Range, Style};

const WIDTH: f64 = 960.0;
/// Height of all panels, without what is written around them.
const PANELS: f64 = 560.0;
const EDGE: f64 = 24.0;
const TEXT: f64 = 12.0;
/// From one line of text to the next.
const LEADING: f64 = 20.0;
const TITLE: f64 = 17.0;
/// Above a panel, for its name.
const HEADING: f64 = 30.0;
/// Part of an axis that stays free beside the values.
const MARGIN: f64 = 0.05;
/// Pixels for one tick.
const TICK_WIDTH: f64 = 110.0;
const TICK_HEIGHT: f64 = 30.0;
/// The most dots on a line. Where there are more points, dots lie some points apart.
const DOTS: usize = 60;
/// The most letters of a run's name in the legend.
const LONGEST_NAME: usize = 60;

/// A figure with places.
pub(crate) struct Layout {
    pub(crate) scene: Scene,
    /// Left and right end of all panels, in pixels, and the values there.
    pub(super) x: [(f64, f64); 2],
    /// Top of the first panel and bottom of the last.
    pub(super) y: [f64; 2],
    /// What was drawn, for read-outs.
    pub(super) traces: Vec<Trace>,
}

/// The points of a curve that were drawn, as values.
pub(super) struct Trace {
    pub(super) run: usize,
    pub(super) label: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// The rectangle of a panel.
#[derive(Clone, Copy)]
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Layout {
    /// Places a figure.
    pub(crate) fn of(figure: &Figure) -> Self {
        let columns = figure.panels.iter().flat_map(|panel| &panel.curves);
        let x = columns.flat_map(|curve| &curve.points).map(|point| point.0);
        let mut x = Axis::from_zero(x, 0.0);
        x.whole = figure.x_is_whole;
        let all: f64 = figure.panels.iter().map(|panel| panel.weight).sum();
        let axes: Vec<(Axis, f64)> = figure
            .panels
            .iter()
            .map(|panel| (y_axis(panel), (PANELS * panel.weight / all).round()))
            .collect();
        let labels = axes.iter().flat_map(|(axis, height)| axis.ticks(tick_count(*height)));
        let widest = labels.map(|(_, label)| font::width(&label, TEXT)).fold(0.0, f64::max);

        let mut layout = Self {
            scene: Scene { width: WIDTH, height: 0.0, shapes: Vec::new() },
            x: [(EDGE + widest.ceil() + 8.0, x.min), (WIDTH - EDGE - 8.0, x.max)],
            y: [0.0; 2],
            traces: Vec::new(),
        };
        let mut top = layout.headings(figure);
        layout.y[0] = top + HEADING;
        for (panel, (axis, height)) in figure.panels.iter().zip(&axes) {
            let (left, right) = (layout.x[0].0, layout.x[1].0);
            let frame = Frame { left, right, top: top + HEADING, bottom: top + HEADING + height };
            layout.panel(panel, frame, &x, axis);
            top = frame.bottom;
        }
        layout.y[1] = top;
        layout.x_labels(&figure.x_label, &x, top);
        layout.scene.height = top + 2.0 * LEADING + 12.0;
        layout
    }

    /// Writes title and legend; gives the height below them.
    fn headings(&mut self, figure: &Figure) -> f64 {
        const SWATCH: f64 = 22.0;
        let mut baseline = 12.0;
        if let Some(title) = &figure.title {
            baseline += LEADING;
            self.text((WIDTH / 2.0, baseline), Anchor::Middle, TITLE, INK, title);
            baseline += 4.0;
        }
        baseline += LEADING;
        let start = self.x[0].0;
        let mut left = start;
        for (run, name) in figure.runs.iter().enumerate() {
            let name = shortened(name);
            let width = SWATCH + 6.0 + font::width(&name, TEXT);
            if left > start && left + width > WIDTH - EDGE {
                (left, baseline) = (start, baseline + LEADING);
            }
            let (color, dash) = color_of(run);
            let middle = baseline - 4.0;
            let points = vec![(left, middle), (left + SWATCH, middle)];
            self.line(Line { points, color, width: 3.0, opacity: 1.0, dash });
            self.text((left + SWATCH + 6.0, baseline), Anchor::Start, TEXT, INK, &name);
            left += width + 24.0;
        }
        baseline
    }

    fn panel(&mut self, panel: &Panel, frame: Frame, x: &Axis, y: &Axis) {
        let Frame { left, right, top, bottom } = frame;
        self.text((left, top - 8.0), Anchor::Start, TEXT + 1.0, INK, panel.title);
        self.text((right, top - 8.0), Anchor::End, TEXT - 1.0, GREY, panel.note);
        let rule = |points, color| Line { points, color, width: 1.0, opacity: 1.0, dash: 0.0 };
        for (value, _) in x.ticks(tick_count_across(left, right)) {
            if let Some(at) = x.place(value).map(|place| left + place * (right - left)) {
                self.line(rule(vec![(at, top), (at, bottom)], GRID));
            }
        }
        for (value, label) in y.ticks(tick_count(bottom - top)) {
            if let Some(at) = y.place(value).map(|place| bottom - place * (bottom - top)) {
                self.line(rule(vec![(left, at), (right, at)], GRID));
                self.text((left - 8.0, at + 4.0), Anchor::End, TEXT, INK, &label);
            }
        }
        // Strong lines are drawn over faint ones of all runs.
        for style in [Style::Faint, Style::Line, Style::Strong, Style::Dotted] {
            for curve in panel.curves.iter().filter(|curve| curve.style == style) {
                self.curve(curve, frame, x, y);
            }
        }
        let corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
        self.line(rule(corners.to_vec(), FRAME));
        if panel.curves.iter().flat_map(|curve| &curve.points).all(|&(_, y)| !drawable(y)) {
            let middle = (f64::midpoint(left, right), f64::midpoint(top, bottom));
            self.text(middle, Anchor::Middle, TEXT, GREY, "nothing to show");
        }
    }

    fn curve(&mut self, curve: &Curve, frame: Frame, x: &Axis, y: &Axis) {
        let Frame { left, right, top, bottom } = frame;
        let place = |&(at, value): &(f64, f64)| {
            let (across, up) = (x.place(at)?, y.place(value)?);
            Some((left + across * (right - left), bottom - up * (bottom - top)))
        };
        let (color, dash) = color_of(curve.run);
        let (width, opacity) = match curve.style {
            Style::Faint => (1.0, 0.3),
            Style::Line => (1.4, 1.0),
            Style::Strong => (2.2, 1.0),
            Style::Dotted => (1.0, 0.8),
        };
        for points in thin(curve.points.iter().map(place)) {
            let dots = match curve.style {
                Style::Dotted => Some((3.2, true)),
                // A line that ends where it begins would not be seen.
                _ if points.len() == 1 => Some((2.0, false)),
                _ => None,
            };
            // Counted from the end: the last validation is the one to be seen.
            let apart = points.len().div_ceil(DOTS).max(1);
            let centers: Vec<_> = points.iter().rev().step_by(apart).copied().collect();
            if points.len() > 1 {
                self.line(Line { points, color, width, opacity, dash });
            }
            if let Some((radius, hollow)) = dots {
                let dot = |center| Shape::Dot { center, radius, color, hollow };
                self.scene.shapes.extend(centers.into_iter().map(dot));
            }
        }
        let values = curve.points.iter().map(|point| place(point).map(|(at, _)| (at, *point)));
        self.traces.push(Trace {
            run: curve.run,
            label: curve.label,
            points: one_a_column(values.flatten()),
        });
    }

    fn x_labels(&mut self, label: &str, x: &Axis, bottom: f64) {
        let [(left, _), (right, _)] = self.x;
        for (value, text) in x.ticks(tick_count_across(left, right)) {
            if let Some(at) = x.place(value).map(|place| left + place * (right - left)) {
                self.text((at, bottom + 18.0), Anchor::Middle, TEXT, INK, &text);
            }
        }
        let middle = f64::midpoint(left, right);
        self.text((middle, bottom + 18.0 + LEADING), Anchor::Middle, TEXT + 1.0, INK, label);
    }

    fn line(&mut self, line: Line) {
        self.scene.shapes.push(Shape::Line(line));
    }

    fn text(&mut self, at: (f64, f64), anchor: Anchor, size: f64, color: Color, text: &str) {
        if !text.is_empty() {
            let content = text.to_owned();
            self.scene.shapes.push(Shape::Text(Text { at, anchor, size, color, content }));
        }
    }
}

fn y_axis(panel: &Panel) -> Axis {
    let values = panel.curves.iter().flat_map(|curve| &curve.points).map(|point| point.1);
    match panel.range {
        Range::Fit => Axis::over(values, MARGIN),
        Range::FromZero => Axis::from_zero(values, MARGIN),
        Range::Logarithmic => Axis::logarithmic(values, MARGIN),
    }
}

fn tick_count(height: f64) -> usize {
    (height / TICK_HEIGHT).clamp(2.0, 8.0) as usize
}

fn tick_count_across(left: f64, right: f64) -> usize {
    ((right - left) / TICK_WIDTH) as usize
}

/// The first value of each column of pixels. A read-out needs no more.
fn one_a_column(values: impl Iterator<Item = (f64, (f64, f64))>) -> Vec<(f64, f64)> {
    let mut last = f64::NAN;
    values
        .filter(|(at, _)| {
            let is_new = at.floor() != last;
            last = at.floor();
            is_new
        })
        .map(|(_, point)| point)
        .collect()
}

/// A name that leaves room for others.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}
