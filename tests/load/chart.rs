//! Draws what was measured, as SVG.

use std::fmt::Write;

/// One row of bars.
pub(crate) struct Bars {
    pub(crate) label: String,
    /// One for each panel.
    pub(crate) values: Vec<f64>,
    pub(crate) is_ours: bool,
}

const WIDTH: u32 = 860;
const LABEL: u32 = 240;
const ROW: u32 = 26;
const TOP: u32 = 74;
/// What a number beside a bar takes.
const NUMBER: u32 = 70;

/// Panels side by side, each with a bar for each row, as long as its value.
pub(crate) fn bars(title: &str, panels: &[&str], rows: &[Bars]) -> String {
    let height = TOP + ROW * rows.len() as u32 + 14;
    let panel = (WIDTH - LABEL) / panels.len().max(1) as u32;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"16\" y=\"28\" font-size=\"16\" font-weight=\"600\">{}</text>\n",
        escaped(title)
    );
    let mut write = |line: String| writeln!(svg, "{line}").unwrap_or_default();
    for (at, name) in panels.iter().enumerate() {
        let left = LABEL + panel * at as u32;
        write(format!("<text x=\"{left}\" y=\"56\" fill=\"#555\">{}</text>", escaped(name)));
        let most = rows.iter().map(|row| row.values[at]).fold(1.0, f64::max);
        for (number, row) in rows.iter().enumerate() {
            let (y, value) = (TOP + ROW * number as u32, row.values[at]);
            let length = (value / most * f64::from(panel - NUMBER)).max(1.0);
            let color = if row.is_ours { "#0a7d5a" } else { "#9aa7b2" };
            write(format!(
                "<rect x=\"{left}\" y=\"{y}\" width=\"{length:.1}\" height=\"16\" fill=\"{color}\"/>"
            ));
            let (x, y) = (f64::from(left) + length + 6.0, y + 13);
            write(format!("<text x=\"{x:.1}\" y=\"{y}\">{}</text>", grouped(value)));
        }
    }
    for (number, row) in rows.iter().enumerate() {
        let y = TOP + ROW * number as u32 + 13;
        let weight = if row.is_ours { 600 } else { 400 };
        let label = escaped(&row.label);
        write(format!("<text x=\"16\" y=\"{y}\" font-weight=\"{weight}\">{label}</text>"));
    }
    svg + "</svg>\n"
}

/// 12345 as 12,345.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
