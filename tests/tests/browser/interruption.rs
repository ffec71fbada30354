//! No change during a call interrupts what is not changed, and what is wanted again comes at once. In both roles, and in rooms.

use callbin_tests::{Bare, BrowserOptions, Client, Site, machine};

use crate::renegotiation::{MAX_GAP_MS, assert_both_play, assert_client_sees_nothing, called, calling};

const ALL: &str = "audio, video";

/// Statements for [`Bare::run`]: changes the transceivers of these kinds, each as `it`, and negotiates.
fn each(kinds: &str, change: &str) -> String {
    format!(
        "for (const it of pc.getTransceivers()) if ('{kinds}'.includes(it.receiver.track.kind) && it.direction !== 'stopped') \
         {{ {change} }} await bare.negotiate()"
    )
}

fn stop(kind: &str) -> String {
    each(kind, "it.stop();")
}

fn direct(kinds: &str, direction: &str) -> String {
    each(kinds, &format!("it.direction = '{direction}';"))
}

fn add(kind: &str) -> String {
    format!(
        "const stream = await bare.media(); pc.addTrack(stream.getTracks().find((it) => it.kind === '{kind}'), stream); \
         await bare.negotiate()"
    )
}

/// Makes a change, and checks that the picture towards the browser is not interrupted.
#[track_caller]
fn assert_picture_goes_on(bare: &Bare, what: &str, change: &str) {
    assert_goes_on(bare, what, change, Bare::gap);
}

/// The same for sound.
#[track_caller]
fn assert_sound_goes_on(bare: &Bare, what: &str, change: &str) {
    assert_goes_on(bare, what, change, Bare::sound_gap);
}

#[track_caller]
fn assert_goes_on(bare: &Bare, what: &str, change: &str, longest: fn(&Bare) -> f64) {
    bare.run(&format!(
        "bare.mark(); {change}; const changed = performance.now(); \
         await bare.until(() => performance.now() > changed + 700, 'an interruption could be seen')"
    ));
    let gap = longest(bare);
    assert!(gap < MAX_GAP_MS, "{what}: {gap} ms of interruption");
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
        bare.run(&direct(ALL, "inactive"));
        assert_client_sees_nothing(client);
        assert_comes_at_once(bare, "hold is over", &direct(ALL, "sendrecv"));
    }
    for (name, keeps_others) in [("VP8", true), ("H264", true), ("VP8", false), ("VP8", true)] {
        let prefer = format!(
            "const {{ codecs }} = RTCRtpReceiver.getCapabilities('video'); const first = ({{ mimeType }}) => mimeType.endsWith('{name}'); \
             const others = codecs.filter((codec) => !first(codec)); \
             it.setCodecPreferences([...codecs.filter(first), ...({keeps_others} ? others : [])]);"
        );
        let what = if keeps_others { "first" } else { "the only codec" };
        assert_picture_goes_on(bare, &format!("{name} is {what}"), &each("video", &prefer));
    }
    assert_picture_goes_on(bare, "ICE restarts", "pc.restartIce(); await bare.negotiate()");
    assert_both_play(client, bare);
}

#[test]
fn no_change_interrupts_what_goes_on_if_the_browser_called() {
    let _machine = machine::shared();
    let (_site, mut client, bare) = calling(&[]);
    change_everything(&mut client, &bare);
}

#[test]
fn no_change_interrupts_what_goes_on_if_the_client_called() {
    let _machine = machine::shared();
    let (_site, mut client, bare) = called();
    change_everything(&mut client, &bare);
}

#[test]
fn no_change_interrupts_what_goes_on_in_a_room() {
    let _machine = machine::shared();
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
