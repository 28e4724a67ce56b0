// SPDX-License-Identifier: MIT
//! `strongroom keygen`, `strongroom attach`, and the owner in `strongroom run`.

use crate::arguments::EndorsementOptions;
use crate::{report, verify};
use anyhow::{Context as _, Error};
use clap::Args;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use strongroom_client::attest::{
    Appraisal, Attachment, Brings, Verdict, generate_key, read_key, read_secret,
};
use strongroom_client::manifest::parse_environment;
use strongroom_client::session::{AttachAddress, Controller};
use strongroom_session::{SECRET_LEN_MAX, is_secret_name};
use zeroize::Zeroizing;

/// Make the key of an owner.
///
/// The file is for its owner alone (mode 0600) and must not exist. Printed is the public key, as
/// [session] owners in a manifest have it.
#[derive(Args, Debug)]
pub(crate) struct KeygenOptions {
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Print the public key as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Start the program of an enclave that waits for its owner.
///
/// The enclave's evidence is verified first; only then secrets and late values are sent, end to end
/// encrypted. Certificates come with the evidence, or are given, as for verify.
///
/// Exit status: 0 when the program was started, 1 when enclave or client was refused, 2 when that
/// could not be decided.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  strongroom attach unix:/run/app.attach --policy policy.toml --owner-key owner.key --secret key=@key.pem
  strongroom attach tcp:host:7000 --policy policy.toml --owner-key owner.key --arg --verbose --json")]
pub(crate) struct AttachOptions {
    /// Where the enclave's launcher listens: unix:PATH or tcp:HOST:PORT
    pub(crate) address: AttachAddress,
    /// What is asked of the evidence, a TOML file; docs/attestation.md has the reference
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// The owner's key, as keygen makes it. Without one, only insecure-any-client listens
    #[arg(long, value_name = "FILE")]
    pub(crate) owner_key: Option<PathBuf>,
    /// A secret that the manifest declares, from a file or as it is
    #[arg(long = "secret", value_name = "NAME=@FILE|NAME=VALUE", value_parser = parse_secret)]
    pub(crate) secrets: Vec<SecretSource>,
    /// An argument behind those of the manifest
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
    /// A variable that the manifest declares as late
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_environment)]
    pub(crate) environment: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) endorsements: EndorsementOptions,
    /// Print the verdict as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What the owner in `run` brings: as for attach, under names that do not mean something else there.
#[derive(Args, Debug, Default)]
pub(crate) struct RunOwnerOptions {
    /// The owner's key, as keygen makes it
    #[arg(long, value_name = "FILE", requires = "attest")]
    pub(crate) owner_key: Option<PathBuf>,
    /// A secret that the manifest declares, from a file or as it is
    #[arg(long = "secret", value_name = "NAME=@FILE|NAME=VALUE", value_parser = parse_secret,
        requires = "attest")]
    pub(crate) secrets: Vec<SecretSource>,
    /// An argument behind those of the manifest, which is not measured
    #[arg(long = "late-arg", value_name = "ARG", allow_hyphen_values = true, requires = "attest")]
    pub(crate) late_arguments: Vec<String>,
    /// A variable that the manifest declares as late
    #[arg(long = "late-env", value_name = "NAME=VALUE", value_parser = parse_environment,
        requires = "attest")]
    pub(crate) late_environment: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) endorsements: EndorsementOptions,
}

/// A secret's name and where it comes from.
#[derive(Clone)]
pub(crate) struct SecretSource {
    name: String,
    value: Value,
}

#[derive(Clone)]
enum Value {
    File(PathBuf),
    Text(Zeroizing<String>),
}

/// Values are not shown.
impl std::fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretSource({})", self.name)
    }
}

fn parse_secret(text: &str) -> Result<SecretSource, String> {
    // What follows the name may be the secret itself: it is not repeated in an error.
    let (name, value) =
        text.split_once('=').ok_or("no secret; allowed are NAME=@FILE and NAME=VALUE")?;
    if !is_secret_name(name) {
        return Err(format!("`{name}` is no name of a secret"));
    }
    let value = match value.strip_prefix('@') {
        Some(path) => Value::File(path.into()),
        None => Value::Text(Zeroizing::new(value.to_owned())),
    };
    Ok(SecretSource { name: name.to_owned(), value })
}

/// Makes a key; the exit status.
pub(crate) fn keygen(options: &KeygenOptions) -> ExitCode {
    match try_keygen(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::line(&format!("{error:#}"));
            ExitCode::from(verify::UNDECIDED)
        }
    }
}

fn try_keygen(options: &KeygenOptions) -> anyhow::Result<()> {
    let key = generate_key()?;
    let path = options.output.display();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&options.output)
        .with_context(|| format!("cannot make {path}"))?;
    file.write_all(key.to_text().as_bytes()).with_context(|| format!("cannot write {path}"))?;
    let public = key.public().to_string();
    let mut output = io::stdout().lock();
    match options.json {
        true => serde_json::to_writer_pretty(
            &mut output,
            &serde_json::json!({
                "public_key": public,
            }),
        )?,
        false => write!(output, "{public}")?,
    }
    writeln!(output)?;
    Ok(())
}

/// Attaches; the exit status.
pub(crate) fn attach(options: AttachOptions) -> ExitCode {
    let (json, address) = (options.json, options.address.clone());
    let owner = RunOwnerOptions {
        owner_key: options.owner_key,
        secrets: options.secrets,
        late_arguments: options.arguments,
        late_environment: options.environment,
        endorsements: options.endorsements,
    };
    let verdict = match owner.attachment(Appraisal::Policy(options.policy)) {
        Ok(attachment) => attachment.attach(&address),
        Err(error) => Verdict::Undecided { message: format!("{error:#}"), hint: None },
    };
    if let (Verdict::Accepted { .. }, false) = (&verdict, json) {
        report::line("the enclave was verified, and its program is started");
    }
    verify::say(&verdict, json)
}

impl RunOwnerOptions {
    /// The session that the options ask for; files are read.
    pub(crate) fn attachment(self, appraisal: Appraisal) -> anyhow::Result<Attachment> {
        let insecure_accept_simulated = self.endorsements.insecure_accept_simulated;
        let key = self.owner_key.as_deref().map(read_key).transpose().map_err(Error::msg)?;
        let secrets = self.secrets.into_iter().map(SecretSource::read);
        Ok(Attachment {
            appraisal,
            insecure_accept_simulated,
            endorsements: verify::endorsements(self.endorsements),
            key,
            brings: Brings {
                arguments: self.late_arguments,
                environment: self.late_environment,
                secrets: secrets.collect::<anyhow::Result<_>>()?,
            },
        })
    }
}

impl SecretSource {
    fn read(self) -> anyhow::Result<(String, Zeroizing<Vec<u8>>)> {
        let bytes = match self.value {
            Value::Text(text) => Zeroizing::new(text.as_bytes().to_vec()),
            Value::File(path) => read_secret(&path, SECRET_LEN_MAX).map_err(Error::msg)?,
        };
        Ok((self.name, bytes))
    }
}

/// The owner in `run`: attaches while the launcher serves.
pub(crate) struct Attaching {
    owner: JoinHandle<Verdict>,
    /// Whether one of the two has ended already; what the other says then is a consequence.
    ended: Arc<AtomicBool>,
}

impl Attaching {
    /// Attaches from a thread of its own; ends the launcher's session if that comes to nothing.
    pub(crate) fn start(
        (attachment, address): (Attachment, AttachAddress),
        controller: Controller,
    ) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        let owner = std::thread::spawn(move || {
            let verdict = attachment.attach(&address);
            let accepted = matches!(verdict, Verdict::Accepted { .. });
            if !accepted && !flag.swap(true, Ordering::SeqCst) {
                controller.end();
            }
            verdict
        });
        Self { owner, ended }
    }

    /// After the launcher's session: why the program was not started, if that is what ended it.
    pub(crate) fn refusal(self) -> Option<anyhow::Error> {
        let first = self.ended.swap(true, Ordering::SeqCst);
        // A launcher that has ended closes the connection, so this does not wait for long.
        match (self.owner.join(), first) {
            (Ok(Verdict::Refused { reason }), _) => {
                Some(anyhow::anyhow!("the program was not started: {}", reason.message))
            }
            (Ok(Verdict::Undecided { message, hint }), true) => Some(match hint {
                Some(hint) => anyhow::anyhow!("{message} ({hint})"),
                None => anyhow::anyhow!("{message}"),
            }),
            (Ok(Verdict::Undecided { .. } | Verdict::Accepted { .. }) | Err(_), _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn secrets_are_named_and_their_values_not_shown() {
        let text = parse_secret("key=hush=hush").unwrap();
        assert!(!format!("{text:?}").contains("hush"));
        let (name, bytes) = text.read().unwrap();
        assert_eq!((name.as_str(), bytes.as_slice()), ("key", &b"hush=hush"[..]));
        assert!(
            matches!(parse_secret("key=@a").unwrap().value, Value::File(path) if path == Path::new("a"))
        );
        for bad in ["hush", "=hush", "a/b=hush", "..=hush"] {
            assert!(!parse_secret(bad).unwrap_err().contains("hush"), "{bad}");
        }
    }
}
