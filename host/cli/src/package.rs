// SPDX-License-Identifier: MIT
//! `strongroom pack`, `strongroom measure` and `strongroom igvm`.

use crate::arguments::{IgvmOptions, LaunchProfile, MeasureOptions, PackOptions};
use crate::{policy, report};
use anyhow::Context as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use strongroom_client::manifest::ManifestFile;
use strongroom_client::package::{
    Identity, Measurement, Package, Packed, Profile, Target, pack as write,
};
use strongroom_client::{LaunchError, kernels_at_hand};
use strongroom_optee_packer::memory_hash;
use strongroom_verifier::Hex;
use strongroom_wire::boot::Record;

/// Packs; says what to expect.
pub(crate) fn pack(options: PackOptions) -> anyhow::Result<ExitCode> {
    let manifest = ManifestFile::read(&options.manifest).map_err(LaunchError::from)?;
    let kernels = match options.kernels {
        given if given.is_empty() => kernels_at_hand()?,
        given => given,
    };
    let packed = write(&manifest, &kernels, &options.output).map_err(LaunchError::from)?;
    let Packed { digest, expected } = packed;
    let digest = report::hex(&digest);
    if options.json {
        print(&serde_json::to_string_pretty(
            &serde_json::json!({ "package": digest, "expected": expected }),
        )?)?;
    } else {
        print(&format!("package sha256:{digest}"))?;
        expected.iter().try_for_each(|measurement| print(&text(measurement)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what a report will say.
pub(crate) fn measure(options: MeasureOptions) -> anyhow::Result<ExitCode> {
    let package = Package::open(&options.package).map_err(LaunchError::from)?;
    if options.launch.target == Target::Optee {
        anyhow::ensure!(
            options.policy.is_none(),
            "a policy for a trusted application needs an enrolled device: docs/attestation.md has one"
        );
        return measure_application(&package, &options);
    }
    let profile = profile(&options.launch)?;
    let measurement =
        package.measure(options.launch.target, &profile).map_err(LaunchError::from)?;
    let said =
        if options.json { serde_json::to_string_pretty(&measurement)? } else { text(&measurement) };
    print(&said)?;
    if let Some(file) = &options.policy {
        let text = policy::for_sessions(options.launch.target, &measurement);
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a token of a trusted application will say: it is packed in memory, from the package alone.
fn measure_application(package: &Package, options: &MeasureOptions) -> anyhow::Result<ExitCode> {
    let library_os = package.kernel(Target::Optee).map_err(LaunchError::from)?;
    let image = package.image().map_err(LaunchError::from)?;
    let record = package.record_bytes();
    let manifest = Record::decode(record).map_err(|_| LaunchError::ManifestTooLong)?.manifest;
    let naming = &options.application;
    let packed = naming.pack(&library_os, record, &image, &manifest)?;
    let (package_digest, memory_hash) = (Hex(packed.digest), Hex(memory_hash(&packed.elf)?));
    let (uuid, version) = (packed.uuid, packed.ta_version);
    print(&if options.json {
        serde_json::to_string_pretty(&serde_json::json!({
            "target": Target::Optee.to_string(),
            "ta_uuid": uuid.to_string(),
            "ta_version": version,
            "package_digest": package_digest,
            "memory_hash": memory_hash,
        }))?
    } else {
        format!(
            "optee trusted application {uuid} version {version}\n  \
             package digest {package_digest}\n  memory hash {memory_hash}"
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the launch file; says its digest.
pub(crate) fn igvm(options: IgvmOptions) -> anyhow::Result<ExitCode> {
    let package = Package::open(&options.package).map_err(LaunchError::from)?;
    let profile = profile(&options.launch)?;
    let identity = identity(&options)?;
    let target = options.launch.target;
    let file = package
        .igvm(target, &profile, options.policy, identity.as_ref())
        .map_err(LaunchError::from)?;
    let output = &options.output;
    fs::write(output, file).with_context(|| format!("cannot write {}", output.display()))?;
    print(&text(&package.measure(target, &profile).map_err(LaunchError::from)?))?;
    if let Some(identity) = identity {
        print(&format!("id key digest {}", report::hex(&identity.id_key_digest())))?;
        if let Some(author) = identity.author_key_digest() {
            print(&format!("author key digest {}", report::hex(&author)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn profile(launch: &LaunchProfile) -> anyhow::Result<Profile> {
    let profile = Profile::plain().with_features(launch.guest_features);
    let profile = profile.with_vcpus(launch.vcpus)?;
    match &launch.vcpu_model {
        Some(model) => profile.with_model(model).map_err(anyhow::Error::msg),
        None => Ok(profile),
    }
}

fn identity(options: &IgvmOptions) -> anyhow::Result<Option<Identity>> {
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let Some(id_key) = &options.id_key else { return Ok(None) };
    let author = options.author_key.as_deref().map(read).transpose()?;
    let (family, image) = (options.family_id, options.image_id);
    let identity = Identity::new(
        family.map_or([0; 16], |id| id.0),
        image.map_or([0; 16], |id| id.0),
        options.guest_svn,
        &read(id_key)?,
        author.as_deref(),
    );
    Ok(Some(identity?))
}

fn text(measurement: &Measurement) -> String {
    let Measurement { target, launch_digest, sev_features, launcher, vcpus, vcpu_model, .. } =
        measurement;
    let model = vcpu_model.as_deref().unwrap_or("not pinned");
    format!(
        "{target} launch digest {launch_digest}\n  \
         launcher {launcher}, processors {vcpus}, model {model}, SEV features {sev_features:#x}"
    )
}

fn print(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("cannot write to standard output")
}
