//! A plot as SVG: a frame with ticks, lines, points and labels. Colours are CSS variables of the page, so that one
//! picture serves light and dark. Knows no report.

use std::fmt::Write;

use super::{html::escape, numbers};

/// Left, right, top and bottom of the plotted area within the picture.
#[derive(Debug, Clone, Copy)]
pub struct Area {
    /// The least x.
    pub left: f64,
    /// The greatest x.
    pub right: f64,
    /// The least y, which is up.
    pub top: f64,
    /// The greatest y.
    pub bottom: f64,
}

/// How values become places.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    is_log: bool,
}

impl Scale {
    /// Equal differences are equally far apart; the ends are widened to round numbers.
    pub fn linear(low: f64, high: f64, from: f64, to: f64) -> Self {
        let (low, high) = if high > low { (low, high) } else { (low - 0.5, low + 0.5) };
        let step = nice_step(high - low);
        Self { low: (low / step).floor() * step, high: (high / step).ceil() * step, from, to, is_log: false }
    }

    /// Equal differences are equally far apart, between exactly these ends.
    pub fn exact(low: f64, high: f64, from: f64, to: f64) -> Self {
        Self { low, high: if high > low { high } else { low + 1.0 }, from, to, is_log: false }
    }

    /// Equal ratios are equally far apart; for values above zero.
    pub fn log(low: f64, high: f64, from: f64, to: f64) -> Self {
        Self { low: low / 1.1, high: high * 1.1, from, to, is_log: true }
    }

    /// Where a value stands.
    pub fn at(&self, value: f64) -> f64 {
        let part = if self.is_log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + part.clamp(-0.05, 1.05) * (self.to - self.from)
    }

    /// Round values to mark, with their texts.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        if self.is_log {
            let decade = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
            let marks = decade.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
            return marks
                .filter(|value| (self.low..=self.high).contains(value))
                .map(|value| (value, tick_text(value, value)))
                .collect();
        }
        let step = nice_step(self.high - self.low);
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).map(|index| index as f64 * step).map(|value| (value, tick_text(value, step))).collect()
    }
}

/// The step of 1, 2 or 5 times a power of ten that divides a span into about five.
fn nice_step(span: f64) -> f64 {
    let raw = span / 5.0;
    let power = 10f64.powf(raw.log10().floor());
    let digit = [1.0, 2.0, 5.0, 10.0].into_iter().find(|digit| digit * power >= raw * 0.999).unwrap_or(10.0);
    digit * power
}

fn tick_text(value: f64, step: f64) -> String {
    if step >= 1.0 {
        let whole = numbers::count(value.abs().round() as u64);
        return if value <= -0.5 { format!("−{whole}") } else { whole };
    }
    numbers::fixed(value, (-step.log10().floor()).clamp(0.0, 9.0) as usize)
}

/// A picture that grows.
#[derive(Debug)]
pub struct Picture {
    width: f64,
    height: f64,
    body: String,
}

impl Picture {
    /// An empty picture.
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// Horizontal grid lines with their values at the left, and the values of x below.
    pub fn frame(&mut self, area: Area, x: &Scale, y: &Scale, x_title: &str) {
        self.rows(area, y);
        self.x_axis(area, x, x_title);
    }

    /// Horizontal grid lines with their values at the left.
    pub fn rows(&mut self, area: Area, y: &Scale) {
        for (value, text) in y.ticks() {
            let place = y.at(value);
            self.line((area.left, place), (area.right, place), "grid");
            self.text((area.left - 8.0, place + 4.0), &text, "tick", "end");
        }
    }

    /// A bar between its upper left and lower right corner, in the colour of a series, which says `title` when pointed at.
    pub fn bar(&mut self, from: (f64, f64), to: (f64, f64), series: usize, title: &str) {
        let (x, y, width, height) = (place(from.0), place(from.1), place(to.0 - from.0), place(to.1 - from.1));
        let _ = writeln!(
            self.body,
            r#"<rect class="bar {}" x="{x}" y="{y}" width="{width}" height="{height}"><title>{}</title></rect>"#,
            colour(series),
            escape(title)
        );
    }

    /// Vertical grid lines with their values below.
    pub fn columns(&mut self, area: Area, x: &Scale) {
        for (value, text) in x.ticks() {
            let place = x.at(value);
            self.line((place, area.top), (place, area.bottom), "grid");
            self.text((place, area.bottom + 18.0), &text, "tick", "middle");
        }
    }

    fn x_axis(&mut self, area: Area, x: &Scale, title: &str) {
        self.line((area.left, area.bottom), (area.right, area.bottom), "axis");
        for (value, text) in x.ticks() {
            let place = x.at(value);
            self.line((place, area.bottom), (place, area.bottom + 4.0), "axis");
            self.text((place, area.bottom + 18.0), &text, "tick", "middle");
        }
        self.text(((area.left + area.right) / 2.0, area.bottom + 36.0), title, "tick", "middle");
    }

    /// A straight line of a class.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let (x1, y1, x2, y2) = (place(from.0), place(from.1), place(to.0), place(to.1));
        let _ = writeln!(self.body, r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#);
    }

    /// A line through points, in the colour of a series.
    pub fn path(&mut self, points: &[(f64, f64)], series: usize, class: &str) {
        let places: Vec<String> = points.iter().map(|(x, y)| format!("{},{}", place(*x), place(*y))).collect();
        let _ = writeln!(self.body, r#"<polyline class="{class} {}" points="{}"/>"#, colour(series), places.join(" "));
    }

    /// The area between two lines, in the colour of a series.
    pub fn band(&mut self, upper: &[(f64, f64)], lower: &[(f64, f64)], series: usize) {
        let places: Vec<String> =
            upper.iter().chain(lower.iter().rev()).map(|(x, y)| format!("{},{}", place(*x), place(*y))).collect();
        let _ = writeln!(self.body, r#"<polygon class="band {}" points="{}"/>"#, colour(series), places.join(" "));
    }

    /// A point in the colour of a series, which says `title` when pointed at.
    pub fn dot(&mut self, at: (f64, f64), radius: f64, series: usize, class: &str, title: &str) {
        let _ = writeln!(
            self.body,
            r#"<circle class="{class} {}" cx="{}" cy="{}" r="{radius}"><title>{}</title></circle>"#,
            colour(series),
            place(at.0),
            place(at.1),
            escape(title)
        );
    }

    /// A square of a heat map, its corner at the upper left: the fuller the nearer `share` is to 1.
    pub fn cell(&mut self, at: (f64, f64), size: f64, share: f64, title: &str) {
        let opacity = numbers::fixed(0.04 + 0.96 * share.clamp(0.0, 1.0), 3);
        let _ = writeln!(
            self.body,
            r#"<rect class="cell" x="{}" y="{}" width="{}" height="{}" fill-opacity="{opacity}"><title>{}</title></rect>"#,
            place(at.0),
            place(at.1),
            place(size),
            place(size),
            escape(title)
        );
    }

    /// A hollow diamond: a figure of others.
    pub fn diamond(&mut self, at: (f64, f64), title: &str) {
        let (x, y) = (place(at.0), place(at.1));
        let _ = writeln!(
            self.body,
            r#"<path class="published" d="M{x},{y} m-6,0 l6,-6 l6,6 l-6,6 z"><title>{}</title></path>"#,
            escape(title)
        );
    }

    /// A text; `anchor` is `start`, `middle` or `end`.
    pub fn text(&mut self, at: (f64, f64), text: &str, class: &str, anchor: &str) {
        let _ = writeln!(
            self.body,
            r#"<text class="{class}" x="{}" y="{}" text-anchor="{anchor}">{}</text>"#,
            place(at.0),
            place(at.1),
            escape(text)
        );
    }

    /// A text in the colour of a series.
    pub fn label(&mut self, at: (f64, f64), text: &str, series: usize) {
        self.text(at, text, &format!("label {}", colour(series)), "start");
    }

    /// The finished picture; `title` says in words what is seen.
    pub fn finish(self, title: &str) -> String {
        let (width, height) = (self.width, self.height);
        format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">\n{}</svg>\n",
            escape(title),
            self.body
        )
    }
}

/// A picture as a file of its own, with its colours.
pub fn alone(picture: &str) -> String {
    let style = concat!(include_str!("colours.css"), include_str!("plots.css"));
    let font = "svg { font-family: system-ui, sans-serif; background: var(--card); }\n";
    let picture = picture.replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1);
    picture.replacen('>', &format!(">\n<style>\n{style}{font}</style>"), 1)
}

/// The class that gives a series its colour; there are eight.
pub fn colour(series: usize) -> String {
    format!("s{}", series % 8)
}

fn place(value: f64) -> String {
    numbers::fixed(value, 1)
}

/// The width a text takes in the labels' size, roughly.
pub fn text_width(text: &str) -> f64 {
    text.chars().map(|c| if c.is_ascii() { 7.0 } else { 9.0 }).sum()
}

/// Moves places apart until each has `gap` to the next, keeping their order and staying above `lowest`.
pub fn spread(places: &mut [(usize, f64)], gap: f64, lowest: f64) {
    places.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    for index in 1..places.len() {
        places[index].1 = places[index].1.max(places[index - 1].1 + gap);
    }
    let mut limit = lowest;
    for entry in places.iter_mut().rev() {
        entry.1 = entry.1.min(limit);
        limit = entry.1 - gap;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        let texts = |scale: Scale| scale.ticks().into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(texts(Scale::linear(3.0, 97.0, 0.0, 1.0)), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(texts(Scale::linear(0.11, 0.38, 0.0, 1.0)), ["0.1", "0.2", "0.3", "0.4"]);
        assert_eq!(texts(Scale::exact(0.0, 1240.0, 0.0, 1.0)), ["0", "500", "1,000"]);
        assert_eq!(texts(Scale::log(0.04, 3.0, 0.0, 1.0)), ["0.05", "0.1", "0.2", "0.5", "1", "2"]);
    }

    #[test]
    fn labels_keep_their_distance() {
        let mut places = [(0, 50.0), (1, 52.0), (2, 99.0), (3, 98.0)];
        spread(&mut places, 14.0, 100.0);
        assert_eq!(places, [(0, 50.0), (1, 64.0), (3, 86.0), (2, 100.0)]);
    }
}
