//! A plot by plotters: two axes, and what stands between them in values of these axes. Knows marks and where their names
//! go; knows neither SVG nor what a report shows.

use std::{cell::RefCell, convert::Infallible, rc::Rc};

use plotters::{
    chart::{ChartBuilder, ChartContext, LabelAreaPosition},
    coord::{Shift, cartesian::Cartesian2d},
    drawing::{DrawingArea, DrawingAreaErrorKind},
    element::{Circle, Drawable, EmptyElement, IntoDynElement, PathElement, PointCollection, Polygon, Rectangle},
    series::LineSeries,
    style::{
        Color, FontDesc, FontFamily, FontStyle, TRANSPARENT, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};
use plotters_backend::BackendCoord;
use spec::job::Failure;

use super::{
    axis::Axis,
    svg::{Class, Ink, Picture, Said, fine},
    widths::{fitting, text_width, widest},
};

/// Plotters could not draw.
#[derive(Debug, thiserror::Error)]
#[error("failed to draw a plot: {0}")]
pub struct Undrawn(#[from] DrawingAreaErrorKind<Infallible>);

impl From<Undrawn> for Failure {
    fn from(undrawn: Undrawn) -> Self {
        Self {
            message: undrawn.to_string(),
            place: None,
            hint: Some("this is a mistake of the program; please report it with the pipeline file".to_owned()),
        }
    }
}

type Drawn = Result<(), Undrawn>;

/// A place in values of the axes.
pub type Point = (f64, f64);

/// The size of a picture, and what is left free around the marks. At the sides it is more where the texts need more.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Of the whole picture.
    pub width: f64,
    /// Of the whole picture.
    pub height: f64,
    /// Free at the left of the marks.
    pub left: f64,
    /// Free at their right.
    pub right: f64,
    /// Free above them.
    pub top: f64,
    /// Free below them.
    pub bottom: f64,
}

/// Two axes and what was drawn so far.
pub struct Chart {
    picture: Rc<RefCell<Picture>>,
    root: DrawingArea<Picture, Shift>,
    context: ChartContext<'static, Picture, Cartesian2d<Axis, Axis>>,
}

/// How long a mark at an axis is; its text stands twice as far away.
const TICK: f64 = 4.0;

/// The most that names at one side take of a picture.
const MOST: f64 = 0.4;

/// A name that would stand so many lines away from its point is left out: the point says it when pointed at.
const FAR: i32 = 3;

/// How far a point reaches to each side.
const DOT: f64 = 6.0;

/// How far the line of a label is from the next one's.
const LINE: f64 = 16.0;

impl Chart {
    /// An empty plot.
    ///
    /// # Errors
    /// When plotters cannot lay it out.
    pub fn new(size: Size, x: Axis, y: Axis) -> Result<Self, Undrawn> {
        let picture = Rc::new(RefCell::new(Picture::new(size.width, size.height)));
        let root = DrawingArea::from(&picture);
        let y = y.fitting(size.width * MOST);
        let left = size.left.max(widest(y.texts()) + 14.0);
        let right = size.right.max(x.texts().last().map_or(0.0, text_width) / 2.0);
        let text = widest(x.texts()) + 10.0;
        let x = x.thinned(text, size.width - left - right);
        let context = ChartBuilder::on(&root)
            .margin_top(fine(size.top))
            .margin_right(fine(right))
            .set_label_area_size(LabelAreaPosition::Left, fine(left))
            .set_label_area_size(LabelAreaPosition::Bottom, fine(size.bottom))
            .build_cartesian_2d(x, y)?;
        Ok(Self { picture, root, context })
    }

    /// Horizontal lines with their values at the left, and the values of x below.
    ///
    /// # Errors
    /// When plotters cannot draw, as in all that follows.
    pub fn frame(&mut self, x_title: &str) -> Drawn {
        let tick = words(Class::Tick.plain());
        let mut rows = self.context.configure_mesh();
        rows.disable_x_mesh().disable_x_axis().bold_line_style(Class::Grid.plain()).axis_style(TRANSPARENT);
        rows.label_style(tick.clone()).set_all_tick_mark_size(fine(TICK)).draw()?;
        let mut below = self.context.configure_mesh();
        below.disable_mesh().disable_y_axis().axis_style(Class::Axis.plain()).x_desc(x_title);
        below.label_style(tick).set_all_tick_mark_size(fine(TICK)).draw()?;
        Ok(())
    }

    /// Vertical lines with their values below, and names at the left.
    pub fn columns(&mut self) -> Drawn {
        let mut mesh = self.context.configure_mesh();
        mesh.disable_y_mesh().bold_line_style(Class::Grid.plain()).axis_style(TRANSPARENT);
        mesh.x_label_style(words(Class::Tick.plain())).y_label_style(words(Class::Name.plain()));
        mesh.set_all_tick_mark_size(fine(TICK)).draw()?;
        Ok(())
    }

    /// Names at the left and below, and what they are names of.
    pub fn names(&mut self, x_title: &str, y_title: &str) -> Drawn {
        let (tick, name) = (words(Class::Tick.plain()), words(Class::Name.plain()));
        let mut mesh = self.context.configure_mesh();
        mesh.disable_mesh().axis_style(TRANSPARENT).label_style(tick).x_desc(x_title).axis_desc_style(name.clone());
        mesh.set_all_tick_mark_size(fine(TICK)).draw()?;
        let (across, down) = self.context.plotting_area().get_pixel_range();
        let middle = (across.start - fine(34.0), (down.start + down.end) / 2);
        Ok(self.root.draw_text(y_title, &held(name, HPos::Center), middle)?)
    }

    /// A line through points.
    pub fn line(&mut self, points: &[Point], ink: Ink) -> Drawn {
        self.context.draw_series(LineSeries::new(points.iter().copied(), ink))?;
        Ok(())
    }

    /// The area between two lines.
    pub fn band(&mut self, upper: &[Point], lower: &[Point], series: usize) -> Drawn {
        let around: Vec<Point> = upper.iter().chain(lower.iter().rev()).copied().collect();
        self.draw(&Polygon::new(around, Class::Band.of(series)))
    }

    /// A point, which says something when pointed at.
    pub fn dot(&mut self, at: Point, radius: f64, series: usize, said: &str) -> Drawn {
        self.said(Circle::new(at, fine(radius), Class::Dot.of(series).filled()), said)
    }

    /// A hollow diamond: a figure of others.
    pub fn diamond(&mut self, at: Point, said: &str) -> Drawn {
        let corners = [(-6.0, 0.0), (0.0, -6.0), (6.0, 0.0), (0.0, 6.0), (-6.0, 0.0)];
        let path = PathElement::new(corners.map(|(x, y)| (fine(x), fine(y))), Class::Published.plain());
        self.said(EmptyElement::at(at) + path, said)
    }

    /// A bar between two corners.
    pub fn bar(&mut self, corners: [Point; 2], series: usize, said: &str) -> Drawn {
        self.said(Rectangle::new(corners, Class::Bar.of(series).filled()), said)
    }

    /// A square of a heat map: the fuller the nearer `share` is to 1.
    pub fn cell(&mut self, (column, row): Point, share: f64, said: &str) -> Drawn {
        let ink = Class::Cell.plain().mix(0.04 + 0.96 * share.clamp(0.0, 1.0));
        self.said(Rectangle::new([(column - 0.5, row - 0.5), (column + 0.5, row + 0.5)], ink.filled()), said)
    }

    /// The names of points beside them, each in its series' colour and none over another: at the right, or at the left
    /// where there is no room. Where points crowd, some have none.
    pub fn beside(&mut self, names: &[(usize, Point, &str)]) -> Drawn {
        let area = self.context.plotting_area();
        let (end, lowest) = (area.get_pixel_range().0.end, area.get_pixel_range().1.end);
        let mut places: Vec<(BackendCoord, usize)> =
            names.iter().enumerate().map(|(index, (_, at, _))| (area.map_coordinate(at), index)).collect();
        places.sort_by_key(|((x, y), index)| (*y, *x, *index));
        // Points and names that are there: from where to where, and at what height.
        let mut taken: Vec<(i32, i32, i32)> =
            places.iter().map(|((x, y), _)| (x - fine(DOT), x + fine(DOT), *y)).collect();
        for ((x, point), index) in places {
            let mut y = point;
            let Some((series, _, name)) = names.get(index) else { continue };
            let width = fine(text_width(name));
            let (side, from) = match x + fine(9.0) + width > end {
                true => (HPos::Right, x - fine(9.0) - width),
                false => (HPos::Left, x + fine(9.0)),
            };
            let in_the_way = |y: i32| {
                let beside = |(left, right, other): &&(i32, i32, i32)| {
                    from < *right && *left < from + width && (y - other).abs() < fine(LINE)
                };
                taken.iter().find(beside).map(|(.., other)| *other)
            };
            while let Some(other) = in_the_way(y) {
                y = other + fine(LINE);
            }
            if y - point > FAR * fine(LINE) || y > lowest {
                continue;
            }
            taken.push((from, from + width, y));
            let x = if matches!(side, HPos::Right) { from + width } else { from };
            self.root.draw_text(name, &held(words(Class::Label.of(*series)), side), (x, y))?;
        }
        Ok(())
    }

    /// A value at the right of a row.
    pub fn value(&mut self, y: f64, text: &str) -> Drawn {
        let area = self.context.plotting_area();
        let (x, y) = area.map_coordinate(&(area.get_x_range().end, y));
        Ok(self.root.draw_text(text, &held(words(Class::Value.plain()), HPos::Left), (x + fine(12.0), y))?)
    }

    /// The names of lines at their last points, each in its series' colour and none over another.
    pub fn ends(&mut self, ends: &[(usize, Point, &str)]) -> Drawn {
        let area = self.context.plotting_area();
        let (across, down) = area.get_pixel_range();
        let mut places: Vec<(usize, i32)> =
            ends.iter().enumerate().map(|(index, (_, at, _))| (index, area.map_coordinate(at).1)).collect();
        spread(&mut places, fine(LINE), down.end);
        for (index, y) in places {
            let Some((series, at, name)) = ends.get(index) else { continue };
            let name = &fitting(name, self.room());
            // A line that ends early has its name beside its end, unless the other lines' names would stand in it.
            let x = area.map_coordinate(at).0.max(across.end - fine(60.0)) + fine(8.0);
            self.root.draw_text(name, &held(words(Class::Label.of(*series)), HPos::Left), (x, y))?;
        }
        Ok(())
    }

    /// What is free at the right of the marks, behind the place where a name begins.
    fn room(&self) -> f64 {
        let (end, whole) = (self.context.plotting_area().get_pixel_range().0.end, self.root.dim_in_pixel().0);
        (f64::from(whole) - f64::from(end)) / f64::from(fine(1.0)) - 8.0
    }

    /// The finished picture; `title` says in words what is seen.
    pub fn finish(self, title: &str) -> String {
        self.picture.borrow().page(title)
    }

    fn said<'a>(&self, element: impl IntoDynElement<'a, Picture, Point>, text: &'a str) -> Drawn {
        self.draw(&Said { element: element.into_dyn(), text })
    }

    fn draw<'a, E>(&self, element: &'a E) -> Drawn
    where
        E: Drawable<Picture>,
        &'a E: PointCollection<'a, Point>,
    {
        Ok(self.context.plotting_area().draw(element)?)
    }
}

/// A text of a class. The style sheet chooses the font; plotters only hands the size on.
fn words(ink: Ink) -> TextStyle<'static> {
    let font = FontDesc::new(FontFamily::SansSerif, f64::from(fine(ink.size())), FontStyle::Normal);
    TextStyle { color: ink.to_backend_color(), ..TextStyle::from(font) }
}

/// A text that is held at one of its ends, at half its height.
fn held(style: TextStyle<'static>, side: HPos) -> TextStyle<'static> {
    style.pos(Pos::new(side, VPos::Center))
}

/// Moves places apart until each has `gap` to the next, keeping their order and staying above `lowest`.
fn spread(places: &mut [(usize, i32)], gap: i32, lowest: i32) {
    places.sort_by_key(|(index, place)| (*place, *index));
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

    fn chart() -> Chart {
        let size = Size { width: 200.0, height: 100.0, left: 42.0, right: 50.0, top: 10.0, bottom: 40.0 };
        Chart::new(size, Axis::counts(10.0), Axis::linear(0.0, 1.0)).unwrap()
    }

    #[test]
    fn labels_keep_their_distance() {
        let mut places = [(0, 50), (1, 52), (2, 99), (3, 98)];
        spread(&mut places, 14, 100);
        assert_eq!(places, [(0, 50), (1, 64), (3, 86), (2, 100)]);
    }

    #[test]
    fn all_that_is_drawn_has_a_class_and_stands_in_the_picture() {
        let mut chart = chart();
        chart.frame("steps").unwrap();
        chart.line(&[(0.0, 0.0), (5.0, 0.5), (10.0, 1.0)], Class::Curve.of(3)).unwrap();
        chart.band(&[(0.0, 0.1), (10.0, 1.0)], &[(0.0, 0.0), (10.0, 0.9)], 3).unwrap();
        chart.diamond((5.0, 0.5), "others").unwrap();
        chart.ends(&[(3, (10.0, 1.0), "a"), (4, (10.0, 1.0), "b")]).unwrap();
        let svg = chart.finish("all");
        for line in svg.lines().skip(1).take_while(|line| *line != "</svg>") {
            let class = line.split("class=\"").nth(1).unwrap().split('"').next().unwrap();
            assert!(
                !class.is_empty() && !line.contains("style=") && !line.contains("fill=\"") && !line.contains('#'),
                "{line}"
            );
        }
        // 200 less 42 at the left and 50 at the right, 100 less 10 above and 40 below.
        assert!(svg.contains("class=\"curve s3\" points=\"42.0,59.9 95.9,35.0 149.9,10.0\""), "{svg}");
        assert!(svg.contains("<title>others</title></polygon>"), "{svg}");
        // Beside their marks, on the line below them, and at the lower edge.
        for text in [
            "x=\"34.0\" y=\"14.2\" text-anchor=\"end\">1.0<",
            "y=\"78.0\" text-anchor=\"middle\">0<",
            "y=\"97.0\" text-anchor=\"middle\">steps<",
        ] {
            assert!(svg.contains(text), "no {text} in {svg}");
        }
        let place = |name: &str| -> f64 {
            let line = svg.lines().find(|line| line.contains("label") && line.contains(&format!(">{name}<"))).unwrap();
            y(line)
        };
        assert_eq!(place("b") - place("a"), LINE);
    }

    #[test]
    fn names_stand_where_there_is_room() {
        let mut chart = chart();
        chart
            .beside(&[
                (1, (2.0, 0.5), "below"),
                (2, (2.0, 0.5), "lowest"),
                (3, (2.0, 0.51), "top"),
                (4, (9.0, 1.0), "left"),
            ])
            .unwrap();
        let svg = chart.finish("names");
        let line = |name: &str| svg.lines().find(|line| line.contains(&format!(">{name}<"))).unwrap();
        assert!(line("left").contains("label s4") && line("left").contains("\"end\""), "{svg}");
        assert!(line("top").contains("label s3") && line("top").contains("\"start\""), "{svg}");
        let [top, below, left] = ["top", "below", "left"].map(|name| y(line(name)));
        assert!(left < top && below == top + LINE, "{svg}");
        assert!(!svg.contains(">lowest<"), "there is no room above the axis: {svg}");
    }

    #[test]
    fn texts_stay_in_the_picture_and_off_each_other() {
        let size = Size { width: 480.0, height: 100.0, left: 20.0, right: 5.0, top: 10.0, bottom: 40.0 };
        for most in [8e5, 2e6, 1e9] {
            let mut chart = Chart::new(size, Axis::linear(1e5, most), Axis::linear(0.0, most)).unwrap();
            chart.frame("x").unwrap();
            let svg = chart.finish("wide");
            let mut below = f64::MIN;
            for line in svg.lines().filter(|line| line.starts_with("<text") && !line.ends_with(">x</text>")) {
                let text = line.split('>').nth(1).unwrap().split('<').next().unwrap();
                let x = number(line, " x=\"");
                let width = 6.5 * text.len() as f64;
                match line.contains("\"end\"") {
                    true => assert!(x - width >= 0.0, "{line}"),
                    false => {
                        assert!(x - width / 2.0 > below && x + width / 2.0 <= 480.0, "{most}: {line}");
                        below = x + width / 2.0;
                    }
                }
            }
        }
    }

    fn y(line: &str) -> f64 {
        number(line, " y=\"")
    }

    fn number(line: &str, attribute: &str) -> f64 {
        line.split(attribute).nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
    }
}
