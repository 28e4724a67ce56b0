// SPDX-License-Identifier: MIT
//! Services of enclaves: an unmodified redis takes calls over attested sessions, and another speaks
//! TLS with a key that its owner brings along; the signer and the vault are called by their URLs.

mod beside;
mod example;
mod probe;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use self::example::{Example, Recipe};
use super::{model, tally::Tally};
use crate::{
    attested::{Desk, KERNEL_LEVEL, LIMIT, policy},
    build::Built,
    process::{self, Finished, Running},
    root::{Root, Set},
    workspace::Workspace,
};

/// The privilege level of programs' own reports.
const PROGRAM_LEVEL: u8 = 0;
/// Bytes that evidence is bound to.
const NONCE_LEN: usize = 64;
const EXAMPLE: &str = include_str!("../../../examples/attested-redis/strongroom.toml");
/// What a client says to redis, and what it answers.
const SAID: &[u8] = b"PING\r\nQUIT\r\n";
const ANSWERED: &[u8] = b"+PONG\r\n+OK\r\n";

/// Makes the checks and counts them.
pub(super) fn check(workspace: &Workspace, built: &Built, tally: &Tally) {
    let root = Root::of_set(workspace, Set::Debian).and_then(|root| root.image(workspace));
    let root = match root {
        Ok(root) => root,
        Err(error) => return tally.check("services", || Err(error)),
    };
    tally.check("an unmodified server takes calls over attested sessions", || {
        Called::start(built, &root)?.check()
    });
    tally.check("the signer as a program in an SNP guest, called by URL", || {
        signer(workspace, built)
    });
    tally.check("an owner's secret seals for all versions that get it", || {
        upgrade(workspace, built)
    });
    tally.check("the vault in an SNP guest that is killed between tries", || {
        vault(workspace, built)
    });
    tally.check("a service starts programs, and a program calls the service beside it", || {
        beside::check(workspace, built)
    });
    tally.check("whatever goes wrong between client and service has its error", || {
        probe::check(workspace, built)
    });
    tally.check("attested-redis: a TLS key goes to the measured server", || {
        attested_redis(built, &root)
    });
    tally.check("model: a private model goes to the measured program in an SNP guest", || {
        model::in_guest(workspace, built, &root)
    });
}

/// A redis that nobody reaches but by attested sessions.
struct Called<'a> {
    desk: Desk<'a>,
    _enclave: Running,
}

impl<'a> Called<'a> {
    fn start(built: &'a Built, root: &Path) -> Result<Self> {
        let desk = Desk::new(built)?;
        let key = desk.make_key("client.key")?;
        let manifest = format!(
            "[workload]\nprogram = '/usr/bin/redis-server'\n\
             arguments = ['--save', '', '--protected-mode', 'no']\n[image]\nroot = '{}'\n\
             [service]\nclients = ['{key}']\nport = 6379\n[resources]\nmemory = '256M'\n",
            root.display()
        );
        desk.pack("redis", built.payload(), &manifest)?;
        desk.write_policy("policy.toml", "redis")?;
        fs::write(desk.path("other.toml"), policy(&"0".repeat(96), KERNEL_LEVEL))?;
        let mut run = desk.run("redis");
        run.arg("--attach").arg(format!("unix:{}", desk.path("attach").display()));
        let enclave = Running::start(run.stdin(Stdio::null()).stdout(Stdio::null()))?;
        wait_for(|| desk.path("attach").exists().then_some(()))?;
        Ok(Self { desk, _enclave: enclave })
    }

    fn check(&self) -> Result<()> {
        let answered = self.call("policy.toml", true)?;
        ensure!(answered.status == 0 && answered.stdout == ANSWERED, "{}", text(&answered));
        let stranger = self.call("policy.toml", false)?;
        ensure!(stranger.status == 1 && stranger.stdout.is_empty(), "{}", text(&stranger));
        ensure!(text(&stranger).contains("may not call the service"), "{}", text(&stranger));
        let other = self.call("other.toml", true)?;
        ensure!(other.status == 1 && other.stdout.is_empty(), "{}", text(&other));
        ensure!(text(&other).contains("snp.measurements"), "{}", text(&other));
        self.forwards()
    }

    fn connect(&self, policy: &str, with_key: bool) -> Command {
        let mut connect = self.desk.strongroom(&["connect", "--insecure-accept-simulated"]);
        connect.arg(format!("unix:{}", self.desk.path("attach").display()));
        connect.arg("--policy").arg(self.desk.path(policy));
        if with_key {
            connect.arg("--key").arg(self.desk.path("client.key"));
        }
        connect
    }

    fn call(&self, policy: &str, with_key: bool) -> Result<Finished> {
        process::capture(&mut self.connect(policy, with_key), SAID, LIMIT)
    }

    /// Programs that know nothing of attestation, two at a time.
    fn forwards(&self) -> Result<()> {
        let mut connect = self.connect("policy.toml", true);
        connect.args(["--listen", "tcp:127.0.0.1:0"]).stderr(Stdio::piped());
        let mut forwarder = Running::start(&mut connect)?;
        let mut said = BufReader::new(forwarder.child.stderr.take().context("no output")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        let address = line.trim().rsplit_once("tcp:").context(line.clone())?.1.to_owned();
        let ask = || -> Result<Vec<u8>> {
            let mut stream = TcpStream::connect(&address)?;
            stream.set_read_timeout(Some(LIMIT))?;
            stream.write_all(SAID)?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok(answer)
        };
        let answers = thread::scope(|scope| {
            let both = [scope.spawn(ask), scope.spawn(ask)];
            both.map(|one| one.join().unwrap_or_else(|_| Err(anyhow::anyhow!("panicked"))))
        });
        for answer in answers {
            let answer = answer?;
            ensure!(answer == ANSWERED, "{}", String::from_utf8_lossy(&answer));
        }
        Ok(())
    }
}

/// What an owner's secret seals is read by all versions that the owner gives it to, and by no other.
fn upgrade(workspace: &Workspace, built: &Built) -> Result<()> {
    let signer = Example::make(
        workspace,
        built,
        &Recipe { owned: true, ..Recipe::of("signer", &["older", "newer"]) },
    )?;
    let secret = signer.desk.path("sealing.key");
    fs::write(&secret, [7; 32])?;
    for (name, kept) in
        [("older", "5 in the log"), ("newer", "10 in the log"), ("older", "15 in the log")]
    {
        let called = signer.call(name, name, &[&[]])?.pop().context("it was called")?;
        ensure!(called.status == 0 && text(&called).contains(kept), "{}", text(&called));
    }
    // The owner's policy names the newer one only: the older one gets no secret.
    let refused = signer.call("older", "newer", &[&[]]).err().map(|error| format!("{error:#}"));
    let refused = refused.context("a version that the policy does not name gets the secret")?;
    ensure!(refused.contains("snp.measurements"), "{refused}");
    fs::write(&secret, [8; 32])?;
    let other = signer.call("newer", "newer", &[&[]])?.pop().context("it was called")?;
    let said = "sealed storage is missing or damaged";
    ensure!(other.status == 1 && text(&other).contains(said), "{}", text(&other));
    Ok(())
}

/// Its key and its log outlive the enclave, and stay with its measurement.
fn signer(workspace: &Workspace, built: &Built) -> Result<()> {
    let signer = Example::make(workspace, built, &Recipe::of("signer", &["signer", "upgraded"]))?;
    let call = |name: &str, policy: &str| -> Result<Finished> {
        signer.call(name, policy, &[&[]])?.pop().context("it was called")
    };
    for kept in ["5 in the log", "10 in the log"] {
        let called = call("signer", "signer")?;
        ensure!(called.status == 0 && text(&called).contains(kept), "{}", text(&called));
    }
    evidence(&signer)?;
    let refused = call("signer", "upgraded")?;
    ensure!(refused.status == 1, "{}", text(&refused));
    ensure!(text(&refused).contains("snp.measurements"), "{}", text(&refused));
    // Another measurement has another key: it finds what is sealed, and cannot open it.
    let upgraded = call("upgraded", "upgraded")?;
    ensure!(upgraded.status == 1, "{}", text(&upgraded));
    ensure!(
        text(&upgraded).contains("sealed storage is missing or damaged"),
        "{}",
        text(&upgraded)
    );
    Ok(())
}

/// A client gets evidence about a key of the service, and `verify` judges it.
fn evidence(signer: &Example<'_>) -> Result<()> {
    let file = signer.desk.path("evidence");
    let path = file.display().to_string();
    let called = signer.call("signer", "signer", &[&[&path]])?.pop().context("it was called")?;
    ensure!(called.status == 0, "{}", text(&called));
    let kept = fs::read(&file)?;
    let (bound, report) = kept.split_at_checked(NONCE_LEN).context("no evidence")?;
    fs::write(signer.desk.path("report"), report)?;
    let nonce = hex::encode(bound);
    let chip = signer.desk.path("data/strongroom/simulated-psp");
    let certificates = ["vcek", "ask", "ark"].map(|name| (name, chip.join(format!("{name}.der"))));
    let measured = signer.desk.measured("signer")?;
    for (digest, nonce, status) in [
        (measured.as_str(), nonce.as_str(), 0),
        (&measured, &"5e".repeat(NONCE_LEN), 1),
        (&"0".repeat(96), &nonce, 1),
    ] {
        let policy = policy(digest, PROGRAM_LEVEL);
        let judged = signer.desk.judge(&policy, nonce, &certificates, true)?;
        ensure!(judged.status == status, "{}", text(&judged));
    }
    Ok(())
}

/// Tries are counted over the end of an enclave, and given back by a host that restores old storage.
fn vault(workspace: &Workspace, built: &Built) -> Result<()> {
    let vault = Example::make(workspace, built, &Recipe::of("vault", &["vault"]))?;
    let call = |calls: &[&[&str]], said: &[&str]| -> Result<()> {
        let finished = vault.call("vault", "vault", calls)?;
        ensure!(finished.len() == said.len(), "as many answers as calls");
        for (finished, said) in finished.iter().zip(said) {
            let as_wanted = finished.status == 0 && text(finished).ends_with(said);
            ensure!(as_wanted, "{}, not {said}", text(finished));
        }
        Ok(())
    };
    call(&[&["set-up"], &["wrong", "3"]], &["", "2 tries are left\n"])?;
    let sealed = vault.desk.path("sealed");
    let old = read_folder(&sealed)?;
    call(
        &[&["wrong", "1"], &["wrong", "1"], &["locked"]],
        &["1 tries are left\n", "0 tries are left\n", ""],
    )?;
    for (path, bytes) in old {
        fs::write(path, bytes)?;
    }
    call(&[&["wrong", "1"], &["open"]], &["1 tries are left\n", ""])
}

fn read_folder(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        files.push((path.clone(), fs::read(path)?));
    }
    Ok(files)
}

/// The example, as its README has it.
fn attested_redis(built: &Built, root: &Path) -> Result<()> {
    let desk = Desk::new(built)?;
    let owner = desk.make_key("owner.key")?;
    make_certificate(&desk, root)?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let manifest = EXAMPLE
        .replace("\"rootfs\"", &format!("\"{}\"", root.display()))
        .replace("OWNER", &owner)
        .replace("7379", &port);
    desk.pack("redis", built.payload(), &manifest)?;
    desk.write_policy("policy.toml", "redis")?;
    let mut run = desk.run("redis");
    run.arg("--grant").arg(format!("listen:127.0.0.1:{port}=6379"));
    run.args(["--insecure-accept-simulated", "--attest"]).arg(desk.path("policy.toml"));
    run.arg("--owner-key").arg(desk.path("owner.key"));
    for name in ["tls.key", "tls.crt"] {
        run.arg("--secret").arg(format!("{name}=@{}", desk.path("tls").join(name).display()));
    }
    let _server = Running::start(run.stdin(Stdio::null()).stdout(Stdio::null()))?;
    let answer = wait_for(|| {
        let answer = client(&desk, root, &port).ok()?;
        (answer.stdout == b"PONG\n").then_some(())
    });
    answer.with_context(|| match client(&desk, root, &port) {
        Ok(finished) => text(&finished),
        Err(error) => error.to_string(),
    })
}

/// redis' own client, which believes the certificate and nothing else.
fn client(desk: &Desk<'_>, root: &Path, port: &str) -> Result<Finished> {
    let mut run = desk.strongroom(&["run", "--accel", "tcg", "--root"]);
    run.arg(root).arg("--grant").arg(format!("connect:127.0.0.1:{port}"));
    run.arg("--grant").arg(format!("dir:{}=/tls", desk.path("tls").display()));
    run.args(["--", "/usr/bin/redis-cli", "-h", "127.0.0.1", "-p", port]);
    run.args(["--tls", "--cacert", "/tls/tls.crt", "PING"]);
    process::capture(&mut run, b"", LIMIT)
}

/// A key and a certificate for it, in the folder `tls`.
fn make_certificate(desk: &Desk<'_>, root: &Path) -> Result<()> {
    let folder = desk.path("tls");
    fs::create_dir(&folder)?;
    let mut run = desk.strongroom(&["run", "--accel", "tcg", "--root"]);
    run.arg(root).arg("--grant").arg(format!("dir:{}=/tls:rw", folder.display()));
    run.args(["--", "/usr/bin/openssl", "req", "-x509", "-newkey", "ec"]);
    run.args(["-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj"]);
    run.args(["/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]);
    run.args(["-keyout", "/tls/tls.key", "-out", "/tls/tls.crt"]);
    process::run_quietly(&mut run).map(|_| ())
}

/// Waits for something that takes a while.
fn wait_for<T>(mut found: impl FnMut() -> Option<T>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = found() {
            return Ok(found);
        }
        ensure!(began.elapsed() < LIMIT, "not after {} s", LIMIT.as_secs());
        thread::sleep(Duration::from_millis(200));
    }
}

fn text(finished: &Finished) -> String {
    let (output, error) = (&finished.stdout, &finished.stderr);
    let status = finished.status;
    [format!("status {status}: ").as_bytes(), output, error].map(String::from_utf8_lossy).concat()
}
