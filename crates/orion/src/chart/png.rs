//! Paints a scene, twice as fine as the SVG, and encodes it as PNG.

use tiny_skia::{
    FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Stroke, StrokeDash, Transform,
};
use ttf_parser::OutlineBuilder;

use super::font;
use super::scene::{Anchor, Color, Line, RIM, Scene, Shape, Text, WHITE};

/// Pixels of the picture for one of the scene.
const FINENESS: f32 = 2.0;

/// The scene as the bytes of a PNG file. The error says what the encoder refused.
pub(crate) fn encode(scene: &Scene) -> Result<Vec<u8>, String> {
    let [width, height] =
        [scene.width, scene.height].map(|length| (length as f32 * FINENESS).ceil() as u32);
    let mut picture = Pixmap::new(width, height)
        .ok_or_else(|| format!("a picture of {width} x {height} pixels is too large"))?;
    picture.fill(tiny_skia::Color::WHITE);
    for shape in &scene.shapes {
        match shape {
            Shape::Line(line) => paint_line(&mut picture, line),
            Shape::Dot { center, radius, color, hollow } => {
                let circle = |radius| {
                    PathBuilder::from_circle(center.0 as f32, center.1 as f32, radius as f32)
                };
                let rim = if *hollow { RIM / 2.0 } else { 0.0 };
                fill(&mut picture, circle(radius + rim), *color);
                if *hollow {
                    fill(&mut picture, circle(radius - rim), WHITE);
                }
            }
            Shape::Text(text) => paint_text(&mut picture, text),
        }
    }
    picture.encode_png().map_err(|error| error.to_string())
}

fn paint_line(picture: &mut Pixmap, line: &Line) {
    let mut path = PathBuilder::new();
    for (number, &(x, y)) in line.points.iter().enumerate() {
        let (x, y) = (x as f32, y as f32);
        if number == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
    }
    let dash = line.dash as f32;
    let stroke = Stroke {
        width: line.width as f32,
        line_cap: LineCap::Butt,
        line_join: LineJoin::Round,
        dash: if dash > 0.0 { StrokeDash::new(vec![dash, dash], 0.0) } else { None },
        ..Stroke::default()
    };
    // A path that goes nowhere is no path.
    if let Some(path) = path.finish() {
        let paint = paint(line.color, line.opacity);
        picture.stroke_path(&path, &paint, &stroke, transform(), None);
    }
}

fn paint_text(picture: &mut Pixmap, text: &Text) {
    let left = match text.anchor {
        Anchor::Start => text.at.0,
        Anchor::Middle => text.at.0 - font::width(&text.content, text.size) / 2.0,
        Anchor::End => text.at.0 - font::width(&text.content, text.size),
    };
    let mut path = PathBuilder::new();
    font::each_glyph(&text.content, text.size, &mut |glyph| {
        glyph.outline(&mut Outline {
            path: &mut path,
            left: (left + glyph.right) as f32,
            baseline: text.at.1 as f32,
            scale: glyph.scale as f32,
        });
    });
    fill(picture, path.finish(), text.color);
}

fn fill(picture: &mut Pixmap, path: Option<Path>, color: Color) {
    if let Some(path) = path {
        picture.fill_path(&path, &paint(color, 1.0), FillRule::Winding, transform(), None);
    }
}

fn paint(color: Color, opacity: f64) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(color.0, color.1, color.2, (opacity * 255.0).round() as u8);
    paint
}

fn transform() -> Transform {
    Transform::from_scale(FINENESS, FINENESS)
}

/// Letters in the picture's places: font units become pixels, and heights go downward.
struct Outline<'a> {
    path: &'a mut PathBuilder,
    left: f32,
    baseline: f32,
    scale: f32,
}

impl Outline<'_> {
    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        (self.left + x * self.scale, self.baseline - y * self.scale)
    }
}

impl OutlineBuilder for Outline<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.place(x1, y1), self.place(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) =
            (self.place(x1, y1), self.place(x2, y2), self.place(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}
