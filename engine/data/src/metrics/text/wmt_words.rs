//! How machine translation cuts texts into words: `mteval-v13a` and `mteval-v14`, as sacreBLEU does. Knows no n-gram.

use super::python;

/// The text with spaces around what the tokenizer `13a` lets stand alone; words are what stands between white space.
pub fn v13a(text: &str) -> String {
    let mut line = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    if line.contains('&') {
        line = line.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    }
    // All rules look at characters of ASCII, whose bytes occur in no other character, so that bytes can be looked at.
    let mut bytes = Vec::with_capacity(line.len() * 2);
    bytes.push(b' ');
    for byte in line.bytes() {
        match stands_alone(byte) {
            true => bytes.extend([b' ', byte, b' ']),
            false => bytes.push(byte),
        }
    }
    bytes.push(b' ');
    let is_stop = |byte: u8| byte == b'.' || byte == b',';
    let bytes = at_pairs(&bytes, |one, two| !one.is_ascii_digit() && is_stop(two), [false, true, true]);
    let bytes = at_pairs(&bytes, |one, two| is_stop(one) && !two.is_ascii_digit(), [true, true, false]);
    let bytes = at_pairs(&bytes, |one, two| one.is_ascii_digit() && two == b'-', [false, true, true]);
    String::from_utf8(bytes).unwrap_or_default()
}

/// Punctuation and symbols of ASCII but `'`, `,`, `-` and `.`.
fn stands_alone(byte: u8) -> bool {
    byte.is_ascii_punctuation() && !matches!(byte, b'\'' | b',' | b'-' | b'.')
}

/// Puts spaces before, between and behind the items of each pair that is wanted; the next pair begins behind it.
fn at_pairs<T: Copy + From<u8>>(items: &[T], is_wanted: impl Fn(T, T) -> bool, spaces: [bool; 3]) -> Vec<T> {
    let space = |spaced: &mut Vec<T>, wanted: bool| {
        if wanted {
            spaced.push(T::from(b' '));
        }
    };
    let mut spaced = Vec::with_capacity(items.len() + items.len() / 4);
    let mut at = 0;
    while at < items.len() {
        match items.get(at + 1) {
            Some(&two) if is_wanted(items[at], two) => {
                space(&mut spaced, spaces[0]);
                spaced.push(items[at]);
                space(&mut spaced, spaces[1]);
                spaced.push(two);
                space(&mut spaced, spaces[2]);
                at += 2;
            }
            _ => {
                spaced.push(items[at]);
                at += 1;
            }
        }
    }
    spaced
}

/// The same for the tokenizer `intl`: punctuation that stands beside something else than a number, and symbols.
pub fn international(text: &str) -> String {
    let line: Vec<char> = text.chars().collect();
    let line = at_pairs(&line, |one, two| !python::is_number(one) && python::is_punctuation(two), [false, true, true]);
    let line = at_pairs(&line, |one, two| python::is_punctuation(one) && !python::is_number(two), [true, true, false]);
    let mut spaced = String::with_capacity(line.len() * 2);
    for c in line {
        match python::is_symbol(c) {
            true => spaced.extend([' ', c, ' ']),
            false => spaced.push(c),
        }
    }
    spaced
}

/// The same with every character alone.
pub fn characters(text: &str) -> String {
    text.chars().flat_map(|c| [c, ' ']).collect()
}
