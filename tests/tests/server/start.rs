//! Starting the server: flags, certificates, errors, and the HTTP answers.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Output},
};

use callbin_tests::{DEADLINE, Server, Socket, program, wait_until};
use tempfile::TempDir;

/// Runs the server to its end, which must fail.
fn fails(flags: &[&str]) -> (i32, String) {
    let Output { status, stderr, .. } =
        Command::new(program("callbin-server")).args(flags).output().expect("the server starts");
    let stderr = String::from_utf8(stderr).expect("stderr is text");
    assert!(!stderr.contains("panicked"), "{stderr}");
    (status.code().expect("an exit code"), stderr)
}

#[track_caller]
fn assert_fails(flags: &[&str], code: i32, words: &[&str]) {
    let (found, stderr) = fails(flags);
    assert_eq!(found, code, "{flags:?}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{flags:?}: no {word:?} in: {stderr}");
    }
}

fn write_certificate(dir: &Path, cert: &str, key: &str) -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("rcgen works");
    fs::write(dir.join(cert), made.cert.pem()).expect("the folder is ours");
    fs::write(dir.join(key), made.signing_key.serialize_pem()).expect("the folder is ours");
    made.cert.der().to_vec()
}

fn path(dir: &TempDir) -> &str {
    dir.path().to_str().expect("the path is text")
}

/// A plain HTTP request; returns the status line with the headers, and the body.
fn http(server: &Server, request: &str) -> (String, String) {
    http_with(server, request, "X-Nothing: special")
}

fn http_with(server: &Server, request: &str, header: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket has options");
    write!(stream, "{request} HTTP/1.1\r\nHost: test\r\n{header}\r\nConnection: close\r\n\r\n")
        .expect("the socket is open");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("HTTP");
    (head.to_lowercase(), body.to_owned())
}

mod errors {
    use super::*;

    #[test]
    fn wrong_flags() {
        assert_fails(&["--port", "x"], 2, &["--port"]);
        assert_fails(&["--nonsense"], 2, &["--nonsense"]);
        assert_fails(&["--disable-ssl", "--log", "=="], 2, &["--log"]);
        assert_fails(&["--disable-ssl", "--port", "0", "--www", "/nonexistent"], 2, &["--www", "index.html"]);
    }

    #[test]
    fn port_taken() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let port = taken.local_addr().expect("bound").port().to_string();
        let flags = ["--disable-ssl", "--addr", "127.0.0.1", "--port", &port];
        assert_fails(&flags, 3, &["another program uses the port", "--port", &port]);
    }

    #[test]
    fn address_not_ours() {
        assert_fails(&["--disable-ssl", "--addr", "192.0.2.1"], 3, &["192.0.2.1"]);
        assert_fails(&["--disable-ssl", "--addr", "no such name"], 3, &["no such name"]);
    }

    #[test]
    fn no_certificate() {
        let dir = TempDir::new().expect("a folder");
        let words = ["cert.pem", "--self-signed", "--disable-ssl"];
        assert_fails(&["--port", "0", "--cert-path", path(&dir)], 1, &words);
    }

    #[test]
    fn unusable_certificates() {
        let dir = TempDir::new().expect("a folder");
        let flags = ["--port", "0", "--cert-path", path(&dir)];
        write_certificate(dir.path(), "cert.pem", "key.pem");
        write_certificate(dir.path(), "other.pem", "key.pem");
        assert_fails(&flags, 1, &["cert.pem", "key.pem", "do not match"]);
        fs::write(dir.path().join("key.pem"), "garbage").expect("the folder is ours");
        assert_fails(&flags, 1, &["key.pem", "private key"]);
        fs::write(dir.path().join("cert.pem"), "").expect("the folder is ours");
        assert_fails(&flags, 1, &["cert.pem", "certificate"]);
        fs::remove_file(dir.path().join("cert.pem")).expect("the folder is ours");
        fs::create_dir(dir.path().join("cert.pem")).expect("the folder is ours");
        assert_fails(&flags, 1, &["cannot read", "cert.pem"]);
    }
}

mod tls {
    use super::*;

    fn start(dir: &TempDir, flags: &[&str]) -> Server {
        Server::start_on(0, &[&["--cert-path", path(dir)], flags].concat())
    }

    #[test]
    fn a_given_certificate_is_used() {
        let dir = TempDir::new().expect("a folder");
        let der = write_certificate(dir.path(), "cert.pem", "key.pem");
        let server = start(&dir, &[]);
        assert!(server.ws_url().starts_with("wss://"));
        let socket = Socket::register(&server, "alice");
        assert_eq!(socket.server_certificate(), der);
    }

    #[test]
    fn letsencrypt_names_its_files_differently() {
        let dir = TempDir::with_prefix("letsencrypt").expect("a folder");
        write_certificate(dir.path(), "fullchain.pem", "privkey.pem");
        Socket::register(&start(&dir, &[]), "alice");
    }

    #[test]
    fn calls_work_as_without() {
        let dir = TempDir::new().expect("a folder");
        let server = start(&dir, &["--self-signed"]);
        let (mut a, mut b) = (Socket::register(&server, "a"), Socket::register(&server, "b"));
        a.send("SESSION b");
        a.expect("SESSION_OK");
        let large = "x".repeat(500_000);
        a.send(&large);
        b.expect(&large);
        a.cut();
        b.expect_close(1000, "");
    }

    #[test]
    fn self_signed_is_made_once_and_kept() {
        let dir = TempDir::new().expect("a folder");
        let first = Socket::connect(&start(&dir, &["--self-signed"])).server_certificate();
        let second = Socket::connect(&start(&dir, &["--self-signed"])).server_certificate();
        assert_eq!(first, second);
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(dir.path().join("key.pem")).expect("a key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_new_certificate_serves_new_connections_and_drops_nobody() {
        let dir = TempDir::new().expect("a folder");
        let old = write_certificate(dir.path(), "cert.pem", "key.pem");
        let server = start(&dir, &["--restart-on-cert-change", "--watch-interval", "0.1"]);
        let (mut a, mut b) = (Socket::register(&server, "a"), Socket::register(&server, "b"));
        a.send("SESSION b");
        a.expect("SESSION_OK");

        fs::write(dir.path().join("cert.pem"), "broken").expect("the folder is ours");
        server.wait_for_log("keeping the old one");
        assert_eq!(Socket::connect(&server).server_certificate(), old);

        let new = write_certificate(dir.path(), "cert.pem", "key.pem");
        server.wait_for_log("new certificate loaded");
        assert_eq!(Socket::connect(&server).server_certificate(), new);
        a.send("still here?");
        b.expect("still here?");
    }

    #[test]
    fn plain_http_on_the_tls_port_disturbs_nobody() {
        let dir = TempDir::new().expect("a folder");
        let server = start(&dir, &["--self-signed", "--hello-timeout", "2"]);
        let mut garbage = TcpStream::connect(("127.0.0.1", server.port())).expect("the server listens");
        garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("the socket is open");
        let mut answer = Vec::new();
        let _ = garbage.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "never plaintext");
        // A silent connection is closed, too.
        let mut silent = TcpStream::connect(("127.0.0.1", server.port())).expect("the server listens");
        silent.set_read_timeout(Some(DEADLINE)).expect("a socket has options");
        assert_eq!(silent.read(&mut [0; 1]).expect("an end, not a timeout"), 0);
        Socket::register(&server, "alice");
    }
}

mod web {
    use super::*;

    #[test]
    fn health() {
        let server = Server::start(&[]);
        let (head, body) = http(&server, "GET /health");
        assert!(head.starts_with("http/1.1 200 ok"), "{head}");
        assert_eq!(body, "OK\n");
        let server = Server::start(&["--health", "/up"]);
        assert!(http(&server, "GET /up").0.starts_with("http/1.1 200"));
        assert!(http(&server, "GET /health").0.starts_with("http/1.1 404"));
    }

    #[test]
    fn the_page() {
        let server = Server::start(&[]);
        let (head, body) = http(&server, "GET /");
        assert!(head.starts_with("http/1.1 200"), "{head}");
        for header in [
            "content-type: text/html; charset=utf-8",
            "content-security-policy:",
            "cache-control: no-cache",
            "nosniff",
        ] {
            assert!(head.contains(header), "{header} in {head}");
        }
        assert!(body.contains("<title>callbin"));
        let address = body.split_once("src=\"v/").expect("a script").1.split('"').next().expect("its end");
        let (kept, script) = http(&server, &format!("GET /v/{address}"));
        assert!(kept.contains("cache-control: public, max-age=31536000, immutable"), "{kept}");
        assert!(kept.contains("vary: accept-encoding") && !kept.contains("content-encoding"), "{kept}");
        assert!(script.contains("import ") && !script.contains("// @ts-check"), "{script}");
        assert!(http(&server, "GET /v/0000/start.js").0.starts_with("http/1.1 404"));
        let (kept, _) = http_with(&server, "HEAD /start.js", "Accept-Encoding: gzip, br");
        assert!(kept.contains("content-encoding: br") && kept.contains("cache-control: no-cache"), "{kept}");
        let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("an etag");
        let (head, body) = http_with(&server, "GET /", &format!("If-None-Match: {etag}"));
        assert!(head.starts_with("http/1.1 304"), "{head}");
        assert_eq!(body, "");
        assert!(http(&server, "GET /style.css").0.contains("text/css"));
        assert!(http(&server, "GET /main.js").0.contains("text/javascript"));
        assert!(http(&server, "HEAD /").1.is_empty());
    }

    #[test]
    fn who_may_show_the_page_in_a_frame() {
        let ancestors = |server: &Server| {
            let (head, _) = http(server, "GET /");
            assert!(!head.contains("x-frame-options"), "it can name no list: {head}");
            let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: "));
            let sources = policy.and_then(|policy| policy.split("frame-ancestors ").nth(1));
            sources.expect("frame-ancestors").to_owned()
        };
        assert_eq!(ancestors(&Server::start(&[])), "'self'");
        let flags = ["--frame-ancestors", "self,https://*.example.org"];
        assert_eq!(ancestors(&Server::start(&flags)), "'self' https://*.example.org");
        let mut command = Command::new(program("callbin-server"));
        command.args(["--addr", "127.0.0.1", "--port", "0", "--disable-ssl"]);
        command.env("CALLBIN_FRAME_ANCESTORS", "none");
        assert_eq!(ancestors(&Server::spawn(&mut command)), "'none'");
    }

    #[test]
    fn what_is_not_there_or_not_allowed() {
        let server = Server::start(&[]);
        for path in
            ["/nothing", "/../Cargo.toml", "/%2e%2e/Cargo.toml", "/test/protocol.test.js", "/.git/config"]
        {
            assert!(http(&server, &format!("GET {path}")).0.starts_with("http/1.1 404"), "{path}");
        }
        let (head, _) = http(&server, "POST /");
        assert!(head.starts_with("http/1.1 405") && head.contains("allow: get, head"), "{head}");
        let (head, _) = http_with(&server, "GET /ws", "Upgrade: websocket");
        assert!(head.starts_with("http/1.1 400"), "{head}");
        // Other upgrades are ignored.
        let (head, body) = http_with(&server, "GET /health", "Upgrade: h2c");
        assert!(head.starts_with("http/1.1 200") && body == "OK\n", "{head}");
    }

    #[test]
    fn a_folder_instead_of_the_binary() {
        let dir = TempDir::new().expect("a folder");
        fs::write(dir.path().join("index.html"), "mine").expect("the folder is ours");
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("passwd")).expect("the folder is ours");
        let server = Server::start(&["--www", path(&dir)]);
        assert_eq!(http(&server, "GET /").1, "mine");
        fs::write(dir.path().join("index.html"), "changed").expect("the folder is ours");
        assert_eq!(http(&server, "GET /").1, "changed");
        assert!(http(&server, "GET /passwd").0.starts_with("http/1.1 404"), "a link out of the folder");
    }

    #[test]
    fn a_request_that_never_ends_is_cut() {
        let server = Server::start(&["--hello-timeout", "2"]);
        let mut slow = TcpStream::connect(("127.0.0.1", server.port())).expect("the server listens");
        slow.set_read_timeout(Some(DEADLINE)).expect("a socket has options");
        slow.write_all(b"GET / HTTP/1.1\r\nX: ").expect("the socket is open");
        let mut answer = Vec::new();
        slow.read_to_end(&mut answer).expect("an end, not a timeout");
        // A header without end is refused, too.
        let mut huge = TcpStream::connect(("127.0.0.1", server.port())).expect("the server listens");
        huge.set_read_timeout(Some(DEADLINE)).expect("a socket has options");
        let _ = huge.write_all(&[b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 100_000]].concat());
        let _ = huge.read_to_end(&mut answer);
        Socket::register(&server, "alice");
    }
}

#[test]
fn listens_on_ipv4_and_ipv6_by_default() {
    let mut command = Command::new(program("callbin-server"));
    let server = Server::spawn(command.args(["--disable-ssl", "--port", "0"]));
    assert!(server.url().starts_with("http://localhost:"), "{}", server.url());
    TcpStream::connect(("127.0.0.1", server.port())).expect("IPv4");
    if Path::new("/proc/net/if_inet6").exists() {
        TcpStream::connect(("::1", server.port())).expect("IPv6");
    }
}

#[test]
fn flags_can_be_environment_variables() {
    let mut command = Command::new(program("callbin-server"));
    command.env("CALLBIN_DISABLE_SSL", "true").env("CALLBIN_ADDR", "127.0.0.1").env("CALLBIN_PORT", "0");
    let server = Server::spawn(command.env("CALLBIN_HELLO_TIMEOUT", "0.2"));
    assert!(server.url().starts_with("http://127.0.0.1:"));
    Socket::connect(&server).expect_close(1002, "no HELLO in time");
}

#[test]
fn out_of_descriptors_it_recovers() {
    let program = program("callbin-server");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 96; exec \"$0\" \"$@\""]).arg(program);
    let server = Server::spawn(command.args(["--disable-ssl", "--addr", "127.0.0.1", "--port", "0"]));
    let connections: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(("127.0.0.1", server.port())).expect("the backlog takes it"))
        .collect();
    server.wait_for_log("cannot accept");
    drop(connections);
    wait_until("all to be forgotten", DEADLINE, || {
        (server.metric("callbin_connections ")? == 0.0).then_some(())
    });
    let mut alice = Socket::register(&server, "alice");
    alice.expect_nothing("SESSION x", "ERROR peer 'x' not found");
}
