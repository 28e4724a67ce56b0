// SPDX-License-Identifier: MIT
//! Where the user's things are kept.

use std::env;
use std::io;
use std::path::PathBuf;

/// `$XDG_CACHE_HOME/strongroom`, or the same below `~/.cache`.
///
/// # Errors
///
/// [`io::ErrorKind::NotFound`] when neither variable is set.
pub(crate) fn cache() -> io::Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").map(PathBuf::from) {
        Some(path) if path.is_absolute() => path,
        Some(_) | None => env::home_dir().ok_or(io::ErrorKind::NotFound)?.join(".cache"),
    };
    Ok(base.join("strongroom"))
}
