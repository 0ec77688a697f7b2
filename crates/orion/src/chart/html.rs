//! A page that shows the chart, a table of the runs, and the values under the pointer. It loads nothing.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Figure;
use super::layout::Layout;
use super::scene::color_of;
use super::svg::{self, escape};

const STYLE: &str = "
body { font: 14px \"DejaVu Sans\", Verdana, sans-serif; color: #222; background: #fff; margin: 2em auto; max-width: 960px; }
svg { width: 100%; height: auto; }
figure { margin: 0; position: relative; }
table { border-collapse: collapse; margin: 1em 0; width: 100%; }
th, td { padding: .3em .8em; text-align: right; border-bottom: 1px solid #e4e4e4; }
th:first-child, td:first-child { text-align: left; }
#values { position: absolute; display: none; pointer-events: none; white-space: pre; padding: .5em .8em;
  background: #fffffff0; border: 1px solid #999; font-size: 12px; }
#pointer { stroke: #666; stroke-dasharray: 3; visibility: hidden; }
";

/// Shows, for each curve, the point that is nearest to the pointer.
const SCRIPT: &str = "
const svg = document.querySelector('svg'), box = document.getElementById('values');
const line = svg.appendChild(document.createElementNS(svg.namespaceURI, 'line'));
line.id = 'pointer';
const round = (value, digits) => value.toLocaleString('en', {maximumSignificantDigits: digits});
svg.addEventListener('pointermove', event => {
  const area = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / area.width;
  const [[left, min], [right, max]] = chart.x;
  const x = Math.min(Math.max((event.clientX - area.left) * scale, left), right);
  const value = min + (x - left) / (right - left) * (max - min);
  const texts = chart.runs.map((run, number) => [run, ...chart.traces.filter(trace => trace.run === number)
    .map(trace => {
      const near = trace.points.reduce((a, b) => Math.abs(b[0] - value) < Math.abs(a[0] - value) ? b : a);
      return `  ${trace.label}: ${round(near[1], 5)}  (at ${round(near[0], 9)})`;
    })].join('\\n'));
  for (const [name, at] of [['x1', x], ['x2', x], ['y1', chart.y[0]], ['y2', chart.y[1]]]) line.setAttribute(name, at);
  line.style.visibility = 'visible';
  box.textContent = `${chart.label}: ${chart.whole ? round(Math.round(value), 9) : round(value, 4)}\\n${texts.join('\\n')}`;
  box.style.display = 'block';
  const isRight = x > (left + right) / 2;
  box.style.left = isRight ? '' : `${x / scale + 16}px`;
  box.style.right = isRight ? `${area.width - x / scale + 16}px` : '';
  box.style.top = `${event.clientY - area.top + 16}px`;
});
svg.addEventListener('pointerleave', () => { box.style.display = 'none'; line.style.visibility = 'hidden'; });
";

/// A table below the chart: names of the columns, then one row a run whose first cell is the run's name.
pub(crate) struct Table {
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// The page.
pub(crate) fn write(figure: &Figure, layout: &Layout, table: &Table) -> String {
    let traces = layout.traces.iter().filter(|trace| !trace.points.is_empty()).map(|trace| {
        let points: Vec<Value> =
            trace.points.iter().map(|&(x, y)| json!([digits(x, 9), digits(y, 5)])).collect();
        json!({ "run": trace.run, "label": trace.label, "points": points })
    });
    let chart = json!({
        "label": figure.x_label,
        "whole": figure.x_is_whole,
        "x": layout.x,
        "y": layout.y,
        "runs": figure.runs,
        "traces": traces.collect::<Vec<_>>(),
    });
    // Nothing in a name may end the script.
    let chart = chart.to_string().replace('<', "\\u003c");
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<figure>\n{}<div id=\"values\"></div>\n</figure>\n\
         {}<script>\nconst chart = {chart};{SCRIPT}</script>\n</body>\n</html>\n",
        escape(figure.title.as_deref().unwrap_or("Training")),
        svg::write(&layout.scene),
        write_table(table),
    )
}

fn write_table(table: &Table) -> String {
    let mut html = String::from("<table>\n<tr>");
    // Writing to a string cannot fail.
    for column in &table.columns {
        let _ = write!(html, "<th>{}</th>", escape(column));
    }
    html.push_str("</tr>\n");
    for (run, row) in table.rows.iter().enumerate() {
        let (color, _) = color_of(run);
        for (number, cell) in row.iter().enumerate() {
            let _ = match number {
                0 => write!(
                    html,
                    "<tr><td><span style=\"color:{color}\">■</span> {}</td>",
                    escape(cell)
                ),
                _ => write!(html, "<td>{}</td>", escape(cell)),
            };
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</table>\n");
    html
}

/// A value with so many digits after the first: values that were `f32` have no more, and pages stay small.
fn digits(value: f64, count: usize) -> f64 {
    format!("{value:.count$e}").parse().unwrap_or(value)
}
