// SPDX-License-Identifier: MIT
//! `strongroom pack-ta`: a program as an OP-TEE trusted application.

mod root;

use crate::arguments::Grant;
use crate::report;
use anyhow::{Context as _, bail};
use clap::Args;
use root::DirectoryRoot;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use strongroom_client::image::{self, Ownership};
use strongroom_client::manifest::{ManifestFile, parse_environment, parse_memory};
use strongroom_client::{LaunchError, Workload};
use strongroom_optee_package::Uuid;
use strongroom_optee_packer::closure::{ClosureError, closure};
use strongroom_optee_packer::signature::{SignError, SigningKey, sign};
use strongroom_optee_packer::{Input, PackError, Packed, pack as pack_objects};
use strongroom_wire::boot::Record;

/// Names of the library OS beside this executable, and in a build's folder beside it.
const LIBRARY_OS_PLACES: [&str; 2] =
    ["strongroom-optee", "../aarch64-unknown-none-softfloat/release/strongroom-optee"];

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
    /// Workload, image, grants and resources from a file; what follows adds to it
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Root file system of aarch64: a directory
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Give all files of the root to user and group 0
    #[arg(long)]
    squash_owner: bool,
    /// Let the program use something of the host, as for `strongroom run`
    #[arg(long = "grant", value_name = "GRANT")]
    grants: Vec<Grant>,
    /// Set an environment variable
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_environment)]
    environment: Vec<(String, String)>,
    /// Memory for the program, for example 16M; OP-TEE has to have as much
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    memory: Option<u64>,
    /// Pack this library or program of the root too, with what it needs
    #[arg(long = "library", value_name = "PATH")]
    libraries: Vec<String>,
    /// Name of the trusted application; derived from manifest and image when not given
    #[arg(long)]
    uuid: Option<Uuid>,
    /// Version of the trusted application: OP-TEE refuses to go back to a lower one
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    ta_version: u32,
    /// Private RSA key that OP-TEE was built to trust, PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The library OS to pack
    #[arg(long, value_name = "FILE")]
    library_os: Option<PathBuf>,
    /// Folder for the files
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Say what was packed and what was replaced in it
    #[arg(short, long)]
    verbose: bool,
    /// The program in the root and its arguments
    #[arg(last = true, value_name = "PROGRAM [ARG]")]
    program: Vec<String>,
}

/// Packs, and prints the name.
pub(crate) fn pack(options: PackTaOptions) -> anyhow::Result<ExitCode> {
    let library_os = library_os(options.library_os.as_deref())?;
    let (workload, root, ownership) = workload(&options)?;
    anyhow::ensure!(
        workload.session.is_none(),
        "a trusted application has no evidence, and nobody could start this one: take [session] out"
    );
    fs::create_dir_all(&options.output)
        .with_context(|| format!("cannot make {}", options.output.display()))?;
    let unnamed = options.output.join("root.image");
    let built = image::build(&root, &unnamed, ownership).map_err(LaunchError::from)?;
    let manifest = workload.measured();
    let program = manifest.program.clone();
    let record = Record { root_digest: built.root_digest, image_blocks: built.blocks, manifest }
        .encode()
        .map_err(|_| LaunchError::ManifestTooLong)?;
    let objects = closure(&DirectoryRoot::open(&root)?, &program, &options.libraries)?;
    let packed = pack_objects(Input {
        library_os: &library_os,
        record: &record,
        objects,
        memory: workload.memory_max,
        uuid: options.uuid,
        ta_version: options.ta_version,
    })?;
    let key = SigningKey::read(&options.key)?;
    let signed = sign(&packed, &key)?;
    let file = |ending: &str| options.output.join(format!("{}.{ending}", packed.uuid));
    fs::write(file("ta"), signed)
        .with_context(|| format!("cannot write {}", file("ta").display()))?;
    fs::rename(&unnamed, file("image")).context("cannot rename the image")?;
    if key.is_for_development() {
        report::line("insecure: signed with OP-TEE's development key, which everybody has");
    }
    if options.verbose {
        describe(&packed);
    }
    println!("{}", packed.uuid);
    Ok(ExitCode::SUCCESS)
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

fn workload(options: &PackTaOptions) -> anyhow::Result<(Workload, PathBuf, Ownership)> {
    let manifest = options.manifest.as_deref().map(ManifestFile::read).transpose();
    let (mut workload, root, ownership) = match manifest.map_err(LaunchError::from)? {
        Some(manifest) => (manifest.workload, manifest.root, manifest.ownership),
        None => (Workload::default(), None, Ownership::Keep),
    };
    let ownership = if options.squash_owner { Ownership::Root } else { ownership };
    let root = options.root.clone().or(root).ok_or(LaunchError::NoRoot)?;
    if let Some((program, arguments)) = options.program.split_first() {
        workload.program.clone_from(program);
        workload.arguments = arguments.to_vec();
    }
    if workload.program.is_empty() {
        return Err(LaunchError::NoProgram.into());
    }
    workload.environment.extend(options.environment.iter().cloned());
    for grant in options.grants.iter().cloned() {
        match grant {
            Grant::Directory(grant) => workload.directories.push(grant),
            Grant::Connect(access) => workload.connects.push(access),
            Grant::Listen(access) => workload.listens.push(access),
        }
    }
    workload.memory_max = options.memory.unwrap_or(workload.memory_max);
    Ok((workload, root, ownership))
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
