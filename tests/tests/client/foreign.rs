//! `callbin` and a webrtcbin with default settings, which has a transport for each m-line.

use callbin_tests::{Client, DEADLINE, Server, client::Event, machine, webrtcbin::Webrtcbin};

#[track_caller]
fn assert_sees_red_and_hears(client: &mut Client) {
    let red = |stats: &Event| stats.color().is_some_and(|[r, g, b]| r > 150 && g.max(b) < 60);
    client.wait_for_stats("a red picture", |stats| red(stats) && stats.number("/video/fps") > 5.0);
    client.wait_for_stats("sound", |stats| stats.number("/audio/level_db") > -40.0);
    client.wait_for_stats("the path", |stats| stats.text("/path/local") == "host");
}

/// The offer is for one transport, and the answer has three.
#[test]
fn a_webrtcbin_that_does_not_bundle_answers() {
    let _machine = machine::busy();
    let server = Server::start(&[]);
    let peer = Webrtcbin::start(&server, &["foreign"]);
    let args = ["call", "foreign", "--id", "gst", "--size", "320x240", "--send-text", "hello"];
    let mut client = Client::start(&server, &args);
    peer.expect(&["answer not bundled", "video", "audio", "text hello"]);
    client.wait_for_any("a text", DEADLINE, |event| event.name() == "data" && event.text("/text") == "echo");
    assert_sees_red_and_hears(&mut client);
    client.hang_up();
}

#[test]
fn a_webrtcbin_that_does_not_bundle_offers() {
    let _machine = machine::busy();
    let server = Server::start(&[]);
    let mut client = Client::start(&server, &["wait", "--id", "gst", "--size", "320x240"]);
    client.wait_for("waiting");
    let peer = Webrtcbin::start(&server, &["foreign", "gst"]);
    peer.expect(&["offer not bundled", "video", "audio"]);
    assert_sees_red_and_hears(&mut client);
    client.hang_up();
}
