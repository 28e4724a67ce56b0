// SPDX-License-Identifier: MIT
//! `strongroom pack-ta`: a program as an OP-TEE trusted application.

use crate::report;
use crate::workload::{Packaged, Prepared, WorkloadOptions};
use anyhow::{Context as _, bail};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use strongroom_client::LaunchError;
use strongroom_client::image::{Files, FoundFile, Image};
use strongroom_optee_package::Uuid;
use strongroom_optee_packer::closure::{ClosureError, Root, closure};
use strongroom_optee_packer::signature::{SignError, SigningKey, sign};
use strongroom_optee_packer::{File, Input, PackError, Packed, memory_hash, pack as pack_objects};
use strongroom_wire::boot::{Manifest, Record};

/// Names of the library OS beside this executable, and in a build's folder beside it.
const LIBRARY_OS_PLACES: [&str; 3] = [
    "strongroom-optee",
    "../optee-big/machine/strongroom-optee",
    "../optee-stock/machine/strongroom-optee",
];

/// Pack a program into an OP-TEE trusted application.
///
/// Library OS, program, libraries and manifest become one signed file, UUID.ta, and the root file
/// system an image beside it, UUID.image. The same input gives the same bytes.
///
/// The program has to be position-independent code for aarch64, as all of Debian's is. Its
/// libraries are found in the root file system; what it opens at run time is named by --library.
#[derive(Args, Debug)]
#[command(after_help = "Environment:
  STRONGROOM_OPTEE      the library OS to pack

Example:
  strongroom pack-ta --root rootfs-arm64 --key default_ta.pem --output packed -- lua5.4 /main.lua")]
pub(crate) struct PackTaOptions {
    #[command(flatten)]
    workload: WorkloadOptions,
    #[command(flatten)]
    packing: PackingOptions,
    /// Private RSA key that OP-TEE was built to trust, PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Folder for the files
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Say what was packed and what was replaced in it
    #[arg(short, long)]
    verbose: bool,
}

/// What is packed besides the program, and under which name.
#[derive(Args, Debug)]
pub(crate) struct PackingOptions {
    #[command(flatten)]
    pub(crate) naming: NamingOptions,
    /// The library OS to pack
    #[arg(long, value_name = "FILE")]
    pub(crate) library_os: Option<PathBuf>,
}

/// What a trusted application's measurement depends on besides the package.
#[derive(Args, Debug, Default)]
pub(crate) struct NamingOptions {
    /// Pack this library or program of the root too, with what it needs
    #[arg(long = "library", value_name = "PATH")]
    libraries: Vec<String>,
    /// Pack this program of the root too, besides those of the manifest's `spawns`, so that the
    /// other one can start it by `posix_spawn` or `vfork` and `execve`; once for each that runs at a
    /// time
    #[arg(long = "spawns", value_name = "PROGRAM")]
    spawns: Vec<String>,
    /// Name of the trusted application; derived from manifest and image when not given
    #[arg(long)]
    pub(crate) uuid: Option<Uuid>,
    /// Version of the trusted application: OP-TEE refuses to go back to a lower one
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    ta_version: u32,
}

impl NamingOptions {
    /// Packs that program of the image, with all that it is loaded with.
    pub(crate) fn pack(
        &self,
        library_os: &[u8],
        record: &[u8],
        image: &Image,
        manifest: &Manifest,
    ) -> anyhow::Result<Packed> {
        let root = ImageRoot(image.files().map_err(LaunchError::from)?);
        let spawns = [manifest.spawns.as_slice(), &self.spawns].concat();
        Ok(pack_objects(Input {
            library_os,
            record,
            objects: closure(&root, &manifest.program, &self.libraries, &spawns)?,
            memory: manifest.memory_max,
            uuid: self.uuid,
            ta_version: self.ta_version,
        })?)
    }
}

/// The root file system in an image.
struct ImageRoot<'a>(Files<'a>);

impl Root for ImageRoot<'_> {
    fn read(&self, path: &str) -> Result<Option<File>, String> {
        let found = self.0.read(path).map_err(|error| error.to_string())?;
        Ok(found.map(|FoundFile { path, contents }| File { path, contents }))
    }
}

/// A signed trusted application.
#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) packed: Packed,
    pub(crate) signed: Vec<u8>,
}

/// Packs, and prints the name.
pub(crate) fn pack(options: PackTaOptions) -> anyhow::Result<ExitCode> {
    let described = options.workload.describe(None)?;
    fs::create_dir_all(&options.output)
        .with_context(|| format!("cannot make {}", options.output.display()))?;
    let prepared = Prepared::of(described)?;
    let application = options.packing.pack(&prepared, &options.key, options.verbose)?;
    let uuid = application.packed.uuid;
    let file = |ending: &str| options.output.join(format!("{uuid}.{ending}"));
    fs::write(file("ta"), application.signed)
        .with_context(|| format!("cannot write {}", file("ta").display()))?;
    fs::copy(prepared.image.path(), file("image"))
        .with_context(|| format!("cannot write {}", file("image").display()))?;
    println!("{uuid}");
    Ok(ExitCode::SUCCESS)
}

impl PackingOptions {
    /// Packs and signs what was prepared. A key that everybody has is named so.
    pub(crate) fn pack(
        &self,
        prepared: &Prepared,
        key: &Path,
        verbose: bool,
    ) -> anyhow::Result<Application> {
        let Prepared { workload, image, packaged } = prepared;
        let (library_os, record) = match packaged {
            Some(Packaged { library_os, record }) => (library_os.clone(), record.clone()),
            None => {
                let (root_digest, image_blocks) = (*image.root_digest(), image.blocks());
                let record = Record { root_digest, image_blocks, manifest: workload.measured() };
                let record = record.encode().map_err(|_| LaunchError::ManifestTooLong)?;
                (library_os(self.library_os.as_deref())?, record)
            }
        };
        let packed = self.naming.pack(&library_os, &record, image, &workload.measured())?;
        let signed = signed(&packed, key)?;
        if verbose {
            describe(&packed);
        }
        Ok(Application { packed, signed })
    }
}

/// Signs with the key in that file; one that everybody has is named so.
pub(crate) fn signed(packed: &Packed, key: &Path) -> Result<Vec<u8>, SignError> {
    let key = SigningKey::read(key)?;
    let signed = sign(packed, &key)?;
    if key.is_for_development() {
        report::line("insecure: signed with OP-TEE's development key, which everybody has");
    }
    Ok(signed)
}

/// What can be done about an error of packing.
pub(crate) fn hint(error: &anyhow::Error) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<PackError>() {
        return Some(error.hint());
    }
    match error.downcast_ref::<ClosureError>() {
        Some(ClosureError::Pack(error)) => return Some(error.hint()),
        Some(ClosureError::NotFound(_)) => return Some("paths are those inside of the root"),
        Some(ClosureError::Missing { .. }) => {
            return Some("install the package with that library into the root");
        }
        Some(ClosureError::Unreadable(_) | ClosureError::TooMany) | None => {}
    }
    let sign = error.downcast_ref::<SignError>()?;
    matches!(sign, SignError::Read { .. })
        .then_some("OP-TEE's dev kit has the development key: export-ta_arm64/keys/default_ta.pem")
}

fn library_os(given: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let named = given
        .map(Path::to_owned)
        .or_else(|| std::env::var_os("STRONGROOM_OPTEE").map(PathBuf::from));
    let path = match named {
        Some(path) => path,
        None => {
            let executable = std::env::current_exe().context("cannot find this executable")?;
            let folder = executable.parent().unwrap_or(Path::new("/"));
            let mut places = LIBRARY_OS_PLACES.iter().map(|place| folder.join(place));
            match places.find(|place| place.is_file()) {
                Some(path) => path,
                None => bail!(
                    "found no library OS to pack: build it with `cargo xtask optee build`, or name it in --library-os or STRONGROOM_OPTEE"
                ),
            }
        }
    };
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn describe(packed: &Packed) {
    report::line(&format!("package digest sha256:{}", report::hex(&packed.digest)));
    if let Ok(hash) = memory_hash(&packed.elf) {
        report::line(&format!("memory hash sha256:{}", report::hex(&hash)));
    }
    for (path, counts) in &packed.replaced {
        report::line(&format!(
            "{path}: replaced {} system calls, {} counter reads, {} identification reads, {} cache operations, {} spin hints, {} breakpoints",
            counts.calls,
            counts.counters,
            counts.identification,
            counts.maintenance,
            counts.pauses,
            counts.breakpoints
        ));
    }
    report::line(&format!("{} bytes", packed.elf.len()));
}
