// SPDX-License-Identifier: MIT
//! The oracle: a command on native Linux, in a throw-away copy of the same root.
//!
//! The copy is an overlay in namespaces of its own, so it vanishes with the command. Only what
//! every Linux has is mounted: `/proc`, `/dev`, `/tmp`. The network is an empty one with loopback.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result};

use crate::{
    process::{self, Finished},
    workspace::{as_root, find_program},
};

/// Runs as the first process of the namespaces: `script ROOT WORK NAME=VALUE... -- COMMAND...`
///
/// `chroot` is not exec'ed: the command must not be process 1, which signals do not end.
const SCRIPT: &str = r#"
set -e
root=$1 work=$2
shift 2
mount -t tmpfs -o mode=755 strongroom "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/work" root "$work/root"
cd "$work/root"
mount -t proc proc proc
mount -t tmpfs -o mode=1777 tmp tmp
mount -t tmpfs -o mode=755 dev dev
for device in null zero full random urandom tty; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/shm dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 pts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
echo strongroom >/proc/sys/kernel/hostname
chroot . /bin/busybox ifconfig lo 127.0.0.1 up || true
umask 022
set +e
env -i "$@"
exit $?
"#;

/// The same without a network of its own and without a copy: for clients on the host.
const CLIENT_SCRIPT: &str = r#"
root=$1
shift 2
cd "$root" && exec env -i "$@"
"#;

/// Which network the command sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Loopback only, shared with nobody.
    Own,
    /// The host's.
    Host,
}

/// What to run and in what surroundings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    /// The root folder; it is not changed.
    pub(crate) root: &'a Path,
    /// Program and arguments.
    pub(crate) command: &'a [String],
    /// The whole environment, as pairs.
    pub(crate) env: &'a std::collections::BTreeMap<String, String>,
    /// Bytes for standard input.
    pub(crate) stdin: &'a [u8],
    /// When to give up.
    pub(crate) limit: Duration,
    /// Which network it sees.
    pub(crate) network: Network,
}

impl Run<'_> {
    /// Runs it and waits for it.
    pub(crate) fn finish(&self) -> Result<Finished> {
        let work = tempfile::tempdir().context("make a folder for the copy of the root")?;
        let mut command = as_root("unshare").context("running natively in a root folder")?;
        command.args(["--mount", "--pid", "--fork", "--kill-child"]);
        let script = match self.network {
            Network::Own => {
                command.args(["--net", "--uts", "--ipc"]);
                SCRIPT
            }
            Network::Host => CLIENT_SCRIPT,
        };
        command.args(["sh", "-c", script, "native"]).arg(self.root).arg(work.path());
        self.append_words(&mut command)?;
        command.env("LC_ALL", "C");
        process::capture(&mut command, self.stdin, self.limit)
    }

    fn append_words(&self, command: &mut Command) -> Result<()> {
        let chroot = find_program("chroot").context("no `chroot` on this machine")?;
        command.args(self.env.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(chroot).arg(".").args(self.command);
        Ok(())
    }
}
