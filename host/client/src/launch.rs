// SPDX-License-Identifier: MIT
//! From a payload, an image and a workload to a running enclave.

use crate::LaunchError;
use crate::accelerator::{Accelerator, AcceleratorChoice};
use crate::guest::{MEMORY_MAX_MIB, SimulatedGuest};
use crate::image::Image;
use crate::machine::{Boot, Machine, MachineOptions, find_program};
use crate::manifest::Workload;
use crate::package::{Bindings, Package, Target};
use crate::session::{AttachListener, Services, Session};
use crate::words;
use sha2::{Digest as _, Sha256};
use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;
use strongroom_snp_igvm::{ImageError as LaunchImageError, LaunchImage, Profile};
use strongroom_wire::boot::{Manifest, Record};

/// Memory of the machine when the workload names none, in MiB.
const MEMORY_DEFAULT_MIB: u64 = 1024;
/// Memory for the kernel itself on top of what the workload asks for, in MiB.
const MEMORY_KERNEL_MIB: u64 = 32;
const MEBIBYTE: u64 = 1 << 20;
/// Where payloads lie beside this executable, and in a build's folder beside it.
const PAYLOAD_PLACES: [&str; 3] =
    ["", "../x86_64-unknown-none/release/", "../x86_64-unknown-none/debug/"];
/// The payload's name, by target.
const PAYLOADS: [(Target, &str); 2] =
    [(Target::SnpSim, "strongroom-snp"), (Target::Snp, "strongroom-snp-release")];

/// Starts enclaves in QEMU.
#[derive(Debug)]
pub struct Launcher {
    payload: Payload,
    image: Option<Image>,
    workload: Workload,
    debug_log: Option<PathBuf>,
    qemu: Option<PathBuf>,
    accelerator: AcceleratorChoice,
    attach: Option<AttachListener>,
}

/// What is booted.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// A file.
    File(PathBuf),
    /// The contents of one.
    Bytes(Vec<u8>),
}

impl Launcher {
    /// Launches this payload.
    pub fn new(payload: impl Into<PathBuf>) -> Self {
        Self::of(Payload::File(payload.into()))
    }

    /// Launches what a package holds, with its grants bound to things of this host: its kernel
    /// image for the simulation, its root image and its workload.
    ///
    /// # Errors
    ///
    /// [`LaunchError::Package`] for what the package lacks, and grants that are not bound.
    pub fn of_package(package: &Package, bindings: &Bindings) -> Result<Self, LaunchError> {
        let launcher = Self::of(Payload::Bytes(package.kernel(Target::SnpSim)?));
        Ok(launcher.image(package.image()?).workload(package.workload(bindings)?))
    }

    /// Boots this file in place of the payload that was to be booted: a payload, or a measured image
    /// as `strongroom igvm` makes it, which brings its own boot record.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<PathBuf>) -> Self {
        self.payload = Payload::File(payload.into());
        self
    }

    /// Launches this payload.
    pub(crate) fn of(payload: Payload) -> Self {
        Self {
            payload,
            image: None,
            workload: Workload::default(),
            debug_log: None,
            qemu: env::var_os("STRONGROOM_QEMU").map(PathBuf::from),
            accelerator: AcceleratorChoice::default(),
            attach: None,
        }
    }

    /// Launches the payload that `$STRONGROOM_PAYLOAD` names, or the one near this executable.
    ///
    /// # Errors
    ///
    /// [`LaunchError::NoPayload`] says where it was looked for.
    pub fn with_default_payload() -> Result<Self, LaunchError> {
        default_payload().map(Self::new)
    }

    /// The root file system.
    #[must_use]
    pub fn image(mut self, image: Image) -> Self {
        self.image = Some(image);
        self
    }

    /// The program, and what its host does for it.
    #[must_use]
    pub fn workload(mut self, workload: Workload) -> Self {
        self.workload = workload;
        self
    }

    /// Keeps the kernel's serial log in a file; only debug payloads write one.
    #[must_use]
    pub fn debug_log(mut self, path: impl Into<PathBuf>) -> Self {
        self.debug_log = Some(path.into());
        self
    }

    /// The QEMU to use, instead of the one that `$STRONGROOM_QEMU` names or that is on the path.
    #[must_use]
    pub fn qemu(mut self, qemu: impl Into<PathBuf>) -> Self {
        self.qemu = Some(qemu.into());
        self
    }

    /// What executes the enclave's instructions. An accelerator in `$STRONGROOM_QEMU_ARGS` has
    /// precedence.
    #[must_use]
    pub const fn accelerator(mut self, choice: AcceleratorChoice) -> Self {
        self.accelerator = choice;
        self
    }

    /// Carries the bytes of those who come here for an attested session.
    #[must_use]
    pub fn attach(mut self, listener: AttachListener) -> Self {
        self.attach = Some(listener);
        self
    }

    /// SHA-256 over payload, manifest and root digest. It is the package's name, not a launch
    /// measurement: no processor vouches for it.
    ///
    /// # Errors
    ///
    /// [`LaunchError`] when a part is missing.
    pub fn package_digest(&self) -> Result<[u8; 32], LaunchError> {
        let image = self.image.as_ref().ok_or(LaunchError::NoRoot)?;
        let mut kernel = Sha256::new();
        match &self.payload {
            Payload::File(path) => {
                let mut file = File::open(path).map_err(|_| no_payload(path))?;
                io::copy(&mut file, &mut kernel).map_err(LaunchError::io("read the payload"))?;
            }
            Payload::Bytes(bytes) => kernel.update(bytes),
        }
        package_digest(&kernel.finalize().into(), &self.workload.measured(), image.root_digest())
    }

    /// Starts the enclave's machine. The program runs once [`Session::run`] serves it.
    ///
    /// # Errors
    ///
    /// [`LaunchError`] for missing parts, grants that cannot be opened, and QEMU's start.
    pub fn start(self) -> Result<Session, LaunchError> {
        let began = Instant::now();
        let manifest = self.workload.measured();
        if manifest.program.is_empty() {
            return Err(LaunchError::NoProgram);
        }
        self.workload.check_attach(self.attach.is_some())?;
        if let Payload::File(path) = &self.payload
            && !path.is_file()
        {
            return Err(no_payload(path));
        }
        let image = self.image.ok_or(LaunchError::NoRoot)?;
        let root_digest = *image.root_digest();
        let record = Record { root_digest, image_blocks: image.blocks(), manifest };
        let record = record.encode().map_err(|_| LaunchError::ManifestTooLong)?;
        let memory_mib = match self.workload.memory_max {
            0 => MEMORY_DEFAULT_MIB,
            bytes => bytes.div_ceil(MEBIBYTE) + MEMORY_KERNEL_MIB,
        };
        let qemu = found(self.qemu.unwrap_or_else(|| "qemu-system-x86_64".into()))?;
        let arguments = words::split(&env::var("STRONGROOM_QEMU_ARGS").unwrap_or_default());
        let accelerator = match named_accelerator(&arguments) {
            Some(accelerator) => accelerator,
            None => self.accelerator.settle(&qemu, &self.payload),
        };
        let boot = boot(self.payload, record, accelerator, memory_mib)?;
        let debug_log = self.debug_log;
        let options = MachineOptions { qemu, accelerator, memory_mib, debug_log, arguments };
        let services = Services {
            image: Some(image),
            directories: self.workload.directory_accesses(),
            connects: self.workload.connects,
            listens: self.workload.listens,
            attach: self.attach,
        };
        let (machine, stream) = Machine::start(&options, boot)?;
        Session::with_machine(stream, services, (machine, accelerator), began)
    }
}

/// What QEMU starts. Emulation runs measured images, with a security processor beside them; KVM
/// takes some instructions of theirs for its own: there payloads are loaded as they are. So are
/// foreign payloads, which cannot be measured, and payloads with more memory than is simulated.
fn boot(
    payload: Payload,
    record: Vec<u8>,
    accelerator: Accelerator,
    memory_mib: u64,
) -> Result<Boot, LaunchError> {
    if accelerator == Accelerator::Kvm || memory_mib > MEMORY_MAX_MIB {
        return Ok(Boot::Loaded(payload, record));
    }
    let bytes = match payload {
        Payload::File(path) => fs::read(&path).map_err(LaunchError::io("read the payload"))?,
        Payload::Bytes(bytes) => bytes,
    };
    let image = if LaunchImage::is_igvm(&bytes) {
        LaunchImage::from_igvm(&bytes)?
    } else {
        match LaunchImage::build(&bytes, &record, &Profile::plain()) {
            Err(LaunchImageError::Payload(_)) => {
                return Ok(Boot::Loaded(Payload::Bytes(bytes), record));
            }
            image => image?,
        }
    };
    Ok(Boot::Measured(Box::new(SimulatedGuest::new(image, memory_mib)?)))
}

fn no_payload(path: &Path) -> LaunchError {
    LaunchError::NoPayload { tried: vec![path.to_path_buf()] }
}

/// The package digest of its parts' digests.
fn package_digest(
    kernel: &[u8; 32],
    manifest: &Manifest,
    root_digest: &[u8; 32],
) -> Result<[u8; 32], LaunchError> {
    let manifest = postcard::to_allocvec(manifest).map_err(|_| LaunchError::ManifestTooLong)?;
    let mut hash = Sha256::new();
    hash.update(b"strongroom-package-v1");
    hash.update(kernel);
    hash.update(Sha256::digest(&manifest));
    hash.update(root_digest);
    Ok(hash.finalize().into())
}

/// The accelerator that QEMU's further arguments name.
fn named_accelerator(arguments: &[String]) -> Option<Accelerator> {
    let at = arguments.iter().position(|argument| argument == "-accel")?;
    let kvm = arguments.get(at + 1).is_some_and(|value| value.split(',').next() == Some("kvm"));
    Some(if kvm { Accelerator::Kvm } else { Accelerator::Tcg })
}

fn found(qemu: PathBuf) -> Result<PathBuf, LaunchError> {
    find_program(&qemu).ok_or(LaunchError::NoQemu(qemu))
}

fn default_payload() -> Result<PathBuf, LaunchError> {
    if let Some(payload) = env::var_os("STRONGROOM_PAYLOAD") {
        return Ok(payload.into());
    }
    let tried = places("strongroom-snp")?;
    match tried.iter().find(|payload| payload.is_file()) {
        Some(payload) => Ok(payload.clone()),
        None => Err(LaunchError::NoPayload { tried }),
    }
}

/// The kernel images near this executable, and the one for the simulation that
/// `$STRONGROOM_PAYLOAD` names.
///
/// # Errors
///
/// [`LaunchError::Io`] when this executable cannot be found.
pub fn kernels_at_hand() -> Result<Vec<(Target, PathBuf)>, LaunchError> {
    let mut found = Vec::new();
    for (target, name) in PAYLOADS {
        let named = env::var_os("STRONGROOM_PAYLOAD").map(PathBuf::from);
        let path = match named.filter(|_| target == Target::SnpSim) {
            Some(path) => Some(path),
            None => places(name)?.into_iter().find(|path| path.is_file()),
        };
        found.extend(path.map(|path| (target, path)));
    }
    Ok(found)
}

fn places(name: &str) -> Result<Vec<PathBuf>, LaunchError> {
    let executable = env::current_exe().map_err(LaunchError::io("find this executable"))?;
    let folder = executable.parent().unwrap_or(Path::new("/"));
    Ok(PAYLOAD_PLACES.iter().map(|place| folder.join(place).join(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_wire::boot::{ServiceTerms, SessionTerms};

    /// The digest is published: this may gain cases, never change one.
    #[test]
    fn golden_package_digest_holds() {
        let manifest = Manifest { program: "/bin/true".into(), ..Manifest::default() };
        let digest = package_digest(&[1; 32], &manifest, &[2; 32]).unwrap();
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "fa66c297f12aa91fd344ed29a7bdec10dd91348aa5e6210862b2b9aec19f96ed");
    }

    #[test]
    fn missing_parts_are_named() {
        let workload = Workload { program: "/bin/true".into(), ..Workload::default() };
        let launcher = Launcher::new("/nonexistent/payload").workload(workload);
        assert!(matches!(launcher.start(), Err(LaunchError::NoPayload { .. })));
        let launcher = Launcher::new("/proc/version");
        assert!(matches!(launcher.start(), Err(LaunchError::NoProgram)));
    }

    #[test]
    fn a_session_and_a_place_for_it_belong_together() {
        let plain = Workload { program: "/bin/true".into(), ..Workload::default() };
        let attested = Workload { session: Some(SessionTerms::default()), ..plain.clone() };
        let launcher = Launcher::new("/proc/version").workload(attested);
        assert!(matches!(launcher.start(), Err(LaunchError::NoAttachAddress)));
        let called = Workload { service: Some(ServiceTerms::default()), ..plain.clone() };
        let launcher = Launcher::new("/proc/version").workload(called);
        assert!(matches!(launcher.start(), Err(LaunchError::NoAttachAddress)));
        let listener = AttachListener::private().unwrap();
        let launcher = Launcher::new("/proc/version").workload(plain).attach(listener);
        assert!(matches!(launcher.start(), Err(LaunchError::NoSession)));
    }
}
