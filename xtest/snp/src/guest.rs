// SPDX-License-Identifier: MIT
//! A simulated SNP guest in QEMU, as the launcher makes it, with a host of the test's own.

use crate::lies::{Lie, LyingHost, LyingProcessor, Outcome};
use anyhow::{Context as _, Result};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use strongroom_psp::{
    GuestMemory as _, Host, Installation, Launch, OutOfReach, Processor, Ram, attend, cpuid_page,
};
use strongroom_snp_igvm::trampoline::{Filling, elf};
use strongroom_snp_igvm::{GuestFeatures, LaunchImage, Profile};
use strongroom_snp_layout::simulation::{ASSIGNED, MAILBOX, PAGES, TABLE, VALIDATED};
use strongroom_wire::boot::{Manifest, Record};

const MEMORY: u64 = 256 << 20;
const PAGE: u64 = 4096;
/// A guest that says nothing for so long hangs.
const LIMIT: Duration = Duration::from_secs(60);
/// A message of one byte: any will do for the probe.
const WELCOME: [u8; 5] = [1, 0, 0, 0, 0];
/// Where the byte with the private bit's number is in the page of CPUID values.
const PRIVATE_BIT: usize = 44;

/// Starts the guest, and says what came of it.
pub(crate) fn run(payload: &[u8], chip: &Path, lie: Lie) -> Result<Outcome> {
    let manifest = Manifest { program: "/evidence".to_owned(), ..Manifest::default() };
    let record = Record { root_digest: [0; 32], image_blocks: 1, manifest };
    let record = record.encode().map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let features = if lie.is_restricted() { "snp,restricted-injection" } else { "snp" };
    let features: GuestFeatures = features.parse().map_err(anyhow::Error::msg)?;
    let profile = Profile::plain().with_features(features);
    let image = LaunchImage::build(payload, &record, &profile)?;
    let launch = Launch::new(image.digest())?;
    let (mut secrets, mut cpuid) = (launch.secrets_page(), cpuid_page());
    match lie {
        Lie::NoSecrets => secrets = [0; 4096],
        Lie::WrongPrivateBit => cpuid[PRIVATE_BIT] ^= 1,
        _ => {}
    }
    let filling = Filling { memory: &[0x10_0000..MEMORY], secrets: &secrets, cpuid: &cpuid };
    let kernel = memory_file("kernel")?;
    kernel.try_clone()?.write_all(&elf(&image, &filling)?)?;
    let memory = memory_file("guest-memory")?;
    memory.set_len(MEMORY)?;
    let ram = || -> Result<Ram> { Ok(Ram::new(memory.try_clone()?, MEMORY)) };
    prepare(&ram()?, &image).map_err(|OutOfReach| anyhow::anyhow!("guest memory"))?;

    let (bell, bell_theirs) = UnixStream::pair()?;
    let (console, console_theirs) = UnixStream::pair()?;
    let child = Qemu(command(&kernel, &memory, console_theirs, bell_theirs).spawn()?);
    let honest = Processor::new(Installation::open(chip)?, launch);
    let processor = LyingProcessor { lie, honest, first: None };
    let table = TABLE..TABLE + MEMORY / PAGE / 4;
    let mut host = LyingHost { lie, honest: Host::new(ram()?, processor, table) };
    let seen = ram()?;
    thread::spawn(move || attend(bell, &seen, &mut host));
    let said = listen(console)?;
    let status = child.end()?;
    // QEMU's exit status is twice the code and one.
    Ok(Outcome { code: u8::try_from(status / 2).unwrap_or(0), said })
}

struct Qemu(Child);

impl Qemu {
    fn end(mut self) -> Result<i32> {
        let status = self.0.wait()?;
        status.code().context("QEMU was killed")
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both fail only when it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn memory_file(name: &str) -> Result<File> {
    Ok(File::from(rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?))
}

fn prepare(ram: &Ram, image: &LaunchImage) -> Result<(), OutOfReach> {
    ram.write_word(MAILBOX + PAGES, MEMORY / PAGE)?;
    for page in image.pages() {
        let number = page.address / PAGE;
        let mut byte = [0];
        ram.read(TABLE + number / 4, &mut byte)?;
        byte[0] |= (ASSIGNED | VALIDATED) << ((number & 3) << 1);
        ram.write(TABLE + number / 4, &byte)?;
    }
    Ok(())
}

fn command(kernel: &File, memory: &File, console: UnixStream, bell: UnixStream) -> Command {
    let named = |file: &File| format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let qemu = std::env::var_os("STRONGROOM_QEMU");
    let mut command = Command::new(qemu.unwrap_or_else(|| "qemu-system-x86_64".into()));
    command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
    command.args(["-accel", "tcg", "-cpu", "max", "-m"]).arg(format!("{}M", MEMORY >> 20));
    command.arg("-object").arg(format!(
        "memory-backend-file,id=ram,size={}M,share=on,mem-path={}",
        MEMORY >> 20,
        named(memory)
    ));
    command.args(["-machine", "q35,usb=off,vmport=off,memory-backend=ram"]);
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
    command.args(["-chardev", "socket,id=ch,fd=0"]);
    command.args(["-device", "virtio-serial-pci,id=vs,disable-legacy=on"]);
    command.args(["-device", "virtserialport,chardev=ch,bus=vs.0,nr=1"]);
    command.args(["-serial", "none", "-chardev", "socket,id=bell,fd=1"]);
    command.args(["-serial", "chardev:bell", "-kernel"]).arg(named(kernel));
    command.stdin(OwnedFd::from(console)).stdout(OwnedFd::from(bell)).stderr(Stdio::null());
    command
}

/// Welcomes the guest, and collects what it says until its stream ends.
fn listen(mut console: UnixStream) -> Result<String> {
    console.set_read_timeout(Some(LIMIT))?;
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    let mut welcomed = false;
    loop {
        let count = match console.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            // QEMU closes the stream with the guest's last words unread.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error).context("the guest hangs"),
        };
        said.extend(buffer.iter().take(count));
        if !welcomed {
            welcomed = true;
            // A guest that is gone by now does not read it.
            let _ = console.write_all(&WELCOME);
        }
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}
