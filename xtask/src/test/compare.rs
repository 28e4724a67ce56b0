// SPDX-License-Identifier: MIT
//! Says in a few lines how two outputs differ.

use std::fmt::Write as _;

/// Lines shown around the first difference.
const CONTEXT: usize = 3;

/// Lines shown of each side from the first difference on.
const SHOWN: usize = 8;

/// `None` when equal; otherwise the first difference, with its surroundings.
pub(crate) fn difference(expected: &[u8], actual: &[u8]) -> Option<String> {
    if expected == actual {
        return None;
    }
    let expected = lines(expected);
    let actual = lines(actual);
    let same = expected.iter().zip(&actual).take_while(|(one, other)| one == other).count();
    let mut text = format!("first difference at line {}:\n", same + 1);
    for line in expected.iter().take(same).skip(same.saturating_sub(CONTEXT)) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    {line}");
    }
    for (mark, side) in [('-', &expected), ('+', &actual)] {
        for line in side.iter().skip(same).take(SHOWN) {
            let _ = writeln!(text, "  {mark} {line}");
        }
        let hidden = side.len().saturating_sub(same + SHOWN);
        if hidden > 0 {
            let _ = writeln!(text, "  {mark} ... {hidden} more lines");
        }
    }
    Some(text)
}

/// Lines with unprintable bytes made visible; a missing last newline is a difference too.
fn lines(bytes: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = bytes
        .split(|byte| *byte == b'\n')
        .map(|line| line.iter().map(|byte| printable(*byte)).collect())
        .collect();
    match lines.pop() {
        Some(last) if !last.is_empty() => lines.push(format!("{last} (no newline)")),
        Some(_) | None => {}
    }
    lines
}

fn printable(byte: u8) -> String {
    match byte {
        b' '..=b'~' | b'\t' | 0x80.. => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_is_no_difference() {
        assert_eq!(difference(b"a\n", b"a\n"), None);
    }

    #[test]
    fn the_first_difference_is_shown_with_context() {
        let text = difference(b"1\n2\nthree\n", b"1\n2\n3\n4\n").unwrap();
        assert_eq!(text, "first difference at line 3:\n    1\n    2\n  - three\n  + 3\n  + 4\n");
    }

    #[test]
    fn a_missing_newline_and_control_bytes_show() {
        let text = difference(b"a\n", b"a").unwrap();
        assert!(text.contains("+ a (no newline)"), "{text}");
        assert!(difference(b"", b"\x00\n").unwrap().contains("\\x00"));
    }
}
