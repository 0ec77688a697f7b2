//! A directed graph without cycles as SVG, in layers (Sugiyama, Tagawa and Toda, 1981): every box stands below those that it
//! reads, and edges that cross layers have a place of their own in each.

use std::fmt::Write;

use orion_compiler::mil::graph::Node;

/// Size of a letter of the monospaced font.
const LETTER: [f64; 2] = [7.2, 16.0];
const PADDING: f64 = 10.0;
/// Between neighbours, and between layers.
const GAP: [f64; 2] = [16.0, 36.0];
/// Sweeps down and up that order a layer and move it below what it reads.
const SWEEPS: usize = 8;

/// What stands in a layer: a box, or an edge that passes.
struct Item {
    node: Option<usize>,
    size: [f64; 2],
    center: f64,
    above: Vec<usize>,
    below: Vec<usize>,
}

struct Layout {
    items: Vec<Item>,
    layers: Vec<Vec<usize>>,
}

/// The picture.
pub(super) fn svg(nodes: &[Node]) -> String {
    let mut layout = Layout::new(nodes);
    for sweep in 0..SWEEPS {
        layout.sweep(sweep % 2 == 0);
    }
    layout.draw(nodes)
}

impl Layout {
    fn new(nodes: &[Node]) -> Self {
        let mut depths = vec![0_usize; nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            depths[index] = node.reads.iter().map(|&read| depths[read] + 1).max().unwrap_or(0);
        }
        // What reads nothing stands just above its first reader.
        for index in (0..nodes.len()).filter(|&index| nodes[index].reads.is_empty()) {
            let readers = nodes.iter().enumerate().filter(|(_, node)| node.reads.contains(&index));
            let first = readers.map(|(reader, _)| depths[reader]).min();
            depths[index] = first.map_or(0, |first| first.saturating_sub(1));
        }
        let mut items: Vec<Item> =
            nodes.iter().enumerate().map(|(index, node)| Item::of(index, node)).collect();
        let mut layers = vec![Vec::new(); depths.iter().max().map_or(0, |most| most + 1)];
        for (index, &depth) in depths.iter().enumerate() {
            layers[depth].push(index);
        }
        for (index, node) in nodes.iter().enumerate() {
            for &read in &node.reads {
                let mut above = read;
                for layer in &mut layers[depths[read] + 1..depths[index]] {
                    let passing = items.len();
                    items.push(Item {
                        node: None,
                        size: [2.0, 0.0],
                        center: 0.0,
                        above: vec![above],
                        below: Vec::new(),
                    });
                    items[above].below.push(passing);
                    layer.push(passing);
                    above = passing;
                }
                items[index].above.push(above);
                items[above].below.push(index);
            }
        }
        let mut layout = Self { items, layers };
        for layer in 0..layout.layers.len() {
            layout.place(layer);
        }
        layout
    }

    /// Orders every layer by where its neighbours above (or below) stand, and moves it towards them.
    fn sweep(&mut self, is_down: bool) {
        let count = self.layers.len();
        for step in 0..count {
            let layer = if is_down { step } else { count - 1 - step };
            for at in 0..self.layers[layer].len() {
                let index = self.layers[layer][at];
                let item = &self.items[index];
                let near = if is_down { &item.above } else { &item.below };
                if !near.is_empty() {
                    let sum: f64 = near.iter().map(|&other| self.items[other].center).sum();
                    self.items[index].center = sum / near.len() as f64;
                }
            }
            let mut order = std::mem::take(&mut self.layers[layer]);
            order.sort_by(|&a, &b| self.items[a].center.total_cmp(&self.items[b].center));
            self.layers[layer] = order;
            self.place(layer);
        }
    }

    /// Moves the items of a layer apart where they overlap, half to the left and half to the right.
    fn place(&mut self, layer: usize) {
        let order = &self.layers[layer];
        let wanted: Vec<f64> = order.iter().map(|&index| self.items[index].center).collect();
        let apart = |items: &[Item], a: usize, b: usize| {
            f64::midpoint(items[a].size[0], items[b].size[0]) + GAP[0]
        };
        let (mut right, mut left) = (wanted.clone(), wanted);
        for at in 1..order.len() {
            right[at] = right[at].max(right[at - 1] + apart(&self.items, order[at - 1], order[at]));
        }
        for at in (1..order.len()).rev() {
            left[at - 1] =
                left[at - 1].min(left[at] - apart(&self.items, order[at - 1], order[at]));
        }
        for (at, &index) in order.iter().enumerate() {
            self.items[index].center = f64::midpoint(left[at], right[at]);
        }
    }

    fn draw(&self, nodes: &[Node]) -> String {
        let edge = |item: &Item, side: f64| item.center + side * item.size[0] / 2.0;
        let left =
            self.items.iter().map(|item| edge(item, -1.0)).fold(f64::INFINITY, f64::min) - GAP[0];
        let right = self.items.iter().map(|item| edge(item, 1.0)).fold(0.0, f64::max) + GAP[0];
        let mut tops = vec![0.0; self.items.len()];
        let mut y = GAP[1];
        for layer in &self.layers {
            let height = layer.iter().map(|&index| self.items[index].size[1]).fold(0.0, f64::max);
            layer
                .iter()
                .for_each(|&index| tops[index] = y + (height - self.items[index].size[1]) / 2.0);
            y += height + GAP[1];
        }
        let width = if left.is_finite() { right - left } else { GAP[0] };
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {y:.0}\" width=\"{width:.0}\" \
             height=\"{y:.0}\" font-family=\"monospace\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
        );
        for (index, item) in self.items.iter().enumerate() {
            for &above in &item.above {
                let from =
                    [self.items[above].center - left, tops[above] + self.items[above].size[1]];
                let to = [item.center - left, tops[index]];
                let middle = f64::midpoint(from[1], to[1]);
                let arrow = if item.node.is_some() { " marker-end=\"url(#arrow)\"" } else { "" };
                let _ = writeln!(
                    out,
                    "<path d=\"M{:.1} {:.1}C{:.1} {middle:.1} {:.1} {middle:.1} {:.1} {:.1}\" fill=\"none\" \
                     stroke=\"#888\"{arrow}/>",
                    from[0], from[1], from[0], to[0], to[0], to[1]
                );
            }
        }
        out += "<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
                orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#888\"/></marker></defs>\n";
        for (index, item) in self.items.iter().enumerate() {
            let Some(node) = item.node.and_then(|node| nodes.get(node)) else { continue };
            let (x, y) = (item.center - left - item.size[0] / 2.0, tops[index]);
            let (corner, fill) = if node.is_interface { (12, "#e8f0fe") } else { (2, "#f7f7f7") };
            let _ = writeln!(
                out,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{corner}\" fill=\"{fill}\" \
                 stroke=\"#444\"/>",
                item.size[0], item.size[1]
            );
            for (line, text) in node.lines.iter().enumerate() {
                let baseline = y + PADDING + LETTER[1] * (line as f64 + 0.75);
                let weight = if line == 0 { " font-weight=\"bold\"" } else { "" };
                let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                let center = item.center - left;
                let _ = writeln!(
                    out,
                    "<text x=\"{center:.1}\" y=\"{baseline:.1}\" text-anchor=\"middle\"{weight}>{text}</text>"
                );
            }
        }
        out + "</svg>\n"
    }
}

impl Item {
    fn of(index: usize, node: &Node) -> Self {
        let longest = node.lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let size = [
            longest as f64 * LETTER[0] + 2.0 * PADDING,
            node.lines.len() as f64 * LETTER[1] + 2.0 * PADDING,
        ];
        Self { node: Some(index), size, center: 0.0, above: Vec::new(), below: Vec::new() }
    }
}
