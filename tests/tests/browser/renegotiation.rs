//! Changes that a browser may make during a call: each is answered, and the wanted media flow, checked at both
//! ends. The browser's peer uses nothing of callbin's page.

use callbin_tests::{
    Bare, BrowserOptions, Client, DEADLINE, Server, Site, client::Event, host::Callee, machine,
};

/// A frame takes 33 ms; a longer gap looks like a stall.
pub(super) const MAX_GAP_MS: f64 = 500.0;
/// Chromium sends less for a moment when its path changes. Packets that are blocked until there is a new path make a gap of 5 s.
const MAX_BROWSER_GAP_MS: f64 = 2000.0;

type Begin = fn() -> (Site, Client, Bare);

/// Begin a call in which the browser offers, and one in which it answers.
const ROLES: [Begin; 2] = [|| calling(&[]), called];

/// A client that waits, and a browser that called it with camera and microphone.
pub(super) fn calling(options: &[&str]) -> (Site, Client, Bare) {
    let (site, client, bare) = session(options);
    bare.run("bare.connect(); bare.adopt(bare.pc.createDataChannel('chat')); await bare.addMedia(); await bare.negotiate()");
    bare.assert_plays();
    (site, client, bare)
}

/// A client that waits, and a browser that has a session with it and has sent nothing yet.
fn session(options: &[&str]) -> (Site, Client, Bare) {
    let site = Site::with(BrowserOptions::default());
    let args = [&["wait", "--id", "gst", "--size", "320x240"], options].concat();
    let mut client = Client::start(&site.server, &args);
    client.wait_for("waiting");
    let bare = Bare::open(&site.browser, &site.server, "bare");
    bare.eval("bare.call('gst')");
    (site, client, bare)
}

/// A browser that answers a client's call, with camera and microphone.
pub(super) fn called() -> (Site, Client, Bare) {
    let site = Site::with(BrowserOptions::default());
    let bare = Bare::open(&site.browser, &site.server, "bare");
    bare.run("await bare.media(); bare.prepareAnswer = async () => { if (!bare.pc.getSenders().length || !bare.pc.getSenders().some(({ track }) => track)) await bare.addMedia(); }");
    let client = Client::start(&site.server, &["call", "bare", "--id", "gst", "--size", "320x240"]);
    bare.eval("bare.until(() => bare.pc?.connectionState === 'connected', 'a connection')");
    bare.assert_plays();
    (site, client, bare)
}

/// The client receives the fake camera from now on.
#[track_caller]
fn assert_client_sees(client: &mut Client) {
    client.forget();
    let green = |stats: &Event| {
        stats.color().is_some_and(|[r, g, b]| g > 60 && g > 2 * r.max(b)) && stats.number("/video/fps") > 5.0
    };
    client.wait_for_stats("a green picture", green);
    client.wait_for_stats("sound", |stats| stats.number("/audio/level_db") > -65.0);
}

/// The client receives no more video.
#[track_caller]
pub(super) fn assert_client_sees_nothing(client: &mut Client) {
    client.wait_for_stats("no picture", |stats| stats.number("/video/fps") == 0.0);
}

#[track_caller]
pub(super) fn assert_both_play(client: &mut Client, bare: &Bare) {
    assert_client_sees(client);
    bare.assert_plays();
}

#[track_caller]
fn assert_texts_go(client: &mut Client, bare: &Bare, text: &str) {
    bare.eval(&format!("bare.says({text:?})"));
    client.wait_for_any(text, DEADLINE, |event| event.name() == "data" && event.text("/text") == text);
}

/// GStreamer's example page does this: first only a data channel, then media on the same connection.
#[test]
fn media_join_a_data_channel() {
    let _machine = machine::busy();
    let (_site, mut client, bare) = session(&["--send-text", "hello from GStreamer"]);
    bare.run("bare.connect(); bare.adopt(bare.pc.createDataChannel('chat')); await bare.negotiate()");
    assert_texts_go(&mut client, &bare, "before");
    bare.run("await bare.addMedia(); await bare.negotiate()");
    assert_both_play(&mut client, &bare);
    assert_texts_go(&mut client, &bare, "after");
    assert_eq!(bare.eval("bare.texts.join()"), "hello from GStreamer");
}

/// A second offer comes before the first has an answer: the newest is answered.
#[test]
fn only_the_newest_offer_counts() {
    let _machine = machine::busy();
    let (_site, mut client, bare) = session(&[]);
    bare.run("bare.connect(); bare.adopt(bare.pc.createDataChannel('chat')); await bare.offer(); await bare.addMedia(); await bare.negotiate()");
    assert_both_play(&mut client, &bare);
    assert_texts_go(&mut client, &bare, "hello");
}

#[test]
fn a_data_channel_joins_media() {
    let _machine = machine::shared();
    let (_site, mut client, bare) = session(&[]);
    bare.run("bare.connect(); await bare.addMedia(); await bare.negotiate()");
    assert_both_play(&mut client, &bare);
    bare.run("bare.mark(); bare.adopt(pc.createDataChannel('chat')); await bare.negotiate()");
    assert_texts_go(&mut client, &bare, "hello");
    assert_both_play(&mut client, &bare);
    assert!(bare.gap() < MAX_GAP_MS, "{}", bare.gap());
}

#[test]
fn a_camera_comes_late_and_goes() {
    let _machine = machine::shared();
    let (_site, mut client, bare) = session(&[]);
    bare.run(
        "bare.connect(); bare.adopt(bare.pc.createDataChannel('chat')); \
         bare.pc.addTransceiver('audio', { direction: 'recvonly' }); \
         bare.pc.addTransceiver('video', { direction: 'recvonly' }); await bare.negotiate()",
    );
    bare.assert_plays();
    for _ in 0..2 {
        bare.run(
            "bare.mark(); const stream = await bare.media(); \
             for (const t of pc.getTransceivers()) { \
               await t.sender.replaceTrack(stream.getTracks().find(({ kind }) => kind === t.receiver.track.kind)); \
               t.direction = 'sendrecv'; } await bare.negotiate()",
        );
        assert_both_play(&mut client, &bare);
        bare.run("for (const t of pc.getTransceivers()) t.direction = 'recvonly'; await bare.negotiate()");
        assert_client_sees_nothing(&mut client);
        assert!(bare.gap() < MAX_GAP_MS, "{}", bare.gap());
    }
}

#[test]
fn a_call_is_held_and_resumed() {
    let _machine = machine::busy();
    for begin in ROLES {
        let (_site, mut client, bare) = begin();
        for _ in 0..2 {
            bare.run(
                "for (const t of pc.getTransceivers()) t.direction = 'inactive'; await bare.negotiate()",
            );
            assert_client_sees_nothing(&mut client);
            bare.run(
                "const frames = bare.frames(); await new Promise((done) => setTimeout(done, 300)); \
                 if (bare.frames() > frames + 2) throw new Error('it goes on')",
            );
            bare.run(
                "for (const t of pc.getTransceivers()) t.direction = 'sendrecv'; await bare.negotiate()",
            );
            assert_both_play(&mut client, &bare);
        }
    }
}

#[test]
fn media_are_removed_and_added_again() {
    let _machine = machine::busy();
    for begin in ROLES {
        let (_site, mut client, bare) = begin();
        for _ in 0..2 {
            bare.run("for (const t of pc.getTransceivers()) t.stop(); await bare.negotiate()");
            assert_client_sees_nothing(&mut client);
            bare.run("await bare.addMedia(); await bare.negotiate()");
            assert_both_play(&mut client, &bare);
        }
    }
}

/// Another client that does as docs/protocols/text.md says.
#[test]
fn a_call_is_negotiated_anew_after_its_session_is_resumed() {
    const KEY: &str = "0123456789abcdef0123456789abcdef";
    let _machine = machine::busy();
    let (mut site, mut client, bare) = session(&[]);
    bare.run(&format!(
        "bare.mangle = (sdp) => sdp.replace('m=', 'a=callbin-resume:{KEY}\\r\\nm='); \
         bare.connect(); await bare.addMedia(); await bare.negotiate()"
    ));
    assert_both_play(&mut client, &bare);
    assert!(bare.eval("bare.lastSdp").as_str().is_some_and(|answer| answer.contains(KEY)));
    let port = site.server.port();
    site.server.process().kill();
    client.wait_for("signalling-lost");
    client.forget();
    let server = Server::start_on(port, &["--disable-ssl"]);
    client.wait_for("registered");
    bare.eval(&format!("bare.open({:?}, 'bare')", server.ws_url()));
    bare.run(&format!("bare.mangle = (sdp) => sdp; await bare.call('gst'); await bare.resume({KEY:?})"));
    client.wait_for("signalling-back");
    bare.run("for (const t of pc.getTransceivers()) t.direction = 'inactive'; await bare.negotiate()");
    assert_client_sees_nothing(&mut client);
    bare.run("for (const t of pc.getTransceivers()) t.direction = 'sendrecv'; await bare.negotiate()");
    assert_both_play(&mut client, &bare);
}

/// A browser starts a new transport when the m-line that named it is gone, and keeps its data channels open.
#[test]
fn a_data_channel_outlives_its_transport() {
    let _machine = machine::busy();
    for begin in ROLES {
        let (_site, mut client, bare) = begin();
        assert_texts_go(&mut client, &bare, "before");
        bare.run("window.first = pc.sctp; await bare.stopFirst(); bare.channel.send('at once')");
        assert_texts_go(&mut client, &bare, "after");
        client.wait_for_any("at once", DEADLINE, |event| event.text("/text") == "at once");
        bare.run("if (pc.sctp === first || first.state !== 'closed') throw new Error('the transport stays')");
        bare.run("for (const t of pc.getTransceivers()) t.stop(); await bare.negotiate()");
        assert_texts_go(&mut client, &bare, "alone");
        bare.run("await bare.addMedia(); await bare.negotiate()");
        assert_both_play(&mut client, &bare);
        assert_texts_go(&mut client, &bare, "with media again");
    }
}

/// As above, for texts to the browser.
#[test]
fn a_data_channel_outlives_its_transport_both_ways() {
    let _machine = machine::busy();
    let site = Site::with(BrowserOptions::default());
    let callee = Callee::wait(&site.server, "gst");
    let bare = Bare::open(&site.browser, &site.server, "bare");
    bare.eval("bare.call('gst')");
    bare.run("bare.connect(); bare.adopt(bare.pc.createDataChannel('chat')); await bare.addMedia(); await bare.negotiate()");
    let both_ways = |text: &str| {
        callee.say(text);
        bare.eval(&format!("bare.until(() => bare.texts.includes({text:?}), {text:?})"));
        bare.eval(&format!("bare.says({text:?})"));
        assert_eq!(callee.hear(), text);
    };
    both_ways("before");
    bare.run("await bare.stopFirst()");
    both_ways("after");
    assert_eq!(bare.eval("bare.texts.join()"), "before,after");
}

/// `--send-text` waits for a data channel, also past a new transport.
#[test]
fn a_data_channel_comes_after_a_new_transport() {
    let _machine = machine::busy();
    let (_site, mut client, bare) = session(&["--send-text", "hello from GStreamer"]);
    bare.run("bare.connect(); await bare.addMedia(); await bare.negotiate()");
    bare.assert_plays();
    bare.run("await bare.stopFirst()");
    bare.run("bare.adopt(pc.createDataChannel('chat')); await bare.negotiate()");
    assert_texts_go(&mut client, &bare, "hello");
    bare.eval("bare.until(() => bare.texts.length, 'a text')");
    assert_eq!(bare.eval("bare.texts.join()"), "hello from GStreamer");
}

/// Neither peer loses more than a short gap: media use the old path until the new one is ready.
#[test]
fn an_ice_restart_does_not_interrupt() {
    let _machine = machine::busy();
    for begin in ROLES {
        let (_site, mut client, bare) = begin();
        for _ in 0..2 {
            restart_ice(&mut client, &bare);
        }
    }
}

/// The browser checks paths from its new ports before we know that it restarts ICE.
#[test]
fn an_ice_restart_over_slow_signalling_does_not_interrupt() {
    let _machine = machine::busy();
    for begin in ROLES {
        let (_site, mut client, bare) = begin();
        bare.eval("bare.delay = 300");
        for _ in 0..2 {
            restart_ice(&mut client, &bare);
        }
    }
}

/// Restarts ICE. Neither side may see a long gap.
#[track_caller]
fn restart_ice(client: &mut Client, bare: &Bare) {
    client.forget();
    let frames = |stats: &Event| stats.number("/video/frames");
    let begin = client.wait_for("stats");
    let before = frames(&begin);
    bare.run(
        "bare.mark(); const user = (sdp) => /a=ice-ufrag:(\\S+)/.exec(sdp)[1]; \
         const before = [user(pc.localDescription.sdp), user(pc.remoteDescription.sdp)]; \
         pc.restartIce(); await bare.negotiate(); \
         const after = [user(pc.localDescription.sdp), user(pc.remoteDescription.sdp)]; \
         if (before[0] === after[0] || before[1] === after[1]) throw new Error('no restart'); \
         await bare.until(() => pc.iceConnectionState === 'connected', 'a path')",
    );
    // They take longer than the restart.
    client.wait_for_stats("later pictures", |stats| frames(stats) > before + 20.0);
    let gap = |stats: &Event| stats.number("/video/gap_ms");
    let longest = client.stats_since(begin).iter().map(gap).fold(0.0, f64::max);
    assert!(longest < MAX_BROWSER_GAP_MS, "the client received no picture for {longest} ms");
    assert_both_play(client, bare);
    assert!(bare.gap() < MAX_GAP_MS, "{}", bare.gap());
}

#[test]
fn everything_at_once_after_an_ice_restart() {
    let _machine = machine::busy();
    let (_site, mut client, bare) = calling(&[]);
    bare.run("pc.restartIce(); await bare.negotiate()");
    bare.run("for (const t of pc.getTransceivers()) t.stop(); pc.restartIce(); await bare.negotiate()");
    bare.run("await bare.addMedia(); pc.restartIce(); await bare.negotiate()");
    assert_both_play(&mut client, &bare);
}

/// Two cameras, and separate m-lines for each direction.
#[test]
fn several_m_lines_of_one_kind() {
    // Chromium pauses the second camera while it has too little of the machine.
    let _machine = machine::shared();
    let (_site, mut client, bare) = session(&[]);
    bare.run(
        "bare.connect(); const stream = await bare.media(); const [video] = stream.getVideoTracks(); \
         const add = (what, direction) => bare.pc.addTransceiver(what, { direction }); \
         add(video, 'sendonly'); add('video', 'recvonly'); add(stream.getAudioTracks()[0], 'sendonly'); \
         add('audio', 'recvonly'); add(video.clone(), 'sendonly'); await bare.negotiate()",
    );
    assert_both_play(&mut client, &bare);
    let directions = "bare.pc.getTransceivers().map(({ currentDirection }) => currentDirection).join()";
    assert_eq!(bare.eval(directions), "sendonly,recvonly,sendonly,recvonly,sendonly");
    bare.run(
        "const sent = async () => { let n = []; (await pc.getStats()).forEach((it) => { \
           if (it.type === 'remote-inbound-rtp' && it.kind === 'video') n.push(it.roundTripTimeMeasurements); }); return n; }; \
         const both = bare.until(async () => { const n = await sent(); return n.length === 2 && Math.min(...n) > 3; }, 'reports about both cameras'); \
         await both.catch(async (error) => { throw new Error(error + JSON.stringify([...(await pc.getStats()).values()])); })",
    );
}

#[test]
fn the_group_may_have_another_order_than_the_m_lines() {
    let _machine = machine::busy();
    let (_site, mut client, bare) = session(&[]);
    bare.run(
        "bare.connect(); bare.adopt(bare.pc.createDataChannel('chat')); await bare.addMedia(); \
         bare.mangle = (sdp) => sdp.replace(/a=group:BUNDLE (.*)/, (all, mids) => 'a=group:BUNDLE ' + mids.split(' ').reverse().join(' ')); \
         await bare.negotiate()",
    );
    assert_both_play(&mut client, &bare);
    assert_texts_go(&mut client, &bare, "hello");
}

/// The browsers' newest default (`alwaysNegotiateDataChannels`).
#[test]
fn the_data_channel_may_come_first() {
    let _machine = machine::busy();
    let (_site, mut client, bare) = session(&[]);
    bare.run(
        "bare.connect({ alwaysNegotiateDataChannels: true }); await bare.addMedia(); await bare.negotiate()",
    );
    bare.run("if (!/^m=application[^]*^m=audio/m.test(pc.localDescription.sdp)) throw new Error('it does not come first')");
    bare.run("bare.adopt(pc.createDataChannel('chat'))");
    assert_both_play(&mut client, &bare);
    assert_texts_go(&mut client, &bare, "hello");
}

/// The browser comes later and offers first, or is there and is offered to.
#[test]
fn a_rooms_members_may_change_their_minds() {
    let _machine = machine::shared();
    for comes_later in [true, false] {
        let site = Site::with(BrowserOptions::default());
        let bare = Bare::open(&site.browser, &site.server, "bare");
        let join = || {
            let args = ["room", "r", "--id", "gst", "--size", "320x240", "--view", "none"];
            let mut client = Client::start(&site.server, &args);
            client.wait_for("joined");
            client
        };
        let mut client = if comes_later {
            let client = join();
            bare.run(
                "await bare.join('r'); bare.connect(); bare.adopt(bare.pc.createDataChannel('chat')); \
                 await bare.addMedia(); await bare.negotiate()",
            );
            client
        } else {
            bare.run("await bare.media(); await bare.join('r'); bare.prepareAnswer = async () => { if (!bare.pc.getSenders().some(({ track }) => track)) await bare.addMedia(); }");
            let client = join();
            bare.eval("bare.until(() => bare.pc?.connectionState === 'connected', 'a connection')");
            client
        };
        assert_both_play(&mut client, &bare);
        bare.run(
            "bare.mark(); pc.restartIce(); await bare.negotiate(); \
             await bare.until(() => pc.iceConnectionState === 'connected', 'a path')",
        );
        assert_both_play(&mut client, &bare);
        assert!(bare.gap() < MAX_GAP_MS, "{}", bare.gap());
        bare.run("for (const t of pc.getTransceivers()) t.direction = 'inactive'; await bare.negotiate()");
        assert_client_sees_nothing(&mut client);
        bare.run("for (const t of pc.getTransceivers()) t.direction = 'sendrecv'; pc.restartIce(); await bare.negotiate()");
        assert_both_play(&mut client, &bare);
        bare.run("for (const t of pc.getTransceivers()) t.stop(); await bare.negotiate(); await bare.addMedia(); await bare.negotiate()");
        assert_both_play(&mut client, &bare);
    }
}
