// SPDX-License-Identifier: MIT
//! Splits a line into words as a shell does, without expanding anything.

/// Words are separated by white space; quotes and backslashes keep it in. An open quote ends with
/// the line.
pub(crate) fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                word.get_or_insert_default().extend(characters.next());
            }
            (None, _) if character.is_whitespace() => words.extend(word.take()),
            (_, _) => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn quotes_and_backslashes_keep_spaces() {
        assert_eq!(split("  -icount  shift=0,sleep=off "), ["-icount", "shift=0,sleep=off"]);
        assert_eq!(split(r#"-a 'b "c' d\ e "f\"g" ''"#), ["-a", "b \"c", "d e", "f\"g", ""]);
        assert_eq!(split(r"a'b\c'd"), [r"ab\cd"]);
        assert!(split("").is_empty());
    }
}
