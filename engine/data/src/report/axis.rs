//! An axis of a plot: its ends, and which of its values are marked with what text. Knows values; where they stand is
//! plotters' arithmetic, and where the texts are drawn too.

use std::ops::Range;

use plotters::coord::{
    combinators::{IntoLogRange, LogCoord},
    ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter},
    types::{RangedCoordf64, RangedCoordu64},
};

use super::{numbers, widths::fitting};

/// About the most marks of an axis.
const MARKS: usize = 6;

/// The most marks of a logarithmic axis that has more than powers of ten.
const LOG_MARKS: usize = 9;

/// How far two marks must be from each other, in thousandths of the axis.
const APART: i32 = 100;

/// How far, in steps, an end may miss a mark by rounding alone.
const SLACK: f64 = 1e-6;

/// Values from one end to the other.
pub struct Axis {
    scale: Scale,
    marks: Vec<(f64, String)>,
}

enum Scale {
    Linear(RangedCoordf64),
    Log(LogCoord<f64>),
}

impl Axis {
    /// Equal differences are equally far apart; the ends are widened to round values.
    pub fn linear(low: f64, high: f64) -> Self {
        let (low, high) = apart(low, high);
        // Another one is where the widened axis ends.
        let step = match RangedCoordf64::from(low..high).key_points(MARKS - 1).as_slice() {
            [first, second, ..] => second - first,
            _ => high - low,
        };
        let first = (low / step + SLACK).floor() as i64;
        let last = (high / step - SLACK).ceil() as i64;
        let values = (first..=last).map(|index| index as f64 * step);
        let scale = Scale::Linear((first as f64 * step..last as f64 * step).into());
        Self { scale, marks: values.map(|value| (value, numbers::mark(value, step))).collect() }
    }

    /// From zero to exactly this end, whole numbers marked: steps, layers, percentages.
    pub fn counts(high: f64) -> Self {
        let high = high.clamp(1.0, 1e15);
        let values = RangedCoordu64::from(0..high as u64).key_points(MARKS);
        let marks = values.into_iter().map(|value| (value as f64, numbers::count(value))).collect();
        Self { scale: Scale::Linear((0.0..high).into()), marks }
    }

    /// Equal ratios are equally far apart, where all values are above zero.
    pub fn log(low: f64, high: f64) -> Self {
        if !(low > 0.0 && (low..1e300).contains(&high)) {
            return Self::linear(low, high);
        }
        let (low, high) = (low / 1.1, high * 1.1);
        // Plotters' own logarithmic scale marks powers of ten alone, which leaves a range of less than ten with one mark.
        let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let of = |digits: &[f64]| -> Vec<f64> {
            let all = decades.clone().flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power)));
            all.filter(|value| (low..=high).contains(value)).collect()
        };
        let values = Some(of(&[1.0, 2.0, 5.0])).filter(|values| values.len() <= LOG_MARKS);
        let values = values.unwrap_or_else(|| of(&[1.0]));
        let marks = values.into_iter().map(|value| (value, numbers::mark(value, value))).collect();
        Self { scale: Scale::Log((low..high).log_scale().into()), marks }
    }

    /// A place for each name, at 0, 1, 2 and so on.
    pub fn names(names: impl IntoIterator<Item = String>) -> Self {
        let marks: Vec<(f64, String)> = (0..).map(f64::from).zip(names).collect();
        Self { scale: Scale::Linear((-0.5..marks.len() as f64 - 0.5).into()), marks }
    }

    /// The same places from the other end: rows, which begin at the top.
    pub fn reversed(self) -> Self {
        let scale = match self.scale {
            Scale::Linear(coord) => Scale::Linear((coord.range().end..coord.range().start).into()),
            Scale::Log(coord) => Scale::Log((coord.range().end..coord.range().start).log_scale().into()),
        };
        Self { scale, ..self }
    }

    /// Marked at these very values, such as the sizes that were tried, where they are far enough from each other.
    pub fn marked_at(mut self, values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let places: Vec<i32> = values.iter().map(|value| self.map(value, (0, 1000))).collect();
        if places.windows(2).all(|pair| pair[1] - pair[0] >= APART) {
            let text = |value: f64| match value.fract() == 0.0 && (0.0..1e15).contains(&value) {
                true => numbers::count(value as u64),
                false => value.to_string(),
            };
            self.marks = values.into_iter().map(|value| (value, text(value))).collect();
        }
        self
    }

    /// Only every second mark, or fourth, so that texts of this width have room in the whole width.
    pub fn thinned(mut self, text: f64, whole: f64) -> Self {
        while self.marks.len() > 2 && text * self.marks.len() as f64 > whole {
            let mut keeps = [true, false].into_iter().cycle();
            self.marks.retain(|_| keeps.next().unwrap_or_default());
        }
        self
    }

    /// Texts no wider than this.
    pub fn fitting(mut self, width: f64) -> Self {
        for (_, text) in &mut self.marks {
            *text = fitting(text, width);
        }
        self
    }

    /// The texts of its marks.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.marks.iter().map(|(_, text)| text.as_str())
    }
}

/// Ends that differ: a single value stands in the middle.
fn apart(low: f64, high: f64) -> (f64, f64) {
    let size = low.abs().max(high.abs());
    if high - low > size * 1e-9 && size < 1e300 {
        return (low, high);
    }
    let middle = if size < 1e300 { low } else { 0.0 };
    let half = (middle.abs() * 1e-3).max(0.5);
    (middle - half, middle + half)
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let Range { start, end } = self.range();
        // Far outside, a place is no whole number of 32 bits any more.
        let value = value.max(start.min(end)).min(start.max(end));
        match &self.scale {
            Scale::Linear(coord) => coord.map(&value, limit),
            Scale::Log(coord) => coord.map(&value, limit),
        }
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Between the marks plotters would draw lighter lines.
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.marks.iter().map(|(value, _)| *value).collect(),
        }
    }

    fn range(&self) -> Range<f64> {
        match &self.scale {
            Scale::Linear(coord) => coord.range(),
            Scale::Log(coord) => coord.range(),
        }
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.marks.iter().find(|(known, _)| known == value).map(|(_, text)| text.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.texts().collect()
    }

    #[test]
    fn marks_are_round() {
        assert_eq!(texts(&Axis::linear(3.0, 97.0)), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(texts(&Axis::linear(0.11, 0.36)), ["0.10", "0.15", "0.20", "0.25", "0.30", "0.35", "0.40"]);
        assert_eq!(texts(&Axis::linear(-0.3, 0.3)), ["−0.4", "−0.2", "0.0", "0.2", "0.4"]);
        assert_eq!(texts(&Axis::linear(-2400.0, 0.0)), ["−2,500", "−2,000", "−1,500", "−1,000", "−500", "0"]);
        assert_eq!(texts(&Axis::counts(1240.0)), ["0", "500", "1,000"]);
        assert_eq!(texts(&Axis::counts(100.0)), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(texts(&Axis::counts(1.0)), ["0", "1"]);
        assert_eq!(texts(&Axis::log(0.04, 3.0)), ["0.05", "0.1", "0.2", "0.5", "1", "2"]);
        assert_eq!(texts(&Axis::log(0.012, 11.0)), ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10"]);
        assert_eq!(texts(&Axis::log(900.0, 2e7)), ["1,000", "10,000", "100,000", "1,000,000", "10,000,000"]);
        let tried = |values: &'static [f64]| Axis::log(1.0, 8.0).marked_at(values.iter().copied());
        assert_eq!(texts(&tried(&[8.0, 1.0, 2.5, 1.0])), ["1", "2.5", "8"]);
        assert_eq!(texts(&tried(&[1.0, 7.5, 8.0])), ["1", "2", "5"]);
        let letters = || Axis::names(["a", "b", "c", "d", "e"].map(String::from));
        assert_eq!(texts(&letters().thinned(20.0, 100.0)), ["a", "b", "c", "d", "e"]);
        assert_eq!(texts(&letters().thinned(20.0, 99.0)), ["a", "c", "e"]);
        assert_eq!(texts(&letters().thinned(20.0, 10.0)), ["a", "e"]);
    }

    /// Decimals that binary numbers do not have exactly neither lose the last mark nor add one.
    #[test]
    fn the_ends_are_marked() {
        for step in [0.1, 0.2, 0.5] {
            for first in 0..400 {
                let (low, high) = (f64::from(first) * step, f64::from(first + 4) * step);
                let axis = Axis::linear(low, high);
                let range = axis.range();
                assert!((range.start - low).abs() < 1e-9 && (range.end - high).abs() < 1e-9, "{low} to {high}");
                assert_eq!(axis.marks.len(), 5, "{low} to {high}: {:?}", axis.marks);
            }
        }
    }

    #[test]
    fn values_stand_where_the_scale_says() {
        let place = |axis: &Axis, value: f64| axis.map(&value, (0, 1000));
        assert_eq!([0.0, 25.0, 100.0].map(|value| place(&Axis::counts(100.0), value)), [0, 250, 1000]);
        let log = Axis::log(1.1, 1000.0 / 1.1);
        assert_eq!([1.0, 10.0, 100.0, 1000.0].map(|value| place(&log, value)), [0, 333, 666, 1000]);
        let rows = Axis::names(["a", "b"].map(String::from)).reversed();
        assert_eq!([0.0, 1.0].map(|row| place(&rows, row)), [750, 250]);
        assert_eq!([f64::MAX, f64::MIN].map(|far| place(&Axis::counts(100.0), far)), [1000, 0]);
    }

    #[test]
    fn odd_values_have_an_axis() {
        let single = [(7.0, 7.0), (0.0, 0.0), (1e12, 1e12), (3.0, 3.0 + 1e-14)];
        let small = [(0.0, 1e-15), (1e-12, 3e-12), (1e-18, 5e-18), (1e-300, 2e-300)];
        let large = [(1e15, 1e15 + 10.0), (-1e308, 1e308), (f64::MAX, f64::MIN)];
        for (low, high) in [single.as_slice(), &small, &large].concat() {
            let axis = Axis::linear(low, high);
            assert!((2..=12).contains(&axis.marks.len()), "{low} to {high}: {:?}", axis.marks);
        }
        for (low, high) in [(0.0, 3.0), (-1.0, 1.0), (1e-300, 1e299), (f64::MAX, f64::MIN), (5.0, 5.0)] {
            let axis = Axis::log(low, high);
            assert!((1..=1000).contains(&axis.marks.len()), "{low} to {high}: {:?}", axis.marks);
        }
    }
}
