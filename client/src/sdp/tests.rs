use proptest::prelude::*;

use super::*;

const FINGERPRINT: &str =
    "AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89";

/// An offer like Chromium's, shortened.
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
    Remote::parse(SdpType::Offer, text)
}

/// The first usable section of this kind.
fn used(remote: &Remote, kind: Kind) -> Option<&Section> {
    remote.usable().filter_map(|position| remote.sections.get(position)).find(|section| section.kind == kind)
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
    assert_eq!(codec.repair, Some(97));
    assert_eq!(codec.feedback, ["nack", "nack pli"]);
    assert_eq!(audio.ssrcs, [1]);
    assert_eq!(remote.bundle, [0, 1, 2]);
    assert_eq!(remote.session.as_deref(), Some("1"));
    let is_browser = |text: &str| offer(text).unwrap().is_browser;
    let other = chrome().replace(" WMS", "WMS");
    assert!(remote.is_browser && !is_browser(&other) && is_browser(&other.replace("o=-", "o=mozilla")));
    assert_eq!(remote.transport(2).unwrap().fingerprints.len(), 1);
    assert_eq!(video.codecs, ["AV1 with other parameters", "VP8", "H264 with other parameters"]);
}

/// What the largest description with all payload types, each many times, is reduced to.
#[test]
fn repeated_payload_types_and_attributes_count_once() {
    let formats = (0..128).map(|pt| format!(" {pt}")).collect::<String>().repeat(10);
    let line = format!("m=video 9 UDP/TLS/RTP/SAVPF{formats}\r\na=mid:0\r\na=rtcp-mux\r\n");
    let credentials = format!(
        "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 {FINGERPRINT}\r\n"
    );
    let attributes = (96..128).map(|pt| {
        let apt = (pt - 96) / 2 + 96;
        format!("a=rtpmap:{pt} VP8/90000\r\na=rtpmap:{pt} rtx/90000\r\na=fmtp:{pt} apt={apt}\r\na=rtcp-fb:{pt} nack\r\n")
    });
    let mut text =
        format!("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{line}{}", credentials.repeat(50));
    text += &attributes.collect::<String>().repeat(85);
    assert!((240 << 10..=256 << 10).contains(&text.len()), "{}", text.len());
    let remote = offer(&text).unwrap();
    let section = &remote.sections[0];
    let menu: Vec<_> = section.menu.iter().map(|codec| (codec.payload_type, codec.repair)).collect();
    // The first 48 payload types are looked at, and none of them has a map.
    assert_eq!(menu, []);
    assert_eq!(section.transport.fingerprints.len(), 16);
    // With those of VP8 in front, each is there once, with the first of its retransmissions.
    let front = format!("{} 102 98 ", " 100 101".repeat(40));
    let section = offer(&text.replacen("SAVPF", &format!("SAVPF{front}"), 1)).unwrap().sections.remove(0);
    let menu: Vec<_> = section.menu.iter().map(|codec| (codec.payload_type, codec.repair)).collect();
    assert_eq!(menu, [(100, Some(104)), (101, Some(106)), (102, Some(108)), (98, Some(100))]);
    assert!(section.menu.iter().all(|codec| codec.feedback == ["nack"]));
}

#[test]
fn refuses_what_would_crash_or_betray() {
    let good = chrome();
    let without = |line: &str| {
        good.lines().filter(|it| !it.starts_with(line)).map(|it| format!("{it}\r\n")).collect::<String>()
    };
    assert_eq!(offer(&without("a=fingerprint")), Err(Refused::NoFingerprint));
    for bad in [
        without("a=ice-ufrag"),
        without("v=0"),
        without("m="),
        good.replace("a=mid:1", "a=mid:0"),
        good.replace("a=mid:1", "a=mid:"),
        good.replace("a=mid:1", &format!("a=mid:{}", "x".repeat(1000))),
        good.replace("a=ice-pwd:0123456789012345678901", "a=ice-pwd:short"),
        good.replace(FINGERPRINT, "AB:CD"),
        good.replace(FINGERPRINT, &"AB:".repeat(31)),
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
fn names_what_is_wrong() {
    let weak = offer(&chrome().replace("sha-256", "sha-1"));
    assert_eq!(weak, Err(Refused::WeakFingerprint));
    // One strong fingerprint is enough.
    let both = chrome().replace("a=setup", "a=fingerprint:sha-1 AB:CD\r\na=setup");
    assert!(offer(&both).is_ok());
}

#[test]
fn takes_odd_line_ends() {
    for (from, to) in
        [("\r\n", "\n"), ("\r\n", "\r"), ("\r\n", "\r\n\r\n"), ("\r\n", "\r\n  \r\n"), ("\r\n", " \r\n")]
    {
        let odd = chrome().replace(from, to);
        assert_eq!(offer(&odd), offer(&chrome()), "{odd:?}");
    }
    assert_eq!(offer(&format!("\r\n\n{}", chrome())), offer(&chrome()));
}

#[test]
fn a_media_section_without_a_known_codec_is_not_used() {
    let remote = offer(&chrome().replace("VP8/90000", "VP7/90000")).unwrap();
    assert!(used(&remote, Kind::Video).is_none());
    assert!(used(&remote, Kind::Audio).is_some());
}

#[test]
fn a_rejected_section_needs_no_credentials() {
    let text = chrome().replace("m=video 9", "m=video 0");
    let remote = offer(&text).unwrap();
    assert!(used(&remote, Kind::Video).is_none());
    assert_eq!(remote.bundle, [0, 2], "and is not in the group, whatever that says");
    let bare = text.split("m=video").next().unwrap().to_owned() + "m=video 0 UDP/TLS/RTP/SAVPF 0\r\n";
    assert_eq!(offer(&bare).unwrap().sections[1].mid, None);
}

/// RFC 8843, section 7.1.3, and RFC 8829, section 5.2.1.
#[test]
fn only_the_first_of_a_group_may_name_the_transport() {
    let full = chrome();
    let mut lines = Vec::new();
    let mut section = 0;
    for line in full.lines() {
        section += usize::from(line.starts_with("m="));
        let of_transport =
            ["a=ice-ufrag", "a=ice-pwd", "a=fingerprint", "a=setup"].iter().any(|it| line.starts_with(it));
        if section < 2 || !of_transport {
            lines.push(line.replace("m=video 9", "m=video 0").replace("a=mid:1", "a=mid:1\r\na=bundle-only"));
        }
    }
    let remote = offer(&lines.join("\r\n")).unwrap();
    assert_eq!(remote.usable().count(), 3);
    assert_eq!(remote.transport(1), remote.transport(0));
    assert_eq!(remote.transport(2).unwrap().ufrag, "abcd");
}

#[test]
fn a_group_may_name_what_is_not_there() {
    for (group, bundle) in [
        ("2 0 1", &[2, 0, 1][..]),
        ("0 1 7", &[0, 1]),
        ("0 0 1", &[0, 1]),
        ("1", &[1]),
        ("7", &[]),
        ("", &[]),
    ] {
        let remote = offer(&chrome().replace("BUNDLE 0 1 2", &format!("BUNDLE {group}"))).unwrap();
        assert_eq!(remote.bundle, bundle, "{group}");
        assert_eq!(remote.usable().count(), if bundle.is_empty() { 3 } else { bundle.len() }, "{group}");
    }
}

#[test]
fn data_channels_have_an_older_form() {
    let old = chrome()
        .replace("UDP/DTLS/SCTP webrtc-datachannel", "DTLS/SCTP 5000")
        .replace("a=sctp-port:5000", "a=sctpmap:5000 webrtc-datachannel 1024");
    let remote = offer(&old).unwrap();
    let sctp = used(&remote, Kind::Data).unwrap().sctp.unwrap();
    assert_eq!((sctp.port, sctp.old_form, sctp.max_message_size), (5000, true, Some(262_144)));
    assert_eq!(offer(&old.replace("a=sctpmap:5000", "a=sctpmap:5002")).unwrap().usable().count(), 2);
    let elsewhere = chrome().replace("a=sctp-port:5000", "a=sctp-port:5001");
    assert_eq!(offer(&elsewhere).unwrap().usable().count(), 2, "webrtcbin sends to 5000 only");
}

#[test]
fn positions_by_mid_number_or_neither() {
    let remote = offer(&chrome()).unwrap();
    assert_eq!(remote.position(Some("1"), None), Some(1));
    assert_eq!(remote.position(Some("nobody"), Some(2)), Some(2));
    assert_eq!(remote.position(None, None), Some(0));
    assert_eq!(remote.position(None, Some(3)), None);
}

#[test]
fn candidates_within_the_description_are_found() {
    let text = chrome().replace("a=mid:1\r\n", "a=mid:1\r\na=candidate:1 1 udp 1 10.0.0.1 9 typ host\r\n");
    let remote = offer(&text).unwrap();
    assert_eq!(remote.candidates.len(), 1);
    assert_eq!(remote.candidates[0].0, 1);
}

proptest! {
    #[test]
    fn never_panics(
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
            let remote = offer(text);
            prop_assert_eq!(&remote, &offer(text));
            if let Ok(remote) = remote {
                prop_assert!(remote.usable().all(|position| remote.transport(position).is_some()));
            }
        }
    }
}
