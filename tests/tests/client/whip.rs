//! `callbin publish` and `callbin play`, with the server's WHIP and WHEP, and with servers that answer as they like.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use callbin_tests::{Client, DEADLINE, Server, client::Event, wait_until};

const SMALL: [&str; 2] = ["--size", "160x120"];

fn waiting(server: &Server, uid: &str, args: &[&str]) -> Client {
    let mut client = Client::start(server, &[&["wait", "--id", uid], &SMALL[..], args].concat());
    client.wait_for("waiting");
    client
}

fn start(server: &Server, mode: &str, url: &str, args: &[&str]) -> Client {
    Client::start(server, &[&[mode, url], &SMALL[..], args].concat())
}

fn shows(stats: &Event, color: [u8; 3]) -> bool {
    let near = |(a, b): (u8, u8)| a.abs_diff(b) < 24;
    stats.number("/video/fps") > 5.0
        && stats.color().is_some_and(|seen| seen.into_iter().zip(color).all(near))
}

#[test]
fn a_peer_gets_what_is_published() {
    let server = Server::start(&[]);
    let mut studio = waiting(&server, "studio", &[]);
    let url = format!("{}whip/studio", server.url());
    let mut publisher = start(&server, "publish", &url, &["--video-pattern", "red"]);
    for event in ["calling", "offer-sent", "answer-received", "dtls-connected"] {
        publisher.wait_for(event);
    }
    studio.wait_for_stats("red", |stats| shows(stats, [255, 0, 0]));
    studio.wait_for_stats("sound", |stats| stats.number("/audio/level_db") > -30.0);
    publisher.hang_up();
    assert_eq!(studio.wait_for("ended").text("/reason"), "peer-left");
}

#[test]
fn a_peer_is_played_until_we_hang_up() {
    let server = Server::start(&[]);
    let mut camera = waiting(&server, "camera", &["--video-pattern", "blue"]);
    let url = format!("{}whep/camera", server.url());
    let mut player = start(&server, "play", &url, &[]);
    player.wait_for_stats("blue", |stats| shows(stats, [0, 0, 255]));
    player.wait_for_stats("sound", |stats| stats.number("/audio/level_db") > -30.0);
    player.hang_up();
    // Only the DELETE can tell the server so.
    assert_eq!(camera.wait_for("ended").text("/reason"), "peer-left");
    camera.hang_up();
    let mut again = start(&server, "play", &url, &[]);
    assert_eq!(again.exit_code(), 7, "{}", again.errors());
    assert!(again.errors().contains("HTTP 409"), "{}", again.errors());
}

/// A server that answers each request with the next of its answers, and the requests so far.
struct Scripted {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = requests.clone();
        thread::spawn(move || {
            let mut answers = answers.into_iter();
            for mut stream in listener.incoming().map_while(Result::ok) {
                let request = read(&stream);
                // Asking for ICE servers is no request for a session.
                let answer = match request.starts_with("OPTIONS") {
                    true => Some("HTTP/1.1 204 No Content\r\n\r\n".into()),
                    false => answers.next(),
                };
                log.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                let answer =
                    answer.unwrap_or_else(|| "HTTP/1.1 500 Enough\r\ncontent-length: 0\r\n\r\n".into());
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { address, requests }
    }

    fn requests(&self, method: &str) -> Vec<String> {
        let all = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|request| request.starts_with(method)).cloned().collect()
    }
}

/// A request, with its body.
fn read(stream: &TcpStream) -> String {
    let (mut reader, mut head) = (BufReader::new(stream), String::new());
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|bytes| bytes > 0) {}
    let lower = head.to_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    let _ = reader.read_exact(&mut body);
    head + &String::from_utf8_lossy(&body)
}

fn status(line: &str, headers: &str) -> String {
    format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n{headers}\r\n")
}

#[test]
fn redirects_are_followed_and_the_token_stays_where_it_belongs() {
    let server = Server::start(&[]);
    let mut studio = waiting(&server, "studio", &[]);
    let real = format!("{}whip/studio", server.url());
    let foreign = Scripted::start(vec![status("307 Temporary Redirect", &format!("location: {real}\r\n"))]);
    let answers = vec![
        status("307 Temporary Redirect", "location: ./elsewhere\r\n"),
        status("308 Permanent Redirect", &format!("location: http://{}/foreign\r\n", foreign.address)),
    ];
    let scripted = Scripted::start(answers);
    let url = format!("http://{}/live/one", scripted.address);
    let publisher = start(&server, "publish", &url, &["--token", "hush", "--video-pattern", "red"]);
    studio.wait_for_stats("red", |stats| shows(stats, [255, 0, 0]));
    publisher.hang_up();
    let (own, others) = (scripted.requests("POST"), foreign.requests("POST"));
    assert_eq!((own.len(), others.len()), (2, 1), "{own:?} {others:?}");
    for (request, path) in own.iter().chain(&others).zip(["/live/one", "/live/elsewhere", "/foreign"]) {
        let lower = request.to_lowercase();
        assert!(lower.starts_with(&format!("post {path} ")), "{request}");
        assert!(lower.contains("content-type: application/sdp"), "{request}");
        assert!(request.contains("a=candidate:") && request.contains("a=sendonly"), "{request}");
        assert!(!request.contains("m=application"), "{request}");
    }
    assert!(own.iter().all(|it| it.to_lowercase().contains("authorization: bearer hush")), "{own:?}");
    let others = foreign.requests("");
    assert!(!others.iter().any(|it| it.contains("hush") || it.contains("authorization")), "{others:?}");
}

/// The next request for a session, and where to answer it.
#[track_caller]
fn next_request(listener: &TcpListener) -> (String, TcpStream) {
    listener.set_nonblocking(true).expect("a socket");
    loop {
        let (mut stream, _) = wait_until("a request", DEADLINE, || listener.accept().ok());
        stream.set_nonblocking(false).expect("a socket");
        let request = read(&stream);
        if !request.starts_with("OPTIONS") {
            return (request, stream);
        }
        stream.write_all(status("204 No Content", "").as_bytes()).expect("it waits");
    }
}

/// The address of one of our sockets, in an offer.
fn host_candidate(offer: &str) -> Option<SocketAddrV4> {
    let mut candidates = offer.lines().filter_map(|line| line.strip_prefix("a=candidate:"));
    candidates.find_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
        [_, "1", udp, _, ip, port, "typ", "host", ..] if udp.eq_ignore_ascii_case("udp") => {
            Some(SocketAddrV4::new(ip.parse().ok()?, port.parse().ok()?))
        }
        _ => None,
    })
}

#[test]
fn a_session_that_is_made_while_we_hang_up_is_ended() {
    let server = Server::start(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}/whip", listener.local_addr().expect("it is bound"));
    let mut publisher = start(&server, "publish", &url, &[]);
    let (offer, mut stream) = next_request(&listener);
    let socket = host_candidate(&offer).expect("a candidate");
    assert!(UdpSocket::bind(socket).is_err(), "it is in use");
    publisher.process().signal("INT");
    wait_until("the end of the connection", DEADLINE, || UdpSocket::bind(socket).ok());
    // Without an answer to its offer it does not know the session's URL.
    stream.write_all(status("201 Created", "location: /session\r\n").as_bytes()).expect("it waits");
    let (request, mut stream) = next_request(&listener);
    assert!(request.starts_with("DELETE /session "), "{request}");
    stream.write_all(status("200 OK", "").as_bytes()).expect("it waits");
    assert_eq!(publisher.exit_code(), 0, "{}", publisher.errors());
}

#[test]
fn each_refusal_has_its_code_and_words() {
    let server = Server::start(&[]);
    for (line, headers, code, words) in [
        ("401 Unauthorized", "", 13, "it wants a valid token"),
        ("404 Not Found", "", 6, "nothing exists at this URL"),
        ("503 Service Unavailable", "retry-after: 9\r\n", 7, "try again in 9 s"),
        ("301 Moved Permanently", "location: /x\r\n", 3, "a redirect"),
    ] {
        let scripted = Scripted::start(vec![status(line, headers)]);
        let mut publisher = start(&server, "publish", &format!("http://{}/x", scripted.address), &[]);
        assert_eq!(publisher.exit_code(), code, "{}", publisher.errors());
        assert!(publisher.errors().contains(words), "{}", publisher.errors());
    }
}
