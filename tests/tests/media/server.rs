//! The server with a real media node: a killed node, ICE restarts by WHEP, and Ant Media's commands, all with real media.

use callbin_tests::{
    Browser, BrowserOptions, Client, DEADLINE, Page, Server, client::Event, http::send, process::signal,
    wait_until,
};

fn publish(server: &Server, color: &str) -> Client {
    let url = format!("{}whip/studio", server.url());
    Client::start(server, &["publish", &url, "--size", "160x120", "--video-pattern", color])
}

fn play(server: &Server) -> Client {
    Client::start(server, &["play", &format!("{}whep/studio", server.url())])
}

fn is_red(stats: &Event) -> bool {
    stats.color().is_some_and(|[r, g, b]| r > 200 && g < 60 && b < 60)
}

/// A page of the server, with what the scripts below need.
fn page(browser: &Browser, server: &Server) -> Page {
    let page = browser.open(&format!("{}livez", server.url()));
    page.eval(
        "document.body ?? document.documentElement.append(document.createElement('body')); \
        window.show = (pc, name) => { \
            const video = document.createElement('video'); \
            [video.dataset.peer, video.srcObject, video.muted] = [name, new MediaStream(), true]; \
            pc.ontrack = ({ track }) => { video.srcObject.addTrack(track); video.play(); }; \
            document.body.append(video); \
        }; null",
    );
    page
}

#[test]
fn a_killed_node_is_replaced_and_serves_who_tries_again() {
    let server = Server::with_media();
    let _first = publish(&server, "red");
    let mut player = play_when_live(&server);
    player.wait_for_stats("red", is_red);
    let log = server.log();
    let pid =
        log.split("media node started pid=").nth(1).and_then(|rest| rest.lines().next()).expect("a pid");
    signal(pid.parse().expect("a pid"), "KILL");
    server.wait_for_log("media node gone");
    wait_until("the end of their calls", DEADLINE, || {
        (server.metric("callbin_connections ")? == 1.0).then_some(())
    });
    wait_until("no streams", DEADLINE, || (server.metric("callbin_streams ")? == 0.0).then_some(()));
    let _second = publish(&server, "red");
    let mut again = play_when_live(&server);
    again.wait_for_stats("red", is_red);
}

/// Plays as soon as the server accepts viewers.
fn play_when_live(server: &Server) -> Client {
    wait_until("a live stream", DEADLINE, || {
        let offer = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n";
        let response = send(server, "POST", "/whep/studio", &[("Content-Type", "application/sdp")], offer);
        // The node does not take such an offer, but it is asked.
        (response.status != 409).then_some(())
    });
    play(server)
}

#[test]
fn ice_restarts_by_patch() {
    let server = Server::with_media();
    let _publisher = publish(&server, "red");
    server.wait_for_log("stream is live");
    let browser = Browser::start(BrowserOptions { fake_devices: false, ..BrowserOptions::default() });
    let page = page(&browser, &server);
    page.eval(
        "(async () => { \
            const pc = window.pc = new RTCPeerConnection(); \
            pc.addTransceiver('video', { direction: 'recvonly' }); \
            show(pc, 'studio'); \
            await pc.setLocalDescription(); \
            const headers = { 'Content-Type': 'application/sdp' }; \
            const created = await fetch('/whep/studio', { method: 'POST', headers, body: pc.localDescription.sdp }); \
            window.call = created.headers.get('Location'); \
            window.answer = await created.text(); \
            await pc.setRemoteDescription({ type: 'answer', sdp: answer }); \
        })()",
    );
    assert!(page.video_probe("studio").r > 200.0);
    // The answer to the new offer is the old one with the credentials and candidates of the fragment.
    page.eval(
        "(async () => { \
            pc.restartIce(); \
            await pc.setLocalDescription(await pc.createOffer()); \
            const line = (text, name) => text.match(new RegExp(`^a=${name}:(.*?)\\r?$`, 'm'))[1]; \
            const own = pc.localDescription.sdp; \
            const body = `a=ice-ufrag:${line(own, 'ice-ufrag')}\\r\\na=ice-pwd:${line(own, 'ice-pwd')}\\r\\n`; \
            const headers = { 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': '*' }; \
            const restarted = await fetch(call, { method: 'PATCH', headers, body }); \
            if (restarted.status !== 200) throw new Error(`${restarted.status} ${await restarted.text()}`); \
            const fragment = await restarted.text(); \
            window.before = line(answer, 'ice-ufrag'); \
            window.after = line(fragment, 'ice-ufrag'); \
            const sdp = answer \
                .replace(/^a=ice-ufrag:.*$/mg, `a=ice-ufrag:${after}`) \
                .replace(/^a=ice-pwd:.*$/mg, `a=ice-pwd:${line(fragment, 'ice-pwd')}`); \
            await pc.setRemoteDescription({ type: 'answer', sdp }); \
        })()",
    );
    assert_ne!(page.eval("before"), page.eval("after"), "the node has new credentials");
    page.eval(
        "setInterval(async () => { \
            const stats = [...(await pc.getStats()).values()]; \
            const pair = stats.find((it) => it.type === 'candidate-pair' && it.nominated && it.state === 'succeeded'); \
            const remote = stats.find((it) => it.id === pair?.remoteCandidateId); \
            window.path = { ufrag: remote?.usernameFragment, bytes: pair?.bytesReceived }; \
        }, 50); null",
    );
    page.wait_for("packets over the new session", "path.ufrag === after && path.bytes > 10000", DEADLINE);
    assert_eq!(page.eval("pc.connectionState"), "connected");
}

#[test]
fn ant_medias_commands_publish_and_play() {
    let server = Server::with_media();
    let browser = Browser::start(BrowserOptions::default());
    let page = page(&browser, &server);
    // The messages of the stock client, in the order in which it sends them.
    page.eval(
        "window.client = (command) => new Promise((resolve, reject) => { \
            const pc = new RTCPeerConnection(); \
            const socket = new WebSocket(location.origin.replace('http', 'ws') + '/LiveApp/websocket'); \
            const send = (message) => socket.send(JSON.stringify({ streamId: 'studio', ...message })); \
            const tell = async () => { \
                const { type, sdp } = pc.localDescription; \
                send({ command: 'takeConfiguration', type, sdp }); \
            }; \
            pc.onicecandidate = ({ candidate }) => candidate && send({ command: 'takeCandidate', \
                label: candidate.sdpMLineIndex, id: candidate.sdpMid, candidate: candidate.candidate }); \
            const stop = () => { send({ command: 'stop' }); send({ command }); }; \
            socket.onopen = () => { send({ command }); }; \
            socket.onmessage = async ({ data }) => { \
                const message = JSON.parse(data); \
                if (message.command === 'start') { \
                    const media = await navigator.mediaDevices.getUserMedia({ video: true, audio: true }); \
                    media.getTracks().forEach((track) => pc.addTrack(track, media)); \
                    await pc.setLocalDescription(); \
                    await tell(); \
                } else if (message.command === 'takeConfiguration') { \
                    await pc.setRemoteDescription(message); \
                    if (message.type === 'offer') { await pc.setLocalDescription(); await tell(); } \
                } else if (message.definition === 'no_stream_exist') { \
                    setTimeout(stop, 100); \
                } else if (message.definition?.endsWith('_started')) { \
                    resolve({ pc, send }); \
                } else if (message.definition?.endsWith('_finished')) { \
                    window.finished = message.definition; \
                } else if (message.command === 'error') { \
                    reject(new Error(data)); \
                } \
            }; \
            if (command === 'play') show(pc, 'studio'); \
        }); null",
    );
    page.eval(
        "(async () => { window.player = client('play'); window.publisher = await client('publish'); })()",
    );
    page.eval("(async () => { await player; })()");
    page.wait_for(
        "moving pictures",
        "document.querySelector('video')?.getVideoPlaybackQuality().totalVideoFrames > 10",
        DEADLINE,
    );
    page.eval("publisher.send({ command: 'stop' }); publisher.pc.close(); null");
    page.wait_for("the publisher's end", "window.finished === 'publish_finished'", DEADLINE);
    server.wait_for_log("stream is gone");
    wait_until("no streams", DEADLINE, || (server.metric("callbin_streams ")? == 0.0).then_some(()));
}
