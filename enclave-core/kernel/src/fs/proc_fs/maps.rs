// SPDX-License-Identifier: MIT
//! `/proc/PID/maps` and `/proc/PID/smaps`.

use super::View;
use crate::memory::{Area, Backing, Layout, Memory, Protection};
use crate::outcome::SysResult;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::ops::Range;
use strongroom_south::PAGE_SIZE;

/// Column at which a line's name starts, as Linux pads it for 64-bit addresses.
const NAME_COLUMN: usize = 73;

/// `maps`.
pub(super) fn maps(view: &View<'_>) -> SysResult<Vec<u8>> {
    let Some(memory) = view.process()?.memory() else { return Ok(Vec::new()) };
    let mut text = String::new();
    let layout = memory.layout();
    memory.for_each_area(|range, area| line(&mut text, range, area, &layout));
    Ok(text.into_bytes())
}

/// `smaps`: what is present is found page by page.
pub(super) fn smaps(view: &View<'_>) -> SysResult<Vec<u8>> {
    let Some(memory) = view.process()?.memory() else { return Ok(Vec::new()) };
    let mut text = String::new();
    let layout = memory.layout();
    memory.for_each_area(|range, area| {
        line(&mut text, range, area, &layout);
        Present::of(&memory, range).describe(&mut text, range.len(), area);
    });
    Ok(text.into_bytes())
}

/// `smaps_rollup`: the sums.
pub(super) fn rollup(view: &View<'_>) -> SysResult<Vec<u8>> {
    let Some(memory) = view.process()?.memory() else { return Ok(Vec::new()) };
    let mut text = String::new();
    let mut sum = Present::default();
    let (mut first, mut end) = (None, 0);
    memory.for_each_area(|range, _| {
        first.get_or_insert(range.start);
        end = range.end;
        sum.add(Present::of(&memory, range));
    });
    let start = first.unwrap_or(0);
    head(&mut text, &(start..end), "---p", (0, 0, 0), Some("[rollup]"));
    sum.amounts(&mut text);
    Ok(text.into_bytes())
}

/// One line for an area.
fn line(text: &mut String, range: &Range<usize>, area: &Area, layout: &Layout) {
    let bit = |flag, letter| if area.protection.contains(flag) { letter } else { '-' };
    let flags: String = [
        bit(Protection::READ, 'r'),
        bit(Protection::WRITE, 'w'),
        bit(Protection::EXECUTE, 'x'),
        if area.is_shared() { 's' } else { 'p' },
    ]
    .into_iter()
    .collect();
    let file = match &area.backing {
        Backing::Anonymous => (0, 0, 0),
        Backing::File { pages, offset, .. } => {
            let id = pages.id();
            (*offset, id.device, id.number)
        }
    };
    let heap = layout.heap_start < range.end
        && range.start < layout.heap_end
        && matches!(area.backing, Backing::Anonymous);
    let name = area.name.as_ref().map(|name| name.as_str());
    head(text, range, &flags, file, name.or_else(|| heap.then_some("[heap]")));
}

fn head(
    text: &mut String,
    range: &Range<usize>,
    flags: &str,
    (offset, device, inode): (u64, u64, u64),
    name: Option<&str>,
) {
    let start = text.len();
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | ((device >> 12) & 0xf_ff00);
    // Writing to a String cannot fail.
    let _ok = write!(
        text,
        "{:08x}-{:08x} {flags} {offset:08x} {major:02x}:{minor:02x} {inode} ",
        range.start, range.end
    );
    if let Some(name) = name {
        while text.len() - start < NAME_COLUMN {
            text.push(' ');
        }
        text.push_str(&name.replace('\n', "\\012"));
    }
    text.push('\n');
}

/// Pages of an area by how they are used.
#[derive(Clone, Copy, Debug, Default)]
struct Present {
    pages: usize,
    shared_clean: usize,
    shared_dirty: usize,
    private_clean: usize,
    private_dirty: usize,
}

impl Present {
    fn of(memory: &Memory, range: &Range<usize>) -> Self {
        let mut present = Self::default();
        for page in range.clone().step_by(PAGE_SIZE) {
            let Some(mapped) = memory.space().lookup(page) else { continue };
            present.pages += 1;
            let shared = memory.frames().references(mapped.frame) > 1;
            let class = match (shared, mapped.dirty) {
                (true, false) => &mut present.shared_clean,
                (true, true) => &mut present.shared_dirty,
                (false, false) => &mut present.private_clean,
                (false, true) => &mut present.private_dirty,
            };
            *class += 1;
        }
        present
    }

    const fn add(&mut self, other: Self) {
        self.pages += other.pages;
        self.shared_clean += other.shared_clean;
        self.shared_dirty += other.shared_dirty;
        self.private_clean += other.private_clean;
        self.private_dirty += other.private_dirty;
    }

    fn describe(self, text: &mut String, length: usize, area: &Area) {
        field(text, "Size", length / 1024);
        field(text, "KernelPageSize", PAGE_SIZE / 1024);
        field(text, "MMUPageSize", PAGE_SIZE / 1024);
        self.amounts(text);
        text.push_str("THPeligible:           0\nVmFlags:");
        let flags =
            [(Protection::READ, " rd"), (Protection::WRITE, " wr"), (Protection::EXECUTE, " ex")];
        for (flag, word) in flags {
            text.push_str(if area.protection.contains(flag) { word } else { "" });
        }
        text.push_str(if area.is_shared() { " sh" } else { "" });
        text.push_str(" mr mw me");
        text.push_str(if area.grows_down { " gd" } else { "" });
        text.push_str(if area.dont_fork { " dc" } else { "" });
        text.push_str(" \n");
    }

    fn amounts(self, text: &mut String) {
        let kib = |pages: usize| pages * (PAGE_SIZE / 1024);
        for (name, pages) in [
            ("Rss", self.pages),
            ("Pss", self.private_clean + self.private_dirty),
            ("Shared_Clean", self.shared_clean),
            ("Shared_Dirty", self.shared_dirty),
            ("Private_Clean", self.private_clean),
            ("Private_Dirty", self.private_dirty),
            ("Referenced", self.pages),
            ("Anonymous", self.private_dirty),
        ] {
            field(text, name, kib(pages));
        }
        for name in [
            "LazyFree",
            "AnonHugePages",
            "ShmemPmdMapped",
            "FilePmdMapped",
            "Shared_Hugetlb",
            "Private_Hugetlb",
            "Swap",
            "SwapPss",
            "Locked",
        ] {
            field(text, name, 0);
        }
    }
}

fn field(text: &mut String, name: &str, kib: usize) {
    let label = name.len() + 1;
    let _ok = writeln!(text, "{name}:{:1$}{kib:>8} kB", "", 16usize.saturating_sub(label));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_as_linux_prints_them() {
        let mut text = String::new();
        let file = (0x2000, 0x13, 173_521);
        head(&mut text, &(0x40_0000..0x45_2000), "r-xp", file, Some("/usr/bin/dbus-daemon"));
        head(&mut text, &(0x7fff_f000_0000..0x7fff_f002_1000), "rw-p", (0, 0, 0), None);
        assert_eq!(
            text,
            "00400000-00452000 r-xp 00002000 00:13 173521                             \
             /usr/bin/dbus-daemon\n7ffff0000000-7ffff0021000 rw-p 00000000 00:00 0 \n"
        );
        assert_eq!(text.find('/'), Some(NAME_COLUMN));
    }

    #[test]
    fn names_stay_on_one_line() {
        let mut text = String::new();
        head(&mut text, &(0x1000..0x2000), "r--p", (0, 0, 0), Some("/a\nb"));
        assert!(text.ends_with("/a\\012b\n"));
    }

    #[test]
    fn amounts_are_aligned() {
        let mut text = String::new();
        field(&mut text, "Size", 328);
        field(&mut text, "KernelPageSize", 4);
        assert_eq!(text, "Size:                328 kB\nKernelPageSize:        4 kB\n");
    }
}
