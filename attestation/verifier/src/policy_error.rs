// SPDX-License-Identifier: MIT
//! What is wrong with the text of a policy, and where.

use std::fmt;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A text that is no policy: where, which key, and what is allowed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// Line, from 1; 0 when it is about the whole text.
    pub line: usize,
    /// Column in characters, from 1; 0 with the line.
    pub column: usize,
    /// The key with its tables, `snp.guest_policy.debug`; empty when it is about the whole text.
    pub key: String,
    /// What is wrong, or what is allowed.
    pub message: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line != 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for PolicyError {}

impl PolicyError {
    /// About the whole text.
    pub(crate) fn whole(message: String) -> Self {
        Self { line: 0, column: 0, key: String::new(), message }
    }

    /// What the TOML parser says about `text`.
    pub(crate) fn syntax(text: &str, error: &toml::de::Error) -> Self {
        let message = error.message().replace('\n', "; ");
        let Some(span) = error.span() else { return Self::whole(message) };
        let key = DeTable::parse(text).map_or_else(
            |_| String::new(),
            |table| key_at(table.get_ref(), span.start, span.end).unwrap_or_default(),
        );
        Self::at(text, span.start, key, message)
    }

    /// About the table or value of `key` in `text`, or the innermost table around it.
    pub(crate) fn about(text: &str, key: &str, message: String) -> Self {
        let offset = DeTable::parse(text).ok().and_then(|table| offset_of(table.get_ref(), key));
        match offset {
            Some(offset) => Self::at(text, offset, key.to_owned(), message),
            None => Self { key: key.to_owned(), ..Self::whole(message) },
        }
    }

    fn at(text: &str, offset: usize, key: String, message: String) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
        let in_line = before.get(line_start..).unwrap_or_default().chars().count();
        let line = before.matches('\n').count().saturating_add(1);
        Self { line, column: in_line.saturating_add(1), key, message }
    }
}

/// The innermost key whose name or value covers the bytes from `start` to `end`.
fn key_at(table: &DeTable<'_>, start: usize, end: usize) -> Option<String> {
    for (name, value) in table {
        let within = |span: std::ops::Range<usize>| span.start <= start && end <= span.end;
        let inner = match value.get_ref() {
            DeValue::Table(inner) => key_at(inner, start, end),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => None,
        };
        if let Some(inner) = inner {
            return Some(format!("{}.{inner}", name.get_ref()));
        }
        if within(name.span()) || within(value.span()) {
            return Some(name.get_ref().to_string());
        }
    }
    None
}

fn offset_of(table: &DeTable<'_>, key: &str) -> Option<usize> {
    let (name, rest) = match key.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (key, None),
    };
    let (spanned, value) = table.iter().find(|(found, _)| found.get_ref() == name)?;
    let inner = match (rest, Spanned::get_ref(value)) {
        (Some(rest), DeValue::Table(inner)) => offset_of(inner, rest),
        (_, _) => None,
    };
    Some(inner.unwrap_or(spanned.span().start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_keys_are_found() {
        let text = "a = 1\n[b]\nc = { d = [1] }\n";
        let table = DeTable::parse(text).unwrap();
        let at = |what: &str| {
            let start = text.find(what).unwrap();
            key_at(table.get_ref(), start, start.saturating_add(what.len()))
        };
        assert_eq!(at("1").as_deref(), Some("a"));
        assert_eq!(at("[1]").as_deref(), Some("b.c.d"));
        assert_eq!(at("{ d = [1] }").as_deref(), Some("b.c"));
        let error = PolicyError::about(text, "b.c.missing", "no".to_owned());
        assert_eq!((error.line, error.column), (3, 1));
        assert_eq!(error.to_string(), "3:1: b.c.missing: no");
    }
}
