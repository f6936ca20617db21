//! How wide texts of a picture are, as far as one can tell without the font. Knows letters.

/// The width a text takes in the labels' size, rather too much than too little: fonts differ.
pub fn text_width(text: &str) -> f64 {
    let width = |c: char| match c {
        'i' | 'j' | 'l' | 't' | 'f' | 'r' | ' ' | '.' | ',' | ':' | '|' | '·' | '(' | ')' | '[' | ']' => 5.0,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 12.5,
        c if c.is_ascii_uppercase() || !c.is_ascii() => 9.0,
        _ => 8.0,
    };
    text.chars().map(width).sum()
}

/// A text that is no wider than this; where its end is cut off, that is seen.
pub fn fitting(text: &str, width: f64) -> String {
    if text_width(text) <= width {
        return text.to_owned();
    }
    let mut left = width - text_width("…");
    let fits = |c: &char| {
        left -= text_width(c.encode_utf8(&mut [0; 4]));
        left >= 0.0
    };
    let kept: String = text.chars().take_while(fits).collect();
    format!("{}…", kept.trim_end())
}

/// The width of the widest text.
pub fn widest<'a>(texts: impl Iterator<Item = &'a str>) -> f64 {
    texts.map(text_width).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_loses_its_end_and_shows_it() {
        assert_eq!(fitting("lora · 2", 200.0), "lora · 2");
        let cut = fitting("scaled_random · 4 · 0.005", 100.0);
        assert!(cut.ends_with('…') && cut.starts_with("scaled") && text_width(&cut) <= 100.0, "{cut}");
        assert_eq!(fitting("mmmm", 0.0), "…");
    }
}
