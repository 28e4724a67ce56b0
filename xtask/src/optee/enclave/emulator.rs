// SPDX-License-Identifier: MIT
//! Processor time of the emulators that run as children of this process: what else the computer does
//! makes times longer, and leaves this as it is.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

/// Of all of their threads since they began (`/proc/PID/task/TID/schedstat`, first number).
pub(super) fn processor_time() -> Result<Duration> {
    let mut total = 0_u64;
    for thread in folders(Path::new("/proc/self/task"))? {
        let children = fs::read_to_string(thread.join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            let threads = folders(&Path::new("/proc").join(child).join("task"));
            // One that has ended meanwhile adds nothing more.
            for thread in threads.unwrap_or_default() {
                let text = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
                let spent = text.split_whitespace().next().map(str::parse::<u64>);
                total = total.saturating_add(spent.and_then(Result::ok).unwrap_or(0));
            }
        }
    }
    Ok(Duration::from_nanos(total))
}

fn folders(within: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(within).with_context(|| format!("read {}", within.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn children_that_compute_are_counted_and_those_that_sleep_are_not() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let before = processor_time().unwrap();
        let mut busy = Command::new("sh");
        let mut busy =
            busy.args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn().unwrap();
        let enough = Duration::from_millis(50);
        while processor_time().unwrap() < before + enough {
            assert!(busy.try_wait().unwrap().is_none());
        }
        for child in [&mut busy, &mut sleeper] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
