// SPDX-License-Identifier: MIT
//! Good manifests, and the words and places of errors.

use super::*;

const FULL: &str = r#"
[workload]
program = "/usr/bin/python3"
arguments = ["-c", "print(1)"]
environment = { LANG = "C.UTF-8", PATH = "/bin" }
working-directory = "/srv"
hostname = "files-1"
spawns = ["sh", "sh", "/usr/bin/ls"]

[image]
root = "rootfs"
owner = "root"

[grant]
untrusted-plaintext-connect = ["db.example:5432", "[::1]:80"]
untrusted-plaintext-listen = ["127.0.0.1:8080=80", "0.0.0.0:9000", "7000"]

[[grant.directory]]
untrusted-plaintext-directory = "data"
mount = "/srv/data"
writable = true

[[grant.directory]]
untrusted-plaintext-directory = "/etc/ssl"
mount = "/etc/ssl"

[resources]
memory = "512M"
"#;

fn parse(text: &str) -> Result<ManifestFile, ManifestError> {
    parse::parse(Path::new("folder/strongroom.toml"), text)
}

#[test]
fn everything_that_is_written_arrives() {
    let file = parse(FULL).unwrap();
    assert_eq!(file.root, Some("folder/rootfs".into()));
    assert_eq!(file.ownership, Ownership::Root);
    assert_eq!(file.workload.directories[0].host, Path::new("folder/data"));
    assert_eq!(file.workload.directories[1].host, Path::new("/etc/ssl"));
    assert_eq!(file.workload.listens[0].address, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(file.workload.listens[2].address, "127.0.0.1:7000".parse().unwrap());
    let measured = file.workload.measured();
    assert_eq!(measured.arguments, ["/usr/bin/python3", "-c", "print(1)"]);
    assert_eq!(measured.environment, ["HOME=/root", "LANG=C.UTF-8", "PATH=/bin"]);
    assert_eq!(measured.working_directory, "/srv");
    assert_eq!(measured.hostname, "files-1");
    assert_eq!(measured.spawns, ["sh", "sh", "/usr/bin/ls"]);
    let mounts: Vec<_> =
        measured.directories.iter().map(|grant| (grant.mount.as_str(), grant.writable)).collect();
    assert_eq!(mounts, [("/srv/data", true), ("/etc/ssl", false)]);
    assert_eq!(measured.connects[1], GrantedConnect { host: "::1".into(), port: 80 });
    let ports: Vec<_> = measured.listens.iter().map(|grant| grant.port).collect();
    assert_eq!(ports, [80, 9000, 7000]);
    assert_eq!(measured.memory_max, 512 << 20);
}

#[test]
fn a_session_has_owners_and_says_what_may_be_late() {
    let key = format!("x25519:{}", "0a".repeat(32));
    let text = format!(
        "workload.program = 'a'\n[session]\nowners = ['{key}']\nlate-arguments = true\n\
         late-environment = ['REGION']\nsecrets = ['db-password', 'tls.key']"
    );
    let session = parse(&text).unwrap().workload.measured().session.unwrap();
    assert_eq!(session.owners, [[10; 32]]);
    assert!(session.late_arguments && !session.insecure_any_client);
    assert_eq!(session.late_environment, ["REGION"]);
    assert_eq!(session.secrets, ["db-password", "tls.key"]);

    let open = parse("workload.program = 'a'\nsession.insecure-any-client = true").unwrap();
    assert!(open.workload.session.unwrap().insecure_any_client);
    assert_eq!(parse("workload.program = 'a'").unwrap().workload.session, None);
}

#[test]
fn a_service_names_its_clients_or_takes_all() {
    let key = "x25519:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";
    let read = |section: &str| {
        parse(&format!("workload.program = 'a'\n[service]\n{section}"))
            .map(|file| file.workload.measured().service.unwrap())
    };
    let named = read(&format!("clients = ['{key}']")).unwrap();
    assert_eq!((named.clients, named.any_client), (vec![[10; 32]], false));
    let open = read("any-client = true\nport = 6379").unwrap();
    assert_eq!((open.any_client, open.port), (true, Some(6379)));
    assert!(read("any-client = true\nport = 0").is_err());
    let error = read("").unwrap_err();
    assert_eq!((error.line, error.column), (2, 1), "{error}");
    assert!(error.to_string().contains("any-client = true"), "{error}");
    assert!(read(&format!("any-client = true\nclients = ['{key}']")).is_err());
    assert!(read("clients = ['x25519:00']").unwrap_err().to_string().contains("`x25519:00`"));
}

#[test]
fn errors_of_sessions_say_where_and_what_is_allowed() {
    let key = format!("x25519:{}", "0a".repeat(32));
    let open = "insecure-any-client = true";
    for (text, line, column, words) in [
        ("secrets = ['a']".to_owned(), 2, 1, "has owners, or insecure-any-client"),
        (format!("owners = ['{key}']\n{open}"), 2, 1, "and not both"),
        ("owners = ['x25519:0a']".to_owned(), 3, 11, "64 hexadecimal digits"),
        (format!("owners = ['{key}', 'me']"), 3, 86, "`me` is no public key"),
        (format!("{open}\nsecrets = ['a', 'a']"), 4, 17, "here twice"),
        (format!("{open}\nsecrets = ['../a']"), 4, 12, "letters, digits"),
        (format!("{open}\nlate-environment = ['PATH']"), 4, 21, "has a value in the manifest"),
        (format!("{open}\nlate-environment = ['A=']"), 4, 21, "no name of a variable"),
        (format!("{open}\nany-client = true"), 4, 1, "`insecure-any-client`"),
    ] {
        let text = format!("workload.program = 'a'\n[session]\n{text}");
        let error = parse(&text).unwrap_err();
        assert!(error.message.contains(words), "{text}: {error}");
        assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
    }
}

#[test]
fn little_is_needed() {
    let file = parse("workload.program = 'sh'").unwrap();
    assert_eq!(file.root, None);
    let measured = file.workload.measured();
    assert_eq!((measured.program.as_str(), measured.hostname.as_str()), ("sh", "strongroom"));
    let path = format!("PATH={DEFAULT_PATH}");
    assert_eq!(measured.environment, ["HOME=/root", path.as_str()]);
}

#[test]
fn errors_say_where_and_what_is_allowed() {
    let with = |rest: &str| format!("[workload]\nprogram = \"/a\"\n{rest}\n");
    for (text, line, column, words) in [
        (with("programm = 1"), 3, 1, "unknown field `programm`, expected one of `program`"),
        (with("[images]"), 3, 2, "unknown field `images`, expected one of `workload`"),
        (with("inherit-environment = []"), 3, 1, "`insecure-inherit-environment`"),
        (with("arguments = \"x\""), 3, 13, "expected a sequence"),
        (with("working-directory = \"a\""), 3, 21, "an absolute path"),
        (with("working-directory = \"/a/../b\""), 3, 21, "an absolute path"),
        (with("hostname = \"a b\""), 3, 12, "letters, digits, hyphens and dots"),
        (with("environment = { A = \"\\u0000\" }"), 3, 21, "a zero byte"),
        (with("[image]\nowner = \"me\""), 4, 9, "expected `keep` or `root`"),
        (with("[resources]\nmemory = \"1T\""), 4, 10, "K, M or G"),
        (with("[resources]\nmemory = \"1K\""), 4, 10, "from 4M to 16384G"),
        (with("[grant]\nuntrusted-plaintext-connect = [\"a:1\", \"b\"]"), 4, 39, "HOST:PORT"),
        (with("[grant]\nuntrusted-plaintext-listen = [\"localhost:1\"]"), 4, 31, "numeric"),
        (with("[grant]\nconnect = []"), 4, 1, "`untrusted-plaintext-connect`"),
        (with("[[grant.directory]]\nhost = \"a\""), 4, 1, "`untrusted-plaintext-directory`"),
        (
            with("[[grant.directory]]\nuntrusted-plaintext-directory = \"a\"\nmount = \"/\""),
            5,
            9,
            "cannot be mounted at /",
        ),
        ("[workload]\n".to_owned(), 1, 1, "missing field `program`"),
        ("[workload".to_owned(), 1, 10, "]"),
        ("workload.program = ''".to_owned(), 1, 20, "empty"),
        ("workload.program = './a'".to_owned(), 1, 20, "absolute"),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.message.contains(words), "{text}: {error}");
        assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
        let place = format!("folder/strongroom.toml:{line}:{column}: ");
        assert!(error.to_string().starts_with(&place), "{error}");
    }
}

#[test]
fn inherited_variables_are_only_those_named() {
    let text = "[workload]\nprogram = 'a'\ninsecure-inherit-environment = ['CARGO_PKG_NAME', 'NOT_SET_ANYWHERE']";
    let file = parse(text).unwrap();
    let names: Vec<_> = file.workload.environment.keys().map(String::as_str).collect();
    assert_eq!(names, ["CARGO_PKG_NAME", "HOME", "PATH"]);
}

#[test]
fn command_line_values_are_checked_alike() {
    assert_eq!(parse_memory("2G"), Ok(2 << 30));
    assert_eq!(parse_memory("16777216"), Ok(16 << 20));
    for bad in ["", "G", "-1M", "1.5G", "9999999999999999999G", "12X", "20000G"] {
        assert!(parse_memory(bad).is_err(), "{bad}");
    }
    let grant = parse_directory("a=b=/mnt:rw").unwrap();
    assert_eq!((grant.host.as_path(), grant.mount.as_str()), (Path::new("a=b"), "/mnt"));
    assert!(grant.writable && !parse_directory("a=/mnt").unwrap().writable);
    for bad in ["a", "=/mnt", "a=mnt", "a=/", "a=/mnt:rx", "a=/m//t", "a=/m/.."] {
        assert!(parse_directory(bad).is_err(), "{bad}");
    }
    for bad in ["a", "a:0", ":1", "a:65536", "a/b:1", "::1:80", "a b:1"] {
        assert!(parse_connect(bad).is_err(), "{bad}");
    }
    assert_eq!(parse_listen("[::1]:0=80").unwrap().port, 80);
    for bad in ["", "0", "a:1", "80=0", "80=x", "1.2.3.4"] {
        assert!(parse_listen(bad).is_err(), "{bad}");
    }
    for bad in ["A", "=b", "A=\0"] {
        assert!(parse_environment(bad).is_err(), "{bad}");
    }
    assert_eq!(parse_environment("A=b=c"), Ok(("A".into(), "b=c".into())));
}
