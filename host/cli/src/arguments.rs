// SPDX-License-Identifier: MIT
//! The command line's grammar and help.

use crate::attach::{AttachOptions, KeygenOptions, RunOwnerOptions};
use crate::connect::ConnectOptions;
use crate::enroll::EnrollOptions;
use crate::evidence::EvidenceOptions;
use crate::pack_ta::NamingOptions;
use crate::tee::{OpteeOptions, ServeOptions, Tee};
use crate::workload::WorkloadOptions;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::str::FromStr;
use strongroom_client::AcceleratorChoice;
use strongroom_client::attest::{Source, parse_nonce};
use strongroom_client::manifest::{DirectoryGrant, parse_connect, parse_directory, parse_listen};
use strongroom_client::package::{GuestFeatures, LAUNCHERS, Target};
use strongroom_client::session::{AttachAddress, ConnectAccess, ListenAccess};
use strongroom_verifier::{Hex, ProductLine};

/// Runs unmodified Linux programs in an enclave.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    New(crate::new::NewOptions),
    Run(Box<RunOptions>),
    #[command(subcommand)]
    Image(ImageCommand),
    Pack(PackOptions),
    Measure(MeasureOptions),
    Igvm(Box<IgvmOptions>),
    Verify(Box<VerifyOptions>),
    Keygen(KeygenOptions),
    Attach(Box<AttachOptions>),
    Connect(Box<ConnectOptions>),
    Enroll(Box<EnrollOptions>),
    Evidence(Box<EvidenceOptions>),
    FetchChain(FetchOptions),
    PackTa(Box<crate::pack_ta::PackTaOptions>),
    SignTa(crate::sign_ta::SignTaOptions),
    #[command(hide = true)]
    ServeTa(ServeOptions),
    #[command(hide = true)]
    ServeServices,
}

/// Run a program in an enclave.
///
/// Standard input, output and error, signals and the terminal pass through. No other file,
/// variable or socket of the host reaches the program unless it is granted.
///
/// Exit status: the program's; 128+N when signal N ended it; 125 for the launcher's own errors;
/// 126 when the program cannot be executed; 127 when it is not found.
#[derive(Args, Debug)]
#[command(after_help = "Environment:
  STRONGROOM_PAYLOAD    the payload to boot
  STRONGROOM_QEMU       the QEMU to use instead of qemu-system-x86_64
  STRONGROOM_QEMU_ARGS  further arguments for QEMU
  STRONGROOM_OPTEE      the library OS to pack into a trusted application
  STRONGROOM_OPTEE_MACHINE  the folder of the machine for --tee optee-qemu
  STRONGROOM_QEMU_AARCH64   the QEMU for it instead of qemu-system-aarch64

Examples:
  strongroom run --root rootfs -- /bin/sh -c 'echo hello'
  strongroom run --root rootfs.tar --grant dir:./data=/data:rw -- python3 /data/job.py
  strongroom run --manifest strongroom.toml
  strongroom run app.room --grant dir:./data=/data:rw
  strongroom run app.room --attach unix:/run/app.attach
  strongroom run app.room --attest policy.toml --owner-key owner.key --secret key=@key.pem
  strongroom run --tee optee-qemu --root rootfs-arm64 -- lua5.4 /main.lua
  strongroom run --tee optee --installed UUID --root UUID.image")]
pub(crate) struct RunOptions {
    /// A package; its directory grants need a --grant dir, and nothing can be added to it
    #[arg(value_name = "PACKAGE", conflicts_with_all = [
        "manifest", "root", "squash_owner", "environment", "memory", "program"
    ])]
    pub(crate) package: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) workload: WorkloadOptions,
    /// Where it runs: snp-sim is an SNP guest in QEMU, optee-qemu a trusted application of OP-TEE in
    /// QEMU, optee a trusted application of this machine's OP-TEE
    #[arg(long, value_name = "TEE", default_value = "snp-sim")]
    pub(crate) tee: Tee,
    /// The payload to boot
    #[arg(long, value_name = "FILE")]
    pub(crate) payload: Option<PathBuf>,
    /// What executes the enclave: kvm, tcg (QEMU's emulator), or auto: KVM where a trial of it,
    /// made once and remembered, succeeds
    #[arg(long = "accel", value_name = "NAME", default_value_t)]
    pub(crate) accelerator: AcceleratorChoice,
    /// Keep the kernel's serial log, where the payload is a debug image
    #[arg(long, value_name = "FILE")]
    pub(crate) debug_log: Option<PathBuf>,
    /// Say nothing but errors of the launcher
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say how long the start took, how much memory was used, and what protects the program
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Let the program's owner come here for an attested session: unix:PATH or tcp:HOST:PORT
    #[arg(long, value_name = "ADDRESS", help_heading = "Attested session")]
    pub(crate) attach: Option<AttachAddress>,
    /// Be the owner: verify the enclave's evidence under this policy, then start the program in it
    #[arg(long, value_name = "POLICY", help_heading = "Attested session")]
    pub(crate) attest: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Attested session")]
    pub(crate) owner: RunOwnerOptions,
    #[command(flatten, next_help_heading = "OP-TEE")]
    pub(crate) optee: OpteeOptions,
}

/// Build and verify root images.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build an image from a directory or an uncompressed tar archive
    ///
    /// The same input gives the same bytes.
    Build {
        /// Directory or tar archive
        #[arg(long, value_name = "DIR_OR_TAR")]
        root: PathBuf,
        /// The image to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Give all files to user and group 0
        #[arg(long)]
        squash_owner: bool,
    },
    /// Check every block of an image against its hash tree
    Verify {
        /// The image
        image: PathBuf,
    },
}

/// Pack a workload into one file: boot record, root image, kernel images, expected measurements.
///
/// The same manifest, root and kernel images give the same bytes, in whatever folder. Paths and
/// addresses of the host are not in it: they are given when it is run.
#[derive(Args, Debug)]
pub(crate) struct PackOptions {
    /// The manifest
    pub(crate) manifest: PathBuf,
    /// The package to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// A kernel image and where it runs: snp, snp-sim or optee. Without any, those that lie beside
    /// this program
    #[arg(long = "kernel", value_name = "TARGET=FILE", value_parser = parse_kernel)]
    pub(crate) kernels: Vec<(Target, PathBuf)>,
    /// Print digest and expected measurements as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Compute what a report will say of a package, from the package alone.
#[derive(Args, Debug)]
pub(crate) struct MeasureOptions {
    /// The package
    pub(crate) package: PathBuf,
    #[command(flatten)]
    pub(crate) launch: LaunchProfile,
    #[command(flatten, next_help_heading = "For --tee optee")]
    pub(crate) application: NamingOptions,
    /// Also write a policy to begin with, which accepts this package's sessions and no other's
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Make the file that an SNP host launches a package from.
///
/// For QEMU 10.1 and later, see docs/attestation.md. The launch digest is that of measure with the
/// same options.
#[derive(Args, Debug)]
pub(crate) struct IgvmOptions {
    /// The package
    pub(crate) package: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) launch: LaunchProfile,
    /// Guest policy of the launch, a number
    #[arg(long, value_name = "BITS", default_value = "0x30000", value_parser = parse_policy_bits)]
    pub(crate) policy: u64,
    /// Private key that vouches for the image: P-384, PEM (PKCS #8)
    #[arg(long, value_name = "FILE")]
    pub(crate) id_key: Option<PathBuf>,
    /// Private key that vouches for the identity key
    #[arg(long, value_name = "FILE", requires = "id_key")]
    pub(crate) author_key: Option<PathBuf>,
    /// Family of the image, 32 hexadecimal digits
    #[arg(long, value_name = "HEX", requires = "id_key", value_parser = parse_id)]
    pub(crate) family_id: Option<Hex<16>>,
    /// The image, 32 hexadecimal digits
    #[arg(long, value_name = "HEX", requires = "id_key", value_parser = parse_id)]
    pub(crate) image_id: Option<Hex<16>>,
    /// Security version of the guest
    #[arg(long, value_name = "NUMBER", requires = "id_key", default_value_t = 0)]
    pub(crate) guest_svn: u32,
}

/// What besides the package a measurement depends on.
#[derive(Args, Debug)]
pub(crate) struct LaunchProfile {
    /// Where it runs: snp, snp-sim or optee
    #[arg(long = "tee", value_name = "TARGET", default_value = "snp")]
    pub(crate) target: Target,
    /// The launcher
    #[arg(long = "profile", value_name = "NAME", default_value = LAUNCHERS[0],
        value_parser = LAUNCHERS)]
    pub(crate) launcher: String,
    /// Processors; one runs, the others park
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) vcpus: u32,
    /// Pin the processors' model, as QEMU names it: EPYC-Milan, EPYC-Genoa, EPYC-Turin
    #[arg(long, value_name = "MODEL")]
    pub(crate) vcpu_model: Option<String>,
    /// Features of the guest: names with commas between, or a number
    #[arg(long, value_name = "FEATURES", default_value = "snp")]
    pub(crate) guest_features: GuestFeatures,
}

fn parse_kernel(text: &str) -> Result<(Target, PathBuf), String> {
    let (target, path) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` names no kernel image; allowed is TARGET=FILE"))?;
    Ok((target.parse()?, path.into()))
}

fn parse_policy_bits(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| format!("`{text}` is no number; allowed are 0x30000 and the like"))
}

fn parse_id(text: &str) -> Result<Hex<16>, String> {
    text.parse()
}

/// Decide whether evidence is to be believed, and good enough for a policy.
///
/// The network is not used. Certificates are DER or PEM. AMD's root and issuer certificates are
/// built in; what signed the report is given, or in the table that the host handed over, or in the
/// cache that fetch-chain fills. Keys of trusted applications have no certificates: they are enrolled.
///
/// Exit status: 0 when the evidence is accepted, 1 when it is refused, 2 when that could not be
/// decided: a file, the policy or the nonce is missing or no such thing.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  strongroom verify --policy policy.toml --nonce 5eed... report.bin --vcek vcek.pem
  strongroom verify --policy policy.toml outblob --certificates auxblob --json
  strongroom verify --policy policy.toml --nonce 5eed... token.cbor --enrolment device.toml")]
pub(crate) struct VerifyOptions {
    /// What is asked of the evidence, a TOML file; docs/attestation.md has the reference
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// The nonce that the report data begins with, up to 64 bytes; the rest of it has to be zero
    #[arg(long, value_name = "HEX", value_parser = parse_nonce)]
    pub(crate) nonce: Option<[u8; 64]>,
    /// A report of SEV-SNP, as the firmware made it; a token of a trusted application; or a folder
    /// with an outblob, as Linux's configfs-tsm has it
    #[arg(value_name = "EVIDENCE", required_unless_present = "report")]
    pub(crate) evidence: Option<PathBuf>,
    /// The same under its older name
    #[arg(long, value_name = "FILE", conflicts_with = "evidence")]
    pub(crate) report: Option<PathBuf>,
    /// The table of certificates that the host hands over with a report
    #[arg(long, value_name = "FILE")]
    pub(crate) certificates: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) endorsements: EndorsementOptions,
    /// Print the verdict as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a report is verified under, where the host gives nothing.
#[derive(Args, Debug, Default)]
pub(crate) struct EndorsementOptions {
    /// The certificate of the chip's own key, which signed the report
    #[arg(long, value_name = "FILE", conflicts_with = "vlek")]
    pub(crate) vcek: Option<PathBuf>,
    /// The certificate of the provider's key that signed the report
    #[arg(long, value_name = "FILE")]
    pub(crate) vlek: Option<PathBuf>,
    /// The issuer of the key's certificate (ASK, ASVK), in place of AMD's
    #[arg(long, value_name = "FILE", requires = "ark")]
    pub(crate) ask: Option<PathBuf>,
    /// The root certificate, in place of AMD's
    #[arg(long, value_name = "FILE", requires = "ask")]
    pub(crate) ark: Option<PathBuf>,
    /// The root's revocation list
    #[arg(long, value_name = "FILE")]
    pub(crate) crl: Option<PathBuf>,
    /// Where fetch-chain keeps certificates
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// The keys of a trusted application and its device, as enroll writes them
    #[arg(long, value_name = "FILE")]
    pub(crate) enrolment: Option<PathBuf>,
    /// Accept a root that is not AMD's, or a device enrolled as simulated. Such evidence proves
    /// nothing: for simulations only
    #[arg(long)]
    pub(crate) insecure_accept_simulated: bool,
}

/// Get the certificates that belong to a report into the cache.
///
/// They are checked to be a chain before they are kept. Only a URL uses the network.
///
/// Exit status: 0, or 2 when it failed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  strongroom fetch-chain --report report.bin --from ./mirror
  strongroom fetch-chain --report report.bin --from https://kdsintf.amd.com")]
pub(crate) struct FetchOptions {
    /// The attestation report, as the firmware made it
    #[arg(long, value_name = "FILE")]
    pub(crate) report: PathBuf,
    /// A folder with the paths of AMD's key distribution service, or an address of such a service
    #[arg(long, value_name = "DIR_OR_URL")]
    pub(crate) from: Source,
    /// Milan, Genoa or Turin, for reports of version 2
    #[arg(long, value_name = "LINE")]
    pub(crate) product_line: Option<ProductLine>,
    /// Where to keep them
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
}

/// Something that the host does for the program.
#[derive(Clone, Debug)]
pub(crate) enum Grant {
    Directory(DirectoryGrant),
    Connect(ConnectAccess),
    Listen(ListenAccess),
}

impl FromStr for Grant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("dir", rest)) => parse_directory(rest).map(Self::Directory),
            Some(("connect", rest)) => parse_connect(rest).map(Self::Connect),
            Some(("listen", rest)) => parse_listen(rest).map(Self::Listen),
            Some(_) | None => Err(format!(
                "`{text}` is no grant; allowed are dir:HOST=MOUNT[:rw], connect:HOST:PORT and listen:[ADDR:]HOSTPORT[=PORT]"
            )),
        }
    }
}
