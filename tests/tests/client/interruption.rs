//! No change during a call interrupts what is not changed, and what is wanted again comes at once. In both roles, and in rooms.

use callbin_tests::{Bare, BrowserOptions, Client, Site, machine};

use crate::renegotiation::{MAX_GAP_MS, assert_both_play, assert_client_sees_nothing, called, calling};

/// Statements for [`Bare::run`]: stops a medium, or adds it again.
fn stop(kind: &str) -> String {
    format!(
        "pc.getTransceivers().filter(({{ receiver, direction }}) => receiver.track.kind === '{kind}' && direction !== 'stopped')\
         .forEach((it) => it.stop()); await bare.negotiate()"
    )
}

fn add(kind: &str) -> String {
    format!(
        "const stream = await bare.media(); pc.addTrack(stream.getTracks().find((it) => it.kind === '{kind}'), stream); \
         await bare.negotiate()"
    )
}

fn direct(kind: &str, direction: &str) -> String {
    format!(
        "pc.getTransceivers().filter(({{ receiver, direction }}) => receiver.track.kind === '{kind}' && direction !== 'stopped')\
         .forEach((it) => {{ it.direction = '{direction}'; }}); await bare.negotiate()"
    )
}

/// Makes a change, and checks that the picture towards the browser is not interrupted.
#[track_caller]
fn assert_picture_goes_on(bare: &Bare, what: &str, change: &str) {
    bare.run(&format!(
        "bare.mark(); {change}; const changed = performance.now(); \
         await bare.until(() => performance.now() > changed + 700, 'some time')"
    ));
    let gap = bare.gap();
    assert!(gap < MAX_GAP_MS, "{what}: {gap} ms without a picture");
}

/// The same for sound.
#[track_caller]
fn assert_sound_goes_on(bare: &Bare, what: &str, change: &str) {
    bare.run(&format!(
        "bare.mark(); {change}; const changed = performance.now(); \
         await bare.until(() => performance.now() > changed + 700, 'some time')"
    ));
    let gap = bare.sound_gap();
    assert!(gap < MAX_GAP_MS, "{what}: {gap} ms without sound");
}

/// Makes a change after which all media are wanted, and checks that they come soon after the answer.
#[track_caller]
fn assert_comes_at_once(bare: &Bare, what: &str, change: &str) {
    bare.run(&format!("{change}; bare.mark()"));
    bare.assert_plays();
    let (picture, sound) = (bare.gap(), bare.sound_gap());
    assert!(
        picture < MAX_GAP_MS && sound < MAX_GAP_MS,
        "{what}: {picture} ms without a picture, {sound} ms without sound"
    );
}

/// Each kind of change in a call that plays.
fn change_everything(client: &mut Client, bare: &Bare) {
    assert_picture_goes_on(bare, "our camera is off", &direct("video", "recvonly"));
    assert_picture_goes_on(bare, "our camera is on again", &direct("video", "sendrecv"));
    assert_sound_goes_on(bare, "no picture to us", &direct("video", "sendonly"));
    assert_comes_at_once(bare, "a picture to us again", &direct("video", "sendrecv"));
    assert_sound_goes_on(bare, "the picture is removed", &stop("video"));
    assert_sound_goes_on(bare, "the picture is added again", &add("video"));
    assert_both_play(client, bare);
    // Its m-line names the transport.
    assert_picture_goes_on(bare, "sound is removed", &stop("audio"));
    assert_picture_goes_on(bare, "sound is added again", &add("audio"));
    assert_both_play(client, bare);
    for _ in 0..2 {
        bare.run("for (const t of pc.getTransceivers()) if (t.direction !== 'stopped') t.direction = 'inactive'; await bare.negotiate()");
        assert_client_sees_nothing(client);
        let resume = "for (const t of pc.getTransceivers()) if (t.direction !== 'stopped') t.direction = 'sendrecv'; await bare.negotiate()";
        assert_comes_at_once(bare, "hold is over", resume);
    }
    for name in ["VP8", "H264", "VP8"] {
        let order = format!(
            "const {{ codecs }} = RTCRtpReceiver.getCapabilities('video'); const first = ({{ mimeType }}) => mimeType.endsWith('{name}'); \
             for (const t of pc.getTransceivers()) if (t.receiver.track.kind === 'video' && t.direction !== 'stopped') \
             t.setCodecPreferences([...codecs.filter(first), ...codecs.filter((it) => !first(it))]); await bare.negotiate()"
        );
        assert_picture_goes_on(bare, &format!("{name} is first"), &order);
    }
    assert_picture_goes_on(bare, "ICE restarts", "pc.restartIce(); await bare.negotiate()");
    assert_both_play(client, bare);
}

#[test]
fn no_change_interrupts_what_goes_on_if_the_browser_called() {
    let _machine = machine::alone();
    let (_site, mut client, bare) = calling(&[]);
    change_everything(&mut client, &bare);
}

#[test]
fn no_change_interrupts_what_goes_on_if_the_client_called() {
    let _machine = machine::alone();
    let (_site, mut client, bare) = called();
    change_everything(&mut client, &bare);
}

#[test]
fn no_change_interrupts_what_goes_on_in_a_room() {
    let _machine = machine::alone();
    let site = Site::with(BrowserOptions::default());
    let bare = Bare::open(&site.browser, &site.server, "bare");
    let args = ["room", "r", "--id", "gst", "--size", "320x240", "--view", "none"];
    let mut client = Client::start(&site.server, &args);
    client.wait_for("joined");
    bare.run(
        "await bare.join('r'); bare.connect(); bare.adopt(bare.pc.createDataChannel('chat')); await bare.addMedia(); \
         await bare.negotiate()",
    );
    assert_both_play(&mut client, &bare);
    change_everything(&mut client, &bare);
}
