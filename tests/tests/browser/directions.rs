//! Each direction of each medium, with a browser that offers and one that answers: only the wanted media flow,
//! and all of them do. Each DTLS role, too.

use callbin_tests::{Bare, BrowserOptions, Client, DEADLINE, Site};

/// Flags of the client, and whether its sound, its video, the browser's sound and the browser's video flow.
const FLAGS: [(&[&str], [bool; 4]); 9] = [
    (&[], [true, true, true, true]),
    (&["--receive-only"], [false, false, true, true]),
    (&["--receive-only=audio"], [false, true, true, true]),
    (&["--receive-only=video"], [true, false, true, true]),
    (&["--send-only"], [true, true, false, false]),
    (&["--send-only=audio"], [true, true, false, true]),
    (&["--send-only=video"], [true, true, true, false]),
    (&["--no-audio"], [false, true, false, true]),
    (&["--no-video"], [true, false, true, false]),
];

#[track_caller]
fn assert_flows(
    flags: &[&str],
    [sound, picture, their_sound, their_picture]: [bool; 4],
    client: &mut Client,
    bare: &Bare,
) {
    let wait = |condition: &str, what: &str| {
        bare.run(&format!(
            "await bare.until(async () => {condition}, '{what} with {flags:?}'.replaceAll('\"', ''))"
        ));
    };
    if sound {
        wait("(await bare.packets('audio')) > 10", "sound");
    }
    if picture {
        wait("bare.frames() > 5", "a picture");
    }
    let flows = |event: &callbin_tests::client::Event| {
        (event.number("/audio/buffers") > 5.0) == their_sound
            && (event.number("/video/frames") > 5.0) == their_picture
    };
    client.wait_for_any(&format!("what the browser sends with {flags:?}"), DEADLINE, |event| {
        event.name() == "stats" && flows(event)
    });
    let packets = bare.eval("(async () => [await bare.packets('audio'), await bare.packets('video')])()");
    assert_eq!(packets[0].as_f64() > Some(0.0), sound, "{flags:?}: {packets}");
    assert_eq!(packets[1].as_f64() > Some(0.0), picture, "{flags:?}: {packets}");
}

#[test]
fn the_client_offers() {
    let site = Site::with(BrowserOptions::default());
    for (number, (flags, flow)) in (0..).zip(FLAGS) {
        let bare = Bare::open(&site.browser, &site.server, &format!("bare{number}"));
        bare.run("await bare.media(); bare.prepareAnswer = bare.addMedia");
        let uid = format!("bare{number}");
        let mut client = Client::start(&site.server, &[&["call", &uid, "--size", "320x240"], flags].concat());
        client.wait_for("answer-received");
        assert_flows(flags, flow, &mut client, &bare);
        client.hang_up();
    }
}

#[test]
fn the_browser_offers() {
    let site = Site::with(BrowserOptions::default());
    for (number, (flags, flow)) in (0..).zip(FLAGS) {
        let bare = Bare::open(&site.browser, &site.server, &format!("bare{number}"));
        let uid = format!("gst{number}");
        let mut client =
            Client::start(&site.server, &[&["wait", "--id", &uid, "--size", "320x240"], flags].concat());
        client.wait_for("waiting");
        bare.run(&format!(
            "await bare.call('{uid}'); bare.connect(); await bare.addMedia(); await bare.negotiate()"
        ));
        assert_flows(flags, flow, &mut client, &bare);
        client.hang_up();
    }
}

/// Each DTLS role in both roles of offer and answer (RFC 8842, section 5).
#[test]
fn either_side_begins_the_dtls_handshake_whoever_offers() {
    let site = Site::with(BrowserOptions::default());
    for (number, (setup, role)) in (0..).zip([("active", "client"), ("passive", "server")]) {
        let bare = Bare::open(&site.browser, &site.server, &format!("offers{number}"));
        let uid = format!("gst{number}");
        let mut client = Client::start(&site.server, &["wait", "--id", &uid, "--size", "320x240"]);
        client.wait_for("waiting");
        bare.run(&format!(
            "await bare.call('{uid}'); bare.connect(); await bare.addMedia(); \
             bare.mangle = (sdp) => sdp.replaceAll('a=setup:actpass', 'a=setup:{setup}'); await bare.negotiate()"
        ));
        bare.assert_plays();
        assert_eq!(bare.eval("bare.dtlsRole()"), role);
        client.hang_up();

        let uid = format!("answers{number}");
        let bare = Bare::open(&site.browser, &site.server, &uid);
        bare.run(&format!(
            "await bare.media(); bare.prepareAnswer = bare.addMedia; \
             bare.mangleAnswer = (sdp) => sdp.replaceAll('a=setup:active', 'a=setup:{setup}')"
        ));
        let mut client = Client::start(&site.server, &["call", &uid, "--size", "320x240"]);
        client.wait_for("dtls-connected");
        bare.assert_plays();
        assert_eq!(bare.eval("bare.dtlsRole()"), role);
        client.hang_up();
    }
}
