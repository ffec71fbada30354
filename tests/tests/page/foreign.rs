//! The page and foreign peers: GStreamer's default webrtcbin, and a peer that changes its offer.

use callbin_tests::{CALLER, DEADLINE, Page, Site, webrtcbin::Webrtcbin};

#[track_caller]
fn assert_sees_red(page: &Page, uid: &str) {
    let probe = page.video_probe(uid);
    assert!(probe.r > 200.0 && probe.g < 40.0 && probe.b < 40.0, "not red: {probe:?}");
    page.wait_for_sound(uid, 0.01);
    page.assert_no_console_errors();
}

#[test]
fn a_webrtcbin_that_does_not_bundle_answers() {
    let site = Site::up();
    let peer = Webrtcbin::start(&site.server, &["gst"]);
    let page = site.open("id=web&call=gst");
    page.wait_for_peer("gst", "connected");
    peer.expect(&["answer not bundled", "video", "audio"]);
    assert_sees_red(&page, "gst");
}

#[test]
fn a_webrtcbin_that_does_not_bundle_offers() {
    let site = Site::up();
    let page = site.open("id=web");
    page.wait_for_state("ready");
    let peer = Webrtcbin::start(&site.server, &["gst", "web"]);
    page.wait_for_state("ringing");
    page.click("#accept");
    page.wait_for_peer(CALLER, "connected");
    peer.expect(&["offer not bundled", "video", "audio"]);
    assert_sees_red(&page, CALLER);
}

/// A peer that offers data, and adds video before it has an answer.
const THINKS_TWICE: &str = "(async () => {
    const socket = new WebSocket(location.origin.replace('http', 'ws'));
    const say = (it) => socket.send(JSON.stringify(it));
    const connection = new RTCPeerConnection();
    const early = [];
    window.foreign = { connection, answers: [], errors: [] };
    connection.onicecandidate = ({ candidate }) => candidate && early.push({ ice: candidate });
    const offers = [];
    const offer = async () => {
        await connection.setLocalDescription();
        offers.push({ sdp: connection.localDescription.toJSON() });
    };
    connection.createDataChannel('x');
    await offer();
    connection.addTransceiver('video', { direction: 'recvonly' });
    await offer();
    socket.onmessage = async ({ data }) => {
        if (data === 'HELLO') return socket.send('SESSION web');
        if (data === 'SESSION_OK') {
            for (const it of [...offers, ...early]) say(it);
            connection.onicecandidate = ({ candidate }) => candidate && say({ ice: candidate });
            return;
        }
        try {
            const { sdp, ice } = JSON.parse(data);
            if (sdp) foreign.answers.push(sdp.sdp);
            if (sdp) await connection.setRemoteDescription(sdp);
            else await connection.addIceCandidate(ice);
        } catch (error) {
            foreign.errors.push(String(error));
        }
    };
    if (socket.readyState !== 1) await new Promise((done) => (socket.onopen = done));
    socket.send('HELLO foreign');
})()";

#[test]
fn of_two_offers_the_newest_is_answered() {
    let site = Site::up();
    let page = site.waiting("web");
    let peer = site.open("id=other");
    peer.eval(THINKS_TWICE);
    page.wait_for_peer(CALLER, "connected");
    peer.wait_for("the picture", "foreign.connection.getReceivers()[0]?.track.muted === false", DEADLINE);
    assert_eq!(peer.eval("foreign.answers.length"), 1);
    assert_eq!(peer.eval("foreign.errors"), serde_json::json!([]));
}
