//! The graph as a picture: stages as boxes in columns, what they read to their left. Knows boxes and lines; which stage
//! reads which is told.

use std::fmt::Write;

/// A stage as it is drawn.
pub struct Shown {
    /// Its name.
    pub name: String,
    /// Its kind, and how many members it has: `train ×4`.
    pub kind: String,
    /// The places of the stages it reads, in the same list.
    pub reads: Vec<usize>,
}

/// Widths and distances, in pixels.
const CHARACTER: usize = 8;
const PADDING: usize = 14;
const HEIGHT: usize = 44;
const GAP: usize = 18;
const COLUMN_GAP: usize = 56;
const MARGIN: usize = 16;

/// Colours follow the reader's light or dark mode.
const STYLE: &str = "
  text { font: 13px ui-monospace, Menlo, Consolas, monospace; fill: #1b1f24; }
  .kind { font-size: 11px; fill: #57606a; }
  rect { fill: #f6f8fa; stroke: #8c959f; }
  path { fill: none; stroke: #8c959f; stroke-width: 1.5; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .kind { fill: #9198a1; } rect { fill: #161b22; stroke: #6e7681; } path { stroke: #6e7681; }
  }
";

/// Where a stage's box stands.
struct Place {
    x: usize,
    y: usize,
    width: usize,
}

/// The picture. The stages must not read each other in a ring.
pub fn draw(stages: &[Shown]) -> String {
    let columns = columns(stages);
    let (places, width, height) = places(stages, &columns);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n<style>{STYLE}</style>\n"
    );
    for (stage, to) in stages.iter().zip(&places) {
        for from in stage.reads.iter().map(|place| &places[*place]) {
            let (x1, y1, x2, y2) = (from.x + from.width, from.y + HEIGHT / 2, to.x, to.y + HEIGHT / 2);
            let bend = (x2.saturating_sub(x1) / 2).max(COLUMN_GAP / 2);
            let _ = writeln!(text, "<path d=\"M{x1},{y1} C{},{y1} {},{y2} {x2},{y2}\"/>", x1 + bend, x2 - bend);
        }
    }
    for (stage, Place { x, y, width }) in stages.iter().zip(&places) {
        let middle = x + width / 2;
        let _ = writeln!(text, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{HEIGHT}\" rx=\"6\"/>");
        let _ = writeln!(
            text,
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n<text class=\"kind\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            y + 19,
            escape(&stage.name),
            y + 35,
            escape(&stage.kind),
        );
    }
    text.push_str("</svg>\n");
    text
}

/// The stages of each column: a stage stands right of all that it reads, beside what it reads most.
fn columns(stages: &[Shown]) -> Vec<Vec<usize>> {
    let mut depth = vec![0_usize; stages.len()];
    // Each round moves every stage right of what it reads; as many rounds as the longest path has steps are enough.
    for _ in 0..stages.len() {
        let mut moved = false;
        for (place, stage) in stages.iter().enumerate() {
            let right_of = stage.reads.iter().map(|read| depth[*read] + 1).max().unwrap_or(0);
            moved |= right_of > depth[place];
            depth[place] = depth[place].max(right_of);
        }
        if !moved {
            break;
        }
    }
    let mut columns: Vec<Vec<usize>> = vec![Vec::new(); depth.iter().max().map_or(0, |deepest| deepest + 1)];
    for (place, column) in depth.iter().enumerate() {
        columns[*column].push(place);
    }
    let mut row = vec![0.0_f64; stages.len()];
    for column in &mut columns {
        let wish = |place: &usize| {
            let reads = &stages[*place].reads;
            let sum: f64 = reads.iter().map(|read| row[*read]).sum();
            if reads.is_empty() { *place as f64 } else { sum / reads.len() as f64 }
        };
        let mut wishes: Vec<(f64, usize)> = column.iter().map(|place| (wish(place), *place)).collect();
        wishes.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        *column = wishes.into_iter().map(|(_, place)| place).collect();
        column.iter().enumerate().for_each(|(index, place)| row[*place] = index as f64);
    }
    columns
}

/// Where each stage stands, and the size of the picture. Columns are centred.
fn places(stages: &[Shown], columns: &[Vec<usize>]) -> (Vec<Place>, usize, usize) {
    let width_of = |stage: &Shown| stage.name.chars().count().max(stage.kind.chars().count()) * CHARACTER + 2 * PADDING;
    let height_of = |count: usize| (count * (HEIGHT + GAP)).saturating_sub(GAP);
    let tallest = columns.iter().map(|column| height_of(column.len())).max().unwrap_or(0);
    let mut places: Vec<Place> = stages.iter().map(|stage| Place { x: 0, y: 0, width: width_of(stage) }).collect();
    let mut x = MARGIN;
    for column in columns {
        let widest = column.iter().map(|place| places[*place].width).max().unwrap_or(0);
        let top = MARGIN + (tallest - height_of(column.len())) / 2;
        for (index, place) in column.iter().enumerate() {
            places[*place] = Place { x, y: top + index * (HEIGHT + GAP), width: widest };
        }
        x += widest + COLUMN_GAP;
    }
    (places, x - COLUMN_GAP.min(x) + MARGIN, tallest + 2 * MARGIN)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, reads: &[usize]) -> Shown {
        Shown { name: name.to_owned(), kind: "command".to_owned(), reads: reads.to_vec() }
    }

    #[test]
    fn what_is_read_stands_to_the_left_and_no_two_boxes_touch() {
        // The last is read by the first: the order of the file is not that of the graph.
        let stages =
            [stage("report", &[1, 2]), stage("a", &[3]), stage("b", &[3]), stage("raw", &[]), stage("other", &[])];
        let columns = columns(&stages);
        assert_eq!(columns, [vec![3, 4], vec![1, 2], vec![0]]);
        let (places, width, height) = places(&stages, &columns);
        for (stage, to) in stages.iter().zip(&places) {
            assert!(stage.reads.iter().all(|read| places[*read].x + places[*read].width < to.x), "{}", stage.name);
            assert!(to.x + to.width + MARGIN <= width && to.y + HEIGHT + MARGIN <= height);
        }
        for (index, a) in places.iter().enumerate() {
            for b in &places[index + 1..] {
                let apart = a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + HEIGHT <= b.y || b.y + HEIGHT <= a.y;
                assert!(apart);
            }
        }
        let picture = draw(&stages);
        assert_eq!((picture.matches("<rect").count(), picture.matches("<path").count()), (5, 4));
    }
}
