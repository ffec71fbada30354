//! Streams through a real media node, which the server starts: `callbin` and Chromium publish and play them.

use callbin_tests::{Browser, BrowserOptions, Client, DEADLINE, Page, Server, client::Event};

fn publish(server: &Server, stream: &str, args: &[&str]) -> Client {
    let url = format!("{}whip/{stream}", server.url());
    let mut client = Client::start(server, &[&["publish", &url, "--size", "160x120"], args].concat());
    client.wait_for("dtls-connected");
    server.wait_for_log("stream is live");
    client
}

fn play(server: &Server, stream: &str, args: &[&str]) -> Client {
    let url = format!("{}whep/{stream}", server.url());
    Client::start(server, &[&["play", &url], args].concat())
}

fn shows(stats: &Event, color: [u8; 3]) -> bool {
    let near = |(a, b): (u8, u8)| a.abs_diff(b) < 24;
    stats.color().is_some_and(|seen| seen.into_iter().zip(color).all(near))
}

fn page(browser: &Browser, server: &Server) -> Page {
    let page = browser.open(&format!("{}livez", server.url()));
    page.eval("document.body ?? document.documentElement.append(document.createElement('body')); null");
    page.eval(
        "window.exchange = async (pc, path) => { \
            await pc.setLocalDescription(); \
            const headers = { 'Content-Type': 'application/sdp' }; \
            const answer = await fetch(path, { method: 'POST', headers, body: pc.localDescription.sdp }); \
            if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`); \
            await pc.setRemoteDescription({ type: 'answer', sdp: await answer.text() }); \
        }; null",
    );
    page
}

#[test]
fn callbin_and_chromium_play_a_stream_of_callbin() {
    let server = Server::with_media();
    let publisher = publish(&server, "studio", &["--video-pattern", "red"]);
    let mut players = [play(&server, "studio", &[]), play(&server, "studio", &[])];
    for player in &mut players {
        player.wait_for_stats("red", |stats| shows(stats, [255, 0, 0]));
        player.wait_for_stats("sound", |stats| stats.number("/audio/level_db") > -30.0);
    }
    let browser =
        Browser::start(BrowserOptions { fake_devices: false, mdns: true, ..BrowserOptions::default() });
    let page = page(&browser, &server);
    page.eval(
        "(async () => { \
            const pc = window.pc = new RTCPeerConnection(); \
            for (const kind of ['video', 'audio']) pc.addTransceiver(kind, { direction: 'recvonly' }); \
            const video = document.createElement('video'); \
            video.dataset.peer = 'studio'; \
            video.srcObject = new MediaStream(); \
            pc.ontrack = ({ track }) => video.srcObject.addTrack(track); \
            document.body.append(video); \
            await exchange(pc, '/whep/studio'); \
            await video.play(); \
        })()",
    );
    let picture = page.video_probe("studio");
    assert!(picture.r > 200.0 && picture.g < 60.0 && picture.b < 60.0, "{picture:?}");
    page.wait_for_sound("studio", 0.05);

    // The viewers end when the stream is over for good.
    publisher.hang_up();
    for player in &mut players {
        assert_eq!(player.wait_for("ended").text("/reason"), "peer-left");
    }
    page.wait_for("the end", "['disconnected', 'failed', 'closed'].includes(pc.connectionState)", DEADLINE);
}

#[test]
fn callbin_plays_a_stream_of_chromium() {
    let server = Server::with_media();
    let browser = Browser::start(BrowserOptions::default());
    let page = page(&browser, &server);
    page.eval(
        "(async () => { \
            const pc = window.pc = new RTCPeerConnection(); \
            const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 320, height: 240 } }); \
            for (const track of media.getTracks()) pc.addTransceiver(track, { direction: 'sendonly', streams: [media] }); \
            await exchange(pc, '/whip/camera'); \
        })()",
    );
    server.wait_for_log("stream is live");
    let mut player = play(&server, "camera", &[]);
    player.wait_for_stats("the camera", |stats| {
        stats.number("/video/fps") > 1.0 && stats.number("/video/motion") > 0.1
    });
    player.wait_for_stats("its beep", |stats| stats.number("/audio/level_db") > -40.0);
}

/// The publisher is stopped before the viewer is connected: the picture can only come from the node.
#[test]
fn a_viewer_has_a_picture_that_was_sent_before_it_came() {
    let server = Server::with_media();
    let mut publisher = publish(&server, "studio", &["--video-pattern", "blue"]);
    publisher.wait_for_stats("some frames", |stats| stats.number("/sent/video_frames") > 30.0);
    let browser = Browser::start(BrowserOptions { fake_devices: false, ..BrowserOptions::default() });
    let page = page(&browser, &server);
    page.eval(
        "(async () => { \
            const pc = window.pc = new RTCPeerConnection(); \
            pc.addTransceiver('video', { direction: 'recvonly' }); \
            const video = window.video = document.createElement('video'); \
            video.muted = true; \
            pc.ontrack = ({ streams, track }) => { video.srcObject = streams[0] ?? new MediaStream([track]); video.play(); }; \
            document.body.append(video); \
            const accept = pc.setRemoteDescription.bind(pc); \
            pc.setRemoteDescription = (answer) => { window.connect = () => accept(answer); }; \
            await exchange(pc, '/whep/studio'); \
        })()",
    );
    publisher.process().signal("STOP");
    page.eval("connect()");
    page.wait_for("a picture", "video.readyState >= 2 && video.videoWidth === 160", DEADLINE);
    let pixel = page.eval(
        "(() => { \
            const canvas = document.createElement('canvas'); \
            canvas.width = canvas.height = 1; \
            const context = canvas.getContext('2d'); \
            context.drawImage(video, 0, 0, 1, 1); \
            return [...context.getImageData(0, 0, 1, 1).data]; \
        })()",
    );
    assert!(pixel[0].as_u64() < Some(60) && pixel[2].as_u64() > Some(200), "{pixel}");
    publisher.process().signal("CONT");
}
