use proptest::prelude::*;

use super::*;

const FINGERPRINT: &str =
    "AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89";

/// The shape of Chromium's offers, shortened.
fn chrome() -> String {
    let common = format!(
        "c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
         a=ice-options:trickle\r\na=fingerprint:sha-256 {FINGERPRINT}\r\na=setup:actpass\r\n"
    );
    format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2\r\na=extmap-allow-mixed\r\n\
         a=msid-semantic: WMS x\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 63 111 9\r\n{common}a=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\n\
         a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
         a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
         a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:111 opus/48000/2\r\n\
         a=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:9 G722/8000\r\n\
         a=ssrc:1 cname:x\r\na=ssrc:1 msid:x y\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 45 96 97 103\r\n{common}a=mid:1\r\na=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
         a=extmap:3 {EXTENSION_TWCC}\r\na=rtpmap:45 AV1/90000\r\na=rtpmap:96 VP8/90000\r\n\
         a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
         a=rtpmap:103 H264/90000\r\n\
         m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n{common}a=mid:2\r\na=sctp-port:5000\r\n\
         a=max-message-size:262144\r\n"
    )
}

fn offer(text: &str) -> Result<Remote, Refused> {
    Remote::offer(text)
}

#[test]
fn reads_a_browser() {
    let remote = offer(&chrome()).unwrap();
    let [audio, video, data] = &*remote.sections else { panic!("{remote:?}") };
    assert_eq!((audio.kind, audio.sends, audio.receives), (Kind::Audio, true, true));
    assert_eq!((video.kind, video.sends, video.receives), (Kind::Video, false, true));
    assert_eq!(data.kind, Kind::Data);
    let codec = audio.codec.as_ref().unwrap();
    assert_eq!((codec.payload_type, &*codec.extensions), (111, &[(4, EXTENSION_MID)][..]));
    let codec = video.codec.as_ref().unwrap();
    assert_eq!((codec.payload_type, &*codec.extensions), (96, &[(3, EXTENSION_TWCC)][..]));
    assert_eq!(remote.bundle, ["0", "1", "2"]);
    assert_eq!(remote.fingerprints().len(), 1);
}

#[test]
fn keeps_only_what_is_known() {
    let text = offer(&chrome()).unwrap().text;
    for kept in [
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n",
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n",
        "a=fmtp:97 apt=96\r\n",
        "a=rtcp-fb:96 nack pli\r\n",
        "a=ssrc:1 cname:x\r\n",
        "a=sctp-port:5000\r\n",
        "a=recvonly\r\n",
    ] {
        assert!(text.contains(kept), "{kept} in {text}");
    }
    for gone in ["H264", "AV1", "G722", "red/", "audio-level", "msid", "allow-mixed", "a=rtcp:"] {
        assert!(!text.contains(gone), "{gone} in {text}");
    }
    assert!(text.contains(&format!("a=fingerprint:sha-256 {FINGERPRINT}\r\n")));
    // What it made, it can read.
    assert_eq!(offer(&text).unwrap().text, text);
}

/// A description with other payload types for VP8, its retransmissions, and Opus.
fn with_other_numbers(sdp: &str) -> String {
    let mut out = sdp.replace("SAVPF 63 111 9", "SAVPF 97").replace("SAVPF 45 96 97 103", "SAVPF 111 96");
    for (from, to) in [("apt=96", "apt=111"), (":97 ", ":#96 "), (":96 ", ":#111 "), (":111 ", ":#97 ")] {
        for name in ["rtpmap", "fmtp", "rtcp-fb"] {
            out = out.replace(&format!("a={name}{from}"), &format!("a={name}{to}"));
        }
        if from.starts_with("apt") {
            out = out.replace(from, to);
        }
    }
    out.replace(":#", ":")
}

#[test]
fn an_answer_in_other_numbers_is_read_in_ours() {
    let ours = chrome();
    let answer = |sdp: &str| Remote::answer(sdp, &[]).unwrap();
    let same = answer(&ours);
    assert_eq!(same.in_numbers_of(&ours), (same.text.clone(), vec![]));
    let other = answer(&with_other_numbers(&ours));
    assert!(
        other.text.contains("a=fmtp:96 apt=111\r\n") && other.text.contains("a=rtpmap:97 opus"),
        "{}",
        other.text
    );
    let (text, changed) = other.in_numbers_of(&ours);
    assert_eq!(text, same.text);
    assert_eq!(changed, [(111, 97), (96, 111), (97, 96)]);
    // Without our offer there is nothing to compare with.
    assert_eq!(other.in_numbers_of("").1, []);
}

#[test]
fn refuses_what_would_crash_or_betray() {
    let good = chrome();
    let without = |line: &str| {
        good.lines().filter(|it| !it.starts_with(line)).map(|it| format!("{it}\r\n")).collect::<String>()
    };
    assert_eq!(offer(&without("a=fingerprint")), Err(Refused::NoFingerprint));
    for bad in [
        without("a=mid"),
        without("a=ice-ufrag"),
        without("v=0"),
        without("m="),
        good.replace("BUNDLE 0 1 2", "BUNDLE 0 1 7"),
        good.replace("BUNDLE 0 1 2", "BUNDLE 0 0"),
        good.replace("BUNDLE 0 1 2", "BUNDLE 2 0 1"),
        good.replace("a=mid:1", "a=mid:0"),
        good.replace("a=mid:1", "a=mid:"),
        good.replace("a=mid:1", &format!("a=mid:{}", "x".repeat(1000))),
        good.replace("a=ice-pwd:0123456789012345678901", "a=ice-pwd:short"),
        good.replace(FINGERPRINT, "AB:CD"),
        good.replace("sha-256", "sha-1"),
        good.replace("m=video 9", "m=video x"),
        good.replace("a=sendrecv", "a=send\u{0}recv"),
        format!("{good}{}", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n".repeat(1000)),
        format!("{good}a={}\r\n", "x".repeat(100_000)),
        "garbage".into(),
        String::new(),
    ] {
        assert!(offer(&bad).is_err(), "{bad}");
    }
}

#[test]
fn a_media_section_without_a_known_codec_is_not_used() {
    let remote = offer(&chrome().replace("VP8/90000", "VP7/90000")).unwrap();
    assert!(remote.section(Kind::Video).is_none());
    assert!(remote.text.contains("a=inactive\r\n"), "{}", remote.text);
    assert!(remote.section(Kind::Audio).is_some());
}

#[test]
fn a_rejected_section_needs_no_credentials() {
    let text = chrome().replace("m=video 9", "m=video 0").replace("BUNDLE 0 1 2", "BUNDLE 0 2");
    let remote = Remote::answer(&text, &[]).unwrap();
    assert!(remote.section(Kind::Video).is_none());
    assert!(remote.text.contains("m=video 0 "));
}

#[test]
fn a_bare_rejection_is_known_by_its_place() {
    let good = chrome().replace("BUNDLE 0 1 2", "BUNDLE 0 2");
    let (sound, rest) = good.split_once("m=video").unwrap();
    let data = rest.split_once("m=application").unwrap().1;
    let bare = |line| format!("{sound}{line}\r\nc=IN IP4 0.0.0.0\r\nm=application{data}");
    let mids = ["0", "1", "2"].map(String::from);
    let text = bare("m=video 0 UDP/TLS/RTP/SAVPF 0");
    let remote = Remote::answer(&text, &mids).unwrap();
    assert_eq!(remote.sections.iter().map(|section| &section.mid).collect::<Vec<_>>(), ["0", "1", "2"]);
    assert!(remote.section(Kind::Video).is_none());
    // webrtcbin takes no section without these.
    for line in ["a=mid:1\r\n", "a=ice-ufrag:abcd\r\n", "a=ice-pwd:", "a=setup:", "a=fingerprint:sha-256 AB:"]
    {
        let section = remote.text.split("m=").nth(2).unwrap();
        assert!(section.contains(line), "{line} in {section}");
    }
    assert_eq!(Remote::answer(&remote.text, &mids).unwrap().text, remote.text);
    assert!(Remote::answer(&text, &[]).is_err() && offer(&text).is_err());
    let used = bare("m=video 9 UDP/TLS/RTP/SAVPF 96");
    assert_eq!(Remote::answer(&used, &mids), Err(Refused::Unusable("an m-line has no mid")));
}

#[test]
fn a_second_picture_is_inactive() {
    let good = chrome();
    let (_, video) = good.split_once("m=video").unwrap();
    let second = video.split("m=application").next().unwrap().replace("a=mid:1", "a=mid:3");
    let remote = offer(&format!("{good}m=video{second}").replace("recvonly", "sendrecv")).unwrap();
    assert_eq!(remote.section(Kind::Video).unwrap().0, 1);
    assert!(!remote.sections[3].is_used());
}

#[test]
fn candidates_go_to_the_bundles_transport() {
    let remote = offer(&chrome()).unwrap();
    assert_eq!(remote.index(Some("1"), None), Some(1));
    assert_eq!(remote.index(Some("nobody"), Some(2)), Some(2));
    assert_eq!(remote.index(None, None), Some(0));
    assert_eq!(remote.index(None, Some(3)), None);
    assert_eq!(remote.transport(2, None), Some(0));
    assert_eq!(remote.transport(1, Some("abcd")), Some(0));
    assert_eq!(remote.transport(1, Some("other")), None);
    let separate = offer(&chrome().replace("a=group:BUNDLE 0 1 2\r\n", "")).unwrap();
    assert_eq!(separate.transport(2, None), Some(2));
}

#[test]
fn candidates_within_the_description_are_found() {
    let text = chrome().replace("a=mid:1\r\n", "a=mid:1\r\na=candidate:1 1 udp 1 10.0.0.1 9 typ host\r\n");
    let remote = offer(&text).unwrap();
    assert_eq!(remote.candidates.len(), 1);
    assert_eq!(remote.candidates[0].0, 1);
    assert!(!remote.text.contains("a=candidate"));
}

proptest! {
    #[test]
    fn never_panics_and_only_passes_what_it_can_read_again(
        cut in 0usize..3000, from in 0usize..3000, junk in "\\PC{0,20}", line in 0usize..80,
    ) {
        let good = chrome();
        let mut lines: Vec<&str> = good.lines().collect();
        if line < lines.len() {
            let other = cut % lines.len();
            lines.swap(line, other);
            lines.insert(line, &junk);
        }
        let shuffled = lines.join("\r\n");
        let start = from.min(shuffled.len());
        for text in [shuffled.as_str(), shuffled.get(start..).unwrap_or(""), shuffled.get(..start).unwrap_or("")] {
            if let Ok(remote) = offer(text) {
                prop_assert_eq!(offer(&remote.text).map(|it| it.text), Ok(remote.text));
            }
        }
    }
}
