//! What a media node offers is found from every server of a cluster.

use callbin_tests::{
    Client, DEADLINE, Redis, Server, Socket,
    http::{Response, send},
    socket::Received,
    wait_until,
};

/// An offer that a media node refuses, so that it only shows whether one is asked.
fn offer(server: &Server, path: &str) -> Response {
    let offer = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n";
    send(server, "POST", path, &[("Content-Type", "application/sdp")], offer)
}

fn start(server: &Server, what: &str, more: &[&str]) -> Client {
    let path = if what == "publish" { "whip" } else { "whep" };
    let url = format!("{}{path}/studio", server.url());
    Client::start(server, &[&[what, url.as_str()], more].concat())
}

fn play(server: &Server) {
    wait_until("a live stream", DEADLINE, || (offer(server, "/whep/studio").status == 422).then_some(()));
    start(server, "play", &[])
        .wait_for_stats("red", |stats| stats.color().is_some_and(|[r, g, b]| r > 200 && g < 60 && b < 60));
}

fn registers(server: &Server, uid: &str) -> bool {
    let mut socket = Socket::connect(server);
    socket.send(&format!("HELLO {uid}"));
    socket.receive() == Received::Text("HELLO".into())
}

#[test]
fn a_stream_is_published_and_played_at_any_server() {
    let redis = Redis::start(&[]);
    let media = redis.node("media", &["--media", "--media-arg=--listen=[::]:0"]);
    let (two, three) = (redis.node("two", &[]), redis.node("three", &[]));
    media.wait_for_log("media node attached");
    for server in [&two, &three] {
        // Why the node refuses the offer comes back, too.
        wait_until("the media node to be known", DEADLINE, || {
            (offer(server, "/whip/studio").status == 422).then_some(())
        });
    }
    let publisher = start(&two, "publish", &["--size", "160x120", "--video-pattern", "red"]);
    media.wait_for_log("stream is live");
    play(&three);
    play(&media);
    assert_eq!(media.metric("callbin_streams "), Some(1.0));
    assert!(!registers(&three, "studio"), "its name is no peer's");
    drop(publisher);
    wait_until("its name to be free", DEADLINE, || registers(&three, "studio").then_some(()));
}

#[test]
fn a_stream_of_one_server_is_not_begun_again_at_another() {
    let redis = Redis::start(&[]);
    let flags = ["--media", "--media-arg=--listen=[::]:0"];
    let (one, two) = (redis.node("one", &flags), redis.node("two", &flags));
    [&one, &two].into_iter().for_each(|server| server.wait_for_log("media node attached"));
    let _publisher = start(&one, "publish", &["--size", "160x120", "--video-pattern", "red"]);
    one.wait_for_log("stream is live");
    assert_eq!(offer(&two, "/whip/studio").status, 409, "it has a publisher");
    play(&two);
    let streams = [&one, &two].map(|server| server.metric("callbin_streams "));
    assert_eq!(streams, [Some(1.0), Some(0.0)]);
}
