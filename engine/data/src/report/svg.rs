//! What plotters draws, as SVG. A colour is a class of the page's style sheet, so one picture serves light, dark and paper.
//! Knows shapes and classes; knows no axis and no report.

use std::{convert::Infallible, fmt::Write};

use plotters::{
    element::{Drawable, DynElement, PointCollection},
    style::Color,
};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, text_anchor::HPos,
    text_anchor::VPos,
};

use super::{html::escape, numbers};

/// Plotters counts places in whole numbers: so many of them are one unit of the picture.
const FINE: f64 = 10.0;

/// A length of the picture as plotters counts it.
pub fn fine(length: f64) -> i32 {
    (length * FINE).round() as i32
}

/// What is drawn: a class of `plots.css`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Class {
    Axis,
    Band,
    Bar,
    Cell,
    Curve,
    Dot,
    Grid,
    Label,
    Mean,
    Name,
    Published,
    Range,
    Tick,
    Value,
}

const CLASSES: [(Class, &str); 14] = [
    (Class::Axis, "axis"),
    (Class::Band, "band"),
    (Class::Bar, "bar"),
    (Class::Cell, "cell"),
    (Class::Curve, "curve"),
    (Class::Dot, "dot"),
    (Class::Grid, "grid"),
    (Class::Label, "label"),
    (Class::Mean, "mean"),
    (Class::Name, "name"),
    (Class::Published, "published"),
    (Class::Range, "range"),
    (Class::Tick, "tick"),
    (Class::Value, "value"),
];

impl Class {
    /// In the colour of a series.
    pub fn of(self, series: usize) -> Ink {
        Ink { class: self, series: Some(series % COLOURS) }
    }

    /// In the colour that all of the class have.
    pub fn plain(self) -> Ink {
        Ink { class: self, series: None }
    }
}

/// The colours of series.
const COLOURS: usize = 8;

/// The class that gives a series its colour.
pub fn colour(series: usize) -> String {
    format!("s{}", series % COLOURS)
}

/// A class and a series, in place of a colour: red is the class and green the series, each from 1. What plotters draws by
/// itself, such as a grid, keeps nothing else of us on its way to the backend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ink {
    class: Class,
    series: Option<usize>,
}

impl Ink {
    /// The size of its texts in the style sheet.
    pub fn size(self) -> f64 {
        if self.class == Class::Tick { 12.0 } else { 13.0 }
    }
}

impl Color for Ink {
    fn to_backend_color(&self) -> BackendColor {
        let class = CLASSES.iter().position(|(class, _)| *class == self.class).map_or(0, |index| index + 1);
        let series = self.series.map_or(0, |series| series + 1);
        BackendColor { alpha: 1.0, rgb: (class as u8, series as u8, 0) }
    }
}

/// The classes that a colour stands for.
fn classes(color: BackendColor) -> String {
    let (class, series, _) = color.rgb;
    let class = usize::from(class).checked_sub(1).and_then(|index| CLASSES.get(index)).map_or("", |(_, name)| name);
    match usize::from(series).checked_sub(1) {
        Some(series) => format!("{class} {}", colour(series)),
        None => class.to_owned(),
    }
}

/// A picture that grows.
#[derive(Debug)]
pub struct Picture {
    width: f64,
    height: f64,
    body: String,
    /// What the next shape says when pointed at.
    said: Option<String>,
}

impl Picture {
    /// An empty picture.
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new(), said: None }
    }

    /// The picture so far; `title` says in words what is seen.
    pub fn page(&self, title: &str) -> String {
        let (width, height) = (self.width, self.height);
        let title = escape(title);
        format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">\n{}</svg>\n", self.body)
    }

    /// A shape of these attributes, where its colour can be seen.
    fn shape(&mut self, element: &str, color: BackendColor, attributes: &str) {
        let said = self.said.take();
        if color.alpha == 0.0 {
            return;
        }
        let opacity = match color.alpha < 1.0 {
            true => format!(" fill-opacity=\"{}\"", numbers::fixed(color.alpha, 3)),
            false => String::new(),
        };
        let _ = write!(self.body, "<{element} class=\"{}\" {attributes}{opacity}", classes(color));
        let _ = match said {
            Some(said) => writeln!(self.body, "><title>{}</title></{element}>", escape(&said)),
            None => writeln!(self.body, "/>"),
        };
    }
}

/// A place as SVG counts it.
fn place(value: i32) -> String {
    numbers::fixed(f64::from(value) / FINE, 1)
}

fn places(points: impl IntoIterator<Item = BackendCoord>) -> Vec<String> {
    points.into_iter().map(|(x, y)| format!("{},{}", place(x), place(y))).collect()
}

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

impl DrawingBackend for Picture {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (fine(self.width).unsigned_abs(), fine(self.height).unsigned_abs())
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, color: BackendColor) -> Drawn {
        self.draw_rect((x, y), (x + 1, y + 1), &color, true)
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(place);
        self.shape("line", style.color(), &format!("x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\""));
        Ok(())
    }

    fn draw_rect<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S, _: bool) -> Drawn {
        let [x, y, width, height] = [from.0, from.1, to.0 - from.0, to.1 - from.1].map(place);
        let attributes = format!("x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"");
        self.shape("rect", style.color(), &attributes);
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Drawn {
        let points: Vec<BackendCoord> = path.into_iter().collect();
        match points.as_slice() {
            [from, to] => self.draw_line(*from, *to, style),
            [first, .., last] if first == last => self.fill_polygon(points.iter().skip(1).copied(), style),
            _ => {
                let attributes = format!("points=\"{}\"", places(points).join(" "));
                self.shape("polyline", style.color(), &attributes);
                Ok(())
            }
        }
    }

    fn draw_circle<S: BackendStyle>(&mut self, center: BackendCoord, radius: u32, style: &S, _: bool) -> Drawn {
        let (x, y, radius) = (place(center.0), place(center.1), f64::from(radius) / FINE);
        self.shape("circle", style.color(), &format!("cx=\"{x}\" cy=\"{y}\" r=\"{radius}\""));
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, vert: I, style: &S) -> Drawn {
        self.shape("polygon", style.color(), &format!("points=\"{}\"", places(vert).join(" ")));
        Ok(())
    }

    /// Texts lie flat, in the font and the size of their class.
    fn draw_text<T: BackendTextStyle>(&mut self, text: &str, style: &T, (x, y): BackendCoord) -> Drawn {
        let anchor = match style.anchor().h_pos {
            HPos::Left => "start",
            HPos::Center => "middle",
            HPos::Right => "end",
        };
        // From where the text is held to the line it stands on, in parts of its size.
        let down = match style.anchor().v_pos {
            VPos::Top => 0.83,
            VPos::Center => 0.35,
            VPos::Bottom => -0.25,
        };
        let (x, y) = (place(x), place(y + (down * style.size()).round() as i32));
        let class = classes(style.color());
        let text = escape(text);
        let _ = writeln!(self.body, r#"<text class="{class}" x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>"#);
        Ok(())
    }
}

/// An element of plotters, a single shape, that says something when pointed at.
pub struct Said<'a, Place: Clone> {
    /// What is drawn.
    pub element: DynElement<'a, Picture, Place>,
    /// What it says.
    pub text: &'a str,
}

impl<'a, Place: Clone> PointCollection<'a, Place> for &'a Said<'_, Place> {
    type Point = &'a Place;
    type IntoIter = &'a Vec<Place>;

    fn point_iter(self) -> Self::IntoIter {
        self.element.point_iter()
    }
}

impl<Place: Clone> Drawable<Picture> for Said<'_, Place> {
    fn draw<I: Iterator<Item = BackendCoord>>(&self, pos: I, backend: &mut Picture, parent_dim: (u32, u32)) -> Drawn {
        backend.said = Some(self.text.to_owned());
        self.element.draw(pos, backend, parent_dim)
    }
}

/// A picture as a file of its own, with its colours.
pub fn alone(picture: &str) -> String {
    let style = concat!(include_str!("colours.css"), include_str!("plots.css"));
    let font = "svg { font-family: system-ui, sans-serif; background: var(--card); }\n";
    let picture = picture.replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1);
    picture.replacen('>', &format!(">\n<style>\n{style}{font}</style>"), 1)
}

#[cfg(test)]
mod tests {
    use plotters::{
        drawing::IntoDrawingArea,
        element::{Circle, IntoDynElement, PathElement},
        style::TRANSPARENT,
    };

    use super::*;

    #[test]
    fn a_colour_is_a_class_that_the_style_sheet_has() {
        let style = include_str!("plots.css");
        for (class, name) in CLASSES {
            assert_eq!(classes(class.plain().to_backend_color()), name);
            assert_eq!(classes(class.of(9).to_backend_color()), format!("{name} s1"));
            assert!(style.contains(&format!(".{name}")), "{name}");
        }
        for series in 0..COLOURS {
            assert!(include_str!("colours.css").contains(&format!("--{}:", colour(series))));
            assert!(
                style.contains(&format!(".{} {{", colour(series)))
                    || include_str!("colours.css").contains(&format!(".{} {{", colour(series)))
            );
        }
    }

    #[test]
    fn a_title_belongs_to_one_shape() {
        let mut picture = Picture::new(10.0, 10.0);
        let hidden = PathElement::new(vec![(0, 0), (1, 1)], TRANSPARENT).into_dyn();
        let seen = Circle::new((15, 20), 25, Class::Dot.of(2)).into_dyn();
        for said in [Said { element: hidden, text: "unseen" }, Said { element: seen, text: "a < b" }] {
            said.draw(said.point_iter().iter().copied(), &mut picture, (100, 100)).unwrap();
        }
        picture.draw_line((0, 0), (12, 5), &Class::Grid.plain().to_backend_color()).unwrap();
        assert_eq!(
            picture.page("\"x\""),
            "<svg viewBox=\"0 0 10 10\" role=\"img\" aria-label=\"&quot;x&quot;\">\n\
             <circle class=\"dot s2\" cx=\"1.5\" cy=\"2.0\" r=\"2.5\"><title>a &lt; b</title></circle>\n\
             <line class=\"grid\" x1=\"0.0\" y1=\"0.0\" x2=\"1.2\" y2=\"0.5\"/>\n</svg>\n"
        );
        assert_eq!(picture.into_drawing_area().dim_in_pixel(), (100, 100));
    }
}
