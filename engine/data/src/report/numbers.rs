//! How figures are written for people: fixed rules, so that the same figure is always the same text. Knows no table.

/// A whole number with a comma every three digits: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A figure with so many decimals; never `-0.0`.
pub fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(digits) if digits.chars().all(|c| c == '0' || c == '.') => digits.to_owned(),
        _ => text,
    }
}

/// Decimals that show four digits of a figure that has no unit, such as a perplexity or a loss.
pub fn decimals(value: f64) -> usize {
    match value.abs() {
        size if size >= 1000.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 10.0 => 2,
        size if size >= 0.01 || size == 0.0 => 3,
        _ => 4,
    }
}

/// A figure without a unit.
pub fn plain(value: f64) -> String {
    let text = match value.abs() >= 1e6 || (value != 0.0 && value.abs() < 1e-3) {
        true => format!("{value:.2e}"),
        false => fixed(value, decimals(value)),
    };
    text.strip_prefix('-').map(|digits| format!("−{digits}")).unwrap_or(text)
}

/// A value at an axis, with the decimals of the step to the next one: `1,000`, `−0.5`.
pub fn mark(value: f64, step: f64) -> String {
    let text = match step >= 1.0 {
        true => count(value.abs().round() as u64),
        false => fixed(value.abs(), (-(step * 1.001).log10().floor()).clamp(0.0, 9.0) as usize),
    };
    let is_zero = text.chars().all(|c| matches!(c, '0' | '.'));
    if value < 0.0 && !is_zero { format!("−{text}") } else { text }
}

/// A time: `0.8 s`, `43 s`, `3 min 05 s`, `2 h 07 min`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "–".to_owned();
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A size in binary units: `812 MiB`, `11.3 GiB`.
pub fn bytes(size: u64) -> String {
    let mut value = size as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1000.0 {
            let decimals = if value >= 100.0 || unit == "B" { 0 } else { 1 };
            return format!("{value:.decimals$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// A part of a whole in percent, with the digits that a small part needs.
pub fn share(part: u64, whole: u64) -> Option<String> {
    if whole == 0 {
        return None;
    }
    let percent = 100.0 * part as f64 / whole as f64;
    Some(match percent {
        p if p >= 99.95 && part == whole => "100 %".to_owned(),
        p if p >= 10.0 => format!("{p:.1} %"),
        p if p >= 0.1 => format!("{p:.2} %"),
        p => format!("{p:.3} %"),
    })
}

/// The mean, and the standard deviation of a sample where there are two figures or more; nothing of no figure.
pub fn mean_and_deviation(values: &[f64]) -> Option<(f64, Option<f64>)> {
    if values.is_empty() {
        return None;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let deviation = (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt());
    Some((mean, deviation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_for_people() {
        assert_eq!([count(7), count(1234), count(1_000_000)], ["7", "1,234", "1,000,000"]);
        assert_eq!([fixed(-0.001, 1), fixed(-1.26, 1)], ["0.0", "-1.3"]);
        assert_eq!([mark(-2500.0, 500.0), mark(-0.5, 0.1), mark(-1e-12, 0.1)], ["−2,500", "−0.5", "0.0"]);
        assert_eq!([mark(1e-5, 1e-5), mark(0.02, 0.02), mark(0.3, 0.1)], ["0.00001", "0.02", "0.3"]);
        assert_eq!([plain(1.5), plain(123.45), plain(0.0), plain(2.5e7)], ["1.500", "123.5", "0.000", "2.50e7"]);
        assert_eq!([plain(-0.0204), plain(-2e-4)], ["−0.020", "−2.00e-4"]);
        assert_eq!([duration(0.84), duration(59.6), duration(185.0)], ["0.8 s", "1 min 00 s", "3 min 05 s"]);
        assert_eq!(duration(7620.0), "2 h 07 min");
        assert_eq!([bytes(999), bytes(850 << 20), bytes(3 << 29)], ["999 B", "850 MiB", "1.5 GiB"]);
        assert_eq!([share(1, 3), share(1, 1), share(1, 10_000)].map(Option::unwrap), ["33.3 %", "100 %", "0.010 %"]);
    }

    #[test]
    fn deviation_of_a_sample() {
        assert_eq!(mean_and_deviation(&[1.0, 3.0]), Some((2.0, Some(2f64.sqrt()))));
        assert_eq!(mean_and_deviation(&[5.0]), Some((5.0, None)));
        assert_eq!(mean_and_deviation(&[]), None);
    }
}
