// SPDX-License-Identifier: MIT
//! The trial: a program in the payload, under KVM, within a time limit.
//!
//! The payload's start goes through real entry, paging and interrupts; the program adds system
//! calls by the thousand, page faults, and enough time in user mode for the timer.

use super::{Accelerator, AcceleratorChoice};
use crate::image::{self, Image, Ownership};
use crate::manifest::Workload;
use crate::session::Console;
use crate::{LaunchError, Launcher};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// A KVM that works takes a tenth of this.
const LIMIT: Duration = Duration::from_secs(3);

/// Whether the program runs to its end.
pub(super) fn succeeds(qemu: &Path, payload: &Path) -> bool {
    run(qemu, payload).is_ok_and(|status| status == 0)
}

fn run(qemu: &Path, payload: &Path) -> Result<u8, LaunchError> {
    let folder = tempfile::tempdir().map_err(LaunchError::io("make a folder"))?;
    let image = image_of(&program(), folder.path())?;
    let session = Launcher::new(payload)
        .qemu(qemu)
        .accelerator(AcceleratorChoice::Only(Accelerator::Kvm))
        .image(image)
        .workload(Workload::of_program("/trial", [""; 0]))
        .start()?;
    let controller = session.controller();
    let (over, end) = mpsc::channel::<()>();
    let watch = thread::spawn(move || {
        if end.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            controller.end();
        }
    });
    let outcome = session.run(Console::new(io::empty(), io::sink(), io::sink()));
    drop(over);
    // It only waits; it cannot have panicked.
    let _ = watch.join();
    outcome.map(|outcome| outcome.status)
}

fn image_of(program: &[u8], folder: &Path) -> Result<Image, LaunchError> {
    let root = folder.join("root");
    let file = root.join("trial");
    fs::create_dir(&root)
        .and_then(|()| fs::write(&file, program))
        .and_then(|()| fs::set_permissions(&file, Permissions::from_mode(0o755)))
        .map_err(LaunchError::io("write the trial's program"))?;
    let path = folder.join("trial.image");
    image::build(&root, &path, Ownership::Root)?;
    Ok(Image::open(&path)?)
}

/// Where the program lies, and its end of uninitialised memory: 64 pages to be faulted in.
const ADDRESS: u64 = 0x40_0000;
const HEADERS: usize = 64 + 56;
const MEMORY: u64 = 65 * 4096;

/// A static executable for `x86_64`: 20,000 times `getpid`, a store to each page, `exit_group(0)`.
fn program() -> Vec<u8> {
    const CODE: &[u8] = &[
        0xbb, 0x20, 0x4e, 0, 0, // mov ebx, 20000
        0xb8, 39, 0, 0, 0, // 1: mov eax, getpid
        0x0f, 0x05, // syscall
        0xff, 0xcb, // dec ebx
        0x75, 0xf5, // jnz 1b
        0xbf, 0, 0x10, 0x40, 0, // mov edi, ADDRESS + 4096
        0xb9, 64, 0, 0, 0, // mov ecx, 64
        0xc6, 0x07, 1, // 2: mov byte ptr [rdi], 1
        0x81, 0xc7, 0, 0x10, 0, 0, // add edi, 4096
        0xff, 0xc9, // dec ecx
        0x75, 0xf3, // jnz 2b
        0xb8, 231, 0, 0, 0, // mov eax, exit_group
        0x31, 0xff, // xor edi, edi
        0x0f, 0x05, // syscall
    ];
    let length = (HEADERS + CODE.len()) as u64;
    // The ELF header and one program header, by the System V ABI (gabi 4.1, chapters 4 and 5).
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([2_u16, 62].into_iter().flat_map(u16::to_le_bytes)); // ET_EXEC, EM_X86_64
    file.extend(1_u32.to_le_bytes());
    file.extend([ADDRESS + HEADERS as u64, 64, 0].into_iter().flat_map(u64::to_le_bytes));
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 56, 1, 0, 0, 0].into_iter().flat_map(u16::to_le_bytes));
    file.extend([1_u32, 7].into_iter().flat_map(u32::to_le_bytes)); // PT_LOAD, all access
    let segment = [0, ADDRESS, ADDRESS, length, MEMORY, 4096];
    file.extend(segment.into_iter().flat_map(u64::to_le_bytes));
    file.extend_from_slice(CODE);
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Linux is the oracle: the program is one, and ends well.
    #[test]
    fn the_program_runs_on_linux() {
        let folder = tempfile::tempdir().unwrap();
        image_of(&program(), folder.path()).unwrap();
        let status = Command::new(folder.path().join("root/trial")).status().unwrap();
        assert_eq!(status.code(), Some(0));
    }
}
