// SPDX-License-Identifier: MIT
//! From two outputs of the program to one table.

use std::fmt::Write as _;

/// Cost of one operation: instructions, or the errno it failed with.
pub(super) type Cost = Result<f64, i32>;

/// One operation on both sides; `None` where a side did not print it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    name: String,
    linux: Option<Cost>,
    strongroom: Option<Cost>,
}

impl Row {
    /// Strongroom's cost as a part of Linux's.
    fn ratio(&self) -> Option<f64> {
        match (self.linux, self.strongroom) {
            (Some(Ok(linux)), Some(Ok(strongroom))) if linux > 0.0 && strongroom > 0.0 => {
                Some(strongroom / linux)
            }
            _ => None,
        }
    }
}

/// Lines `name cost iterations` and `name FAIL errno`; everything else is console noise.
pub(super) fn parse(output: &str) -> Vec<(String, Cost)> {
    output.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<(String, Cost)> {
    let mut words = line.split_whitespace();
    let (name, cost, last) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    let cost = match cost {
        "FAIL" => Err(last.parse().ok()?),
        _ => {
            last.parse::<u64>().ok()?;
            Ok(cost.parse().ok()?)
        }
    };
    Some((name.to_owned(), cost))
}

/// Linux's operations in their order, with Strongroom's beside them.
pub(super) fn join(linux: &[(String, Cost)], strongroom: &[(String, Cost)]) -> Vec<Row> {
    let cost_in = |side: &[(String, Cost)], name: &str| {
        side.iter().find(|(other, _)| other == name).map(|(_, cost)| *cost)
    };
    let only_here = strongroom.iter().filter(|(name, _)| cost_in(linux, name).is_none());
    linux
        .iter()
        .chain(only_here)
        .map(|(name, _)| Row {
            name: name.clone(),
            linux: cost_in(linux, name),
            strongroom: cost_in(strongroom, name),
        })
        .collect()
}

/// Where the part of the document on OP-TEE begins: it is the last.
const SECTION: &str = "\n## In a trusted application\n\n";

/// What a document says about OP-TEE; empty if nothing.
pub(super) fn section_of(document: &str) -> &str {
    document.split_once(SECTION).map_or("", |(_, section)| section)
}

/// The document with something else about OP-TEE.
pub(super) fn with_section(document: &str, section: &str) -> String {
    let rest = document.split_once(SECTION).map_or(document, |(rest, _)| rest);
    if section.is_empty() { rest.to_owned() } else { format!("{rest}{SECTION}{section}") }
}

/// The document but for OP-TEE.
pub(super) fn report(rows: &[Row], kernel: &str, options: &[&str]) -> String {
    let mut text = format!(
        "# Performance\n\n\
         Written by `cargo xtask bench`; do not edit. Cost of one operation in guest instructions, \
         counted by QEMU\nwith `{}`, so the figures repeat on any machine. The same static binary \
         (`xtest/bench/bench.c`)\nruns in a Debian guest (`{kernel}`) and in the payload. A ratio \
         under 1 means fewer\ninstructions than Linux.\n\n\
         | operation | Linux | Strongroom | ratio |\n|:--|--:|--:|--:|\n",
        options.join(" ")
    );
    for row in rows {
        let ratio = row.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {ratio} |",
            row.name,
            shown(row.linux),
            shown(row.strongroom)
        );
    }
    let ratios: Vec<f64> = rows.iter().filter_map(Row::ratio).collect();
    match geometric_mean(&ratios) {
        Some(mean) => {
            let count = ratios.len();
            let _ = writeln!(text, "| **geometric mean of {count}** | | | **{mean:.2}** |");
        }
        None => text.push_str("\nNo operation ran on both sides.\n"),
    }
    text
}

fn shown(cost: Option<Cost>) -> String {
    match cost {
        None => "-".to_owned(),
        Some(Err(errno)) => format!("fails, errno {errno}"),
        Some(Ok(cost)) => grouped(cost.round() as u64),
    }
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn geometric_mean(ratios: &[f64]) -> Option<f64> {
    if ratios.is_empty() {
        return None;
    }
    let sum: f64 = ratios.iter().map(|ratio| ratio.ln()).sum();
    Some((sum / ratios.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_results_are_read() {
        let parsed = parse(
            "USERLAND 1.60 0.00\ngetpid   317.0 6000\nfork FAIL 38\n[ 3.2] reboot: Power down\n",
        );
        // The first line has the shape of a result, but its last word is no count.
        assert_eq!(parsed, [("getpid".to_owned(), Ok(317.0)), ("fork".to_owned(), Err(38))]);
    }

    #[test]
    fn rows_keep_what_one_side_lacks() {
        let rows = join(&parse("a 100 1\nb 10 1\nc 5 1"), &parse("a 25 1\nb FAIL 38\nd 7 1"));
        let report = report(&rows, "vmlinuz", &["-icount"]);
        for line in [
            "| a | 100 | 25 | 0.25 |",
            "| b | 10 | fails, errno 38 | - |",
            "| c | 5 | - | - |",
            "| d | - | 7 | - |",
            "mean of 1** | | | **0.25**",
        ] {
            assert!(report.contains(line), "{line} in {report}");
        }
    }

    #[test]
    fn each_side_leaves_the_other_ones_part_alone() {
        let first = with_section("# Performance\n", "a\n");
        assert_eq!(section_of(&first), "a\n");
        assert_eq!(section_of(&with_section(&first, "b\n")), "b\n");
        let other = with_section("# New\n", section_of(&first));
        assert!(other.starts_with("# New\n\n## In a") && other.ends_with("a\n"));
        assert_eq!(with_section("# New\n", section_of("# Old\n")), "# New\n");
    }

    #[test]
    fn numbers_and_means() {
        assert_eq!(grouped(8_485_940), "8,485,940");
        assert_eq!(grouped(12), "12");
        let mean = geometric_mean(&[0.25, 1.0, 4.0]).unwrap();
        assert!((mean - 1.0).abs() < 1e-9);
        assert_eq!(geometric_mean(&[]), None);
    }
}
