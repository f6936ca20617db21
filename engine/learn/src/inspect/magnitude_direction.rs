//! How far a matrix changed in magnitude and in direction. Liu et al., DoRA: Weight-Decomposed Low-Rank Adaptation (arXiv
//! 2402.09353), section 3.2: W = m V / ‖V‖; equation 3, ΔM = Σₙ |mₙ − m₀ₙ| / k; equation 4, ΔD = Σₙ (1 − cos(Vₙ, W₀ₙ)) / k.
//! The paper writes W as d × k and takes norms over its columns. Here, as in PEFT and in the paper's own code, a weight is
//! `[outputs, inputs]` and the norm is over an output row: k is the number of outputs. Knows one matrix, and lines through points.

use super::change::Rows;

/// How far a matrix changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MagnitudeDirection {
    /// ΔM: the mean over output rows of how much their magnitude changed, in the unit of the weights. A magnitude is DoRA's
    /// m, else the norm of the row.
    pub magnitude: f64,
    /// ΔD: the mean over output rows of 1 − cos of the angle between the row now and the row before; from 0 to 2. A row that
    /// is zero has no direction, and counts as 0.
    pub direction: f64,
}

/// That of a change by its sums.
///
/// Small changes of large rows lose no digits: ‖W + D‖ − ‖W‖ is (2⟨D, W⟩ + ‖D‖²) / (‖W + D‖ + ‖W‖), and 1 − cos is
/// sin² / (1 + cos), where sin is the part of D that is orthogonal to W over ‖W + D‖.
pub fn magnitude_direction(rows: &Rows) -> MagnitudeDirection {
    let (mut magnitude, mut direction, mut count) = (0.0, 0.0, 0.0_f64);
    for row in rows.each() {
        let (before, after) = (row.weight.sqrt(), row.norm());
        count += 1.0;
        magnitude += match row.magnitude {
            Some(magnitude) => (magnitude - before).abs(),
            None if before + after > 0.0 => (2.0 * row.product + row.change).abs() / (before + after),
            None => 0.0,
        };
        if before > 0.0 && after > 0.0 {
            let cosine = ((row.weight + row.product) / (before * after)).clamp(-1.0, 1.0);
            let orthogonal = (row.change - row.product * row.product / row.weight).max(0.0);
            direction += match cosine >= 0.0 {
                true => orthogonal / (after * after) / (1.0 + cosine),
                false => 1.0 - cosine,
            };
        }
    }
    MagnitudeDirection { magnitude: magnitude / count.max(1.0), direction: direction / count.max(1.0) }
}

/// How two figures go together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Pearson's correlation.
    pub correlation: f64,
    /// The slope of the least-squares line of y over x.
    pub slope: f64,
}

/// The trend of points (x, y); nothing of fewer than three, or where one of the two is the same everywhere.
pub fn trend(points: &[(f64, f64)]) -> Option<Trend> {
    if points.len() < 3 {
        return None;
    }
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|point| of(point.0 - x, point.1 - y)).sum::<f64>();
    let (xx, yy, xy) = (sum(&|x, _| x * x), sum(&|_, y| y * y), sum(&|x, y| x * y));
    let spread = |square: f64, mean: f64| square.sqrt() > count.sqrt() * mean.abs() * 1e-9;
    let (correlation, slope) = (xy / (xx * yy).sqrt(), xy / xx);
    let spreads = spread(xx, x) && spread(yy, y);
    (spreads && correlation.is_finite() && slope.is_finite()).then_some(Trend { correlation, slope })
}

#[cfg(test)]
mod tests {
    use super::trend;

    #[test]
    fn a_trend_needs_points_that_differ() {
        assert_eq!(trend(&[(0.0, 1.0), (1.0, 2.0)]), None);
        assert_eq!(trend(&[(0.0, 1.0), (1.0, 1.0), (2.0, 1.0)]), None);
        assert_eq!(trend(&[(1.0, 0.0), (1.0, 1.0), (1.0, 3.0)]), None);
        let found = trend(&[(0.0, 3.0), (1.0, 1.0), (2.0, -1.0)]).unwrap();
        assert!((found.correlation + 1.0).abs() < 1e-12 && (found.slope + 2.0).abs() < 1e-12, "{found:?}");
        let found = trend(&[(0.0, 0.0), (1.0, 2.0), (2.0, 1.0)]).unwrap();
        assert!((found.correlation - 0.5).abs() < 1e-12 && (found.slope - 0.5).abs() < 1e-12, "{found:?}");
    }
}
