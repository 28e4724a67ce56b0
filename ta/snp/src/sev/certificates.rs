// SPDX-License-Identifier: MIT
//! How long a table of certificates is that the host left in shared memory (AMD 56421, section on
//! the SNP extended guest request).

use super::word;

const ENTRY_LEN: usize = 24;
/// AMD names five kinds of certificates; a host may add its own.
const ENTRIES_MAX: usize = 32;

/// The bytes from the start of `area` up to the end of the last certificate. None where no entry
/// of zeros ends the table, or an entry points outside: it is no table then.
#[must_use]
pub fn table_len(area: &[u8]) -> Option<usize> {
    let mut end = 0;
    for (index, entry) in area.chunks_exact(ENTRY_LEN).take(ENTRIES_MAX).enumerate() {
        if entry.iter().take(16).all(|byte| *byte == 0) {
            let head = index.checked_add(1)?.checked_mul(ENTRY_LEN)?;
            return Some(if index == 0 { 0 } else { head.max(end) });
        }
        let offset = usize::try_from(word(entry, 16)).ok()?;
        let length = usize::try_from(word(entry, 20)).ok()?;
        end = end.max(offset.checked_add(length).filter(|end| *end <= area.len())?);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::put;
    use super::*;

    fn area(entries: &[(u32, u32)]) -> [u8; 256] {
        let mut area = [0; 256];
        for (index, (offset, length)) in entries.iter().enumerate() {
            put(&mut area, index * 24, &[7; 16]);
            put(&mut area, index * 24 + 16, &offset.to_le_bytes());
            put(&mut area, index * 24 + 20, &length.to_le_bytes());
        }
        area
    }

    #[test]
    fn the_table_ends_behind_its_last_certificate() {
        assert_eq!(table_len(&area(&[])), Some(0));
        assert_eq!(table_len(&area(&[(100, 20), (72, 28)])), Some(120));
        assert_eq!(table_len(&area(&[(0, 0)])), Some(48));
        assert_eq!(table_len(&area(&[(200, 56)])), Some(256));
    }

    #[test]
    fn what_is_no_table_has_no_length() {
        assert_eq!(table_len(&area(&[(200, 57)])), None);
        assert_eq!(table_len(&area(&[(u32::MAX, u32::MAX)])), None);
        assert_eq!(table_len(&[7; 20]), None);
        assert_eq!(table_len(&[1; 24 * 40]), None, "nothing ends it");
    }
}
