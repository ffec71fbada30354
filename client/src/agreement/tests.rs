use proptest::prelude::*;

use super::*;
use crate::{
    media::encode::codec::{Format, TABLE},
    sdp::H264,
};

const BOTH: Direction = Direction { sends: true, receives: true };
const WISHES: Wishes = Wishes { audio: BOTH, video: BOTH, cameras: 1, codecs: Formats::USUAL };

/// Offers of real peers, each of which once failed.
const DATA_FIRST: &str = include_str!("../../descriptions/offer-data-first.sdp");
const BUNDLE_ORDER: &str = include_str!("../../descriptions/offer-bundle-order.sdp");
const BUNDLE_ONLY: &str = include_str!("../../descriptions/offer-bundle-only-no-transport.sdp");
const FIRST_REJECTED: &str = include_str!("../../descriptions/offer-first-mline-rejected.sdp");
const NO_MID: &str = include_str!("../../descriptions/offer-no-mid-no-bundle.sdp");
const OLD_SCTP: &str = include_str!("../../descriptions/offer-old-sctp.sdp");
const REJECTED: &str = include_str!("../../descriptions/offer-rejected-mline.sdp");
const SPROP: &str = include_str!("../../descriptions/offer-sprop-stereo.sdp");
const ALL: [&str; 8] =
    [DATA_FIRST, BUNDLE_ORDER, BUNDLE_ONLY, FIRST_REJECTED, NO_MID, OLD_SCTP, REJECTED, SPROP];

fn offer(text: &str) -> Remote {
    Remote::parse(SdpType::Offer, text).unwrap()
}

fn shown_for(text: &str) -> String {
    Agreement::from_offer(WISHES, offer(text)).applied().unwrap().text
}

/// webrtcbin's answer to such a description: the same m-lines with a transport of its own.
fn webrtcbins(shown: &str) -> String {
    let mut ufrag = 0;
    let bundled = shown.contains("a=group:BUNDLE");
    let own = |line: &str| match line.split_once(':') {
        Some(("a=ice-ufrag", _)) => {
            ufrag += u32::from(!bundled);
            format!("a=ice-ufrag:mine{ufrag}")
        }
        Some(("a=ice-pwd", _)) => "a=ice-pwd:9876543210987654321098".into(),
        Some(("a=setup", "active")) => "a=setup:passive".into(),
        Some(("a=setup", _)) => "a=setup:active".into(),
        Some(("a=fingerprint", _)) => format!("a=fingerprint:sha-256 {}", ["CD"; 32].join(":")),
        Some(("a=ssrc" | "a=ssrc-group", _)) => "a=ssrc:77 cname:mine".into(),
        _ => line.to_owned(),
    };
    shown.lines().map(own).map(|line| line + "\r\n").collect()
}

/// An agreement that has answered the offer `text`, and the answer.
fn answered(text: &str) -> (Agreement, String) {
    let mut it = Agreement::from_offer(WISHES, offer(text));
    let own = webrtcbins(&it.applied().unwrap().text);
    it.take_own_answer(&own).unwrap();
    let answer = it.answer().unwrap();
    (it, answer)
}

fn m_lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("m=")).collect()
}

fn values<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(start)).collect()
}

fn section(text: &str, number: usize) -> &str {
    text.split("\r\nm=").nth(number + 1).unwrap()
}

#[test]
fn every_offer_gets_an_answer_line_by_line() {
    for text in ALL {
        let (_, answer) = answered(text);
        let kind = |line: &&str| line.split(' ').next().unwrap().to_owned();
        let (ours, theirs) = (m_lines(&answer), m_lines(text));
        assert_eq!(ours.iter().map(kind).collect::<Vec<_>>(), theirs.iter().map(kind).collect::<Vec<_>>());
        assert_eq!(values(&answer, "a=mid:"), values(text, "a=mid:"), "{answer}");
        let rejected = |line: &&str| line.split(' ').nth(1) == Some("0");
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert!(!rejected(ours) || rejected(&theirs), "{ours} to {theirs}");
        }
        // The parser accepts the answer.
        assert!(Remote::parse(SdpType::Answer, &answer).is_ok(), "{answer}");
    }
}

#[test]
fn webrtcbin_is_shown_media_first_and_one_transport() {
    for text in ALL {
        let shown = shown_for(text);
        let lines = m_lines(&shown);
        assert!(
            lines.first().unwrap().starts_with("m=audio") || lines.first().unwrap().starts_with("m=video"),
            "{shown}"
        );
        assert!(lines.iter().all(|line| line.split(' ').nth(1) == Some("9")), "{shown}");
        let mids = values(&shown, "a=mid:");
        if let [group] = &*values(&shown, "a=group:BUNDLE ") {
            assert_eq!(group.split(' ').collect::<Vec<_>>(), mids);
        }
        for line in ["a=ice-ufrag:", "a=ice-pwd:", "a=setup:", "a=fingerprint:sha-256 "] {
            assert!(values(&shown, line).len() >= lines.len(), "{line} in {shown}");
        }
        for stranger in ["sprop", "msid", "H264", "cname:c\r", "a=candidate", "bundle-only", "sctpmap"] {
            assert!(!shown.contains(stranger), "{stranger} in {shown}");
        }
    }
}

#[test]
fn the_groups_order_is_the_peers() {
    let (mut it, answer) = answered(BUNDLE_ORDER);
    assert_eq!(values(&answer, "a=group:BUNDLE "), ["audio video 0"]);
    // The candidates belong to the first mid of the group, which is the second m-line.
    let candidate = it.local_candidate(0, "candidate:1".into()).unwrap();
    assert_eq!((candidate.sdp_mid.as_deref(), candidate.sdp_m_line_index), (Some("audio"), Some(1)));
    assert_eq!(it.remote_candidate(Some("audio"), Some(1), None), Some(0));
    let (mut it, _) = answered(DATA_FIRST);
    assert_eq!(it.local_candidate(0, "candidate:1".into()).unwrap().sdp_mid.as_deref(), Some("v"));
}

/// Firefox offers a transport for each m-line, all with the same user fragment, and keeps that of the group's first
/// mid.
#[test]
fn only_the_candidates_of_the_groups_first_are_used() {
    let (it, _) = answered(BUNDLE_ORDER);
    assert_eq!(it.remote_candidate(Some("audio"), None, None), Some(0));
    for other in ["video", "0"] {
        assert_eq!(it.remote_candidate(Some(other), None, None), None, "{other}");
    }
    // If we reject the first, the peer may still name it in its candidates.
    let h264 = camera("0", "sendrecv", 5).replace("VP8", "H264");
    let (it, answer) = answered(&with("0 1", &[h264, camera("1", "sendrecv", 6)]));
    assert_eq!(values(&answer, "a=group:BUNDLE "), ["1"]);
    assert_eq!(it.remote_candidate(Some("0"), None, None), Some(0));
    assert_eq!(it.remote_candidate(Some("1"), None, None), Some(0));
    // If the peer has rejected the first, the next one counts as first.
    let (it, _) = answered(FIRST_REJECTED);
    assert_eq!(it.remote_candidate(Some("video"), None, None), Some(0));
    assert_eq!(it.remote_candidate(Some("audio"), None, None), None);
}

/// Port 0 (RFC 3264, section 6), and not in the group (RFC 8843, section 7.3.3).
#[test]
fn what_is_rejected_stays_rejected() {
    for (text, number, group) in [(REJECTED, 3, "0 1 2"), (FIRST_REJECTED, 0, "video audio 0")] {
        let (_, answer) = answered(text);
        assert_eq!(m_lines(&answer)[number].split(' ').nth(1), Some("0"), "{answer}");
        assert!(!section(&answer, number).contains("ice-ufrag"), "{answer}");
        assert_eq!(values(&answer, "a=group:BUNDLE "), [group]);
    }
}

#[test]
fn without_mids_positions_count() {
    let (mut it, answer) = answered(NO_MID);
    assert_eq!(values(&answer, "a=mid:"), [""; 0]);
    assert_eq!(values(&answer, "a=group:"), [""; 0]);
    assert_eq!(values(&answer, "a=ice-ufrag:"), ["mine1", "mine2", "mine3"]);
    let candidate = it.local_candidate(1, "candidate:1".into()).unwrap();
    assert_eq!((candidate.sdp_mid, candidate.sdp_m_line_index), (None, Some(1)));
    assert_eq!(it.remote_candidate(None, Some(2), None), Some(2));
}

#[test]
fn an_older_form_is_answered_in_it() {
    let (_, answer) = answered(OLD_SCTP);
    assert_eq!(m_lines(&answer)[2], "m=application 9 DTLS/SCTP 5000");
    assert!(answer.contains("a=sctpmap:5000 webrtc-datachannel"), "{answer}");
    assert!(shown_for(OLD_SCTP).contains("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
}

#[test]
fn what_a_peer_says_of_its_own_sound_does_not_limit_ours() {
    let (_, answer) = answered(SPROP);
    let audio = section(&answer, 1);
    assert!(audio.contains("a=sendrecv\r\n") && audio.contains("a=fmtp:111 useinbandfec=1\r\n"), "{audio}");
    assert!(audio.contains("a=rtpmap:111 opus/48000/2\r\n"), "RFC 7587, section 7: {audio}");
}

#[test]
fn the_same_offer_again_changes_nothing_for_webrtcbin() {
    for text in [DATA_FIRST, BUNDLE_ORDER, FIRST_REJECTED, OLD_SCTP, REJECTED, SPROP, NO_MID, BUNDLE_ONLY] {
        let (mut it, answer) = answered(text);
        let before = it.applied().unwrap().text;
        assert_eq!(it.take_offer(offer(text)), Change::Flows { restarts_ice: false });
        let version =
            |text: &str| text.lines().filter(|line| !line.starts_with("o=")).collect::<Vec<_>>().join("\n");
        assert_eq!(version(&it.answer().unwrap()), version(&answer));
        assert_eq!(version(&it.applied().unwrap().text), version(&before));
    }
}

/// A video m-line like Chromium's.
fn camera(mid: &str, direction: &str, ssrc: u32) -> String {
    format!(
        "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=rtcp-mux\r\na={direction}\r\n\
         a=rtpmap:96 VP8/90000\r\na=ssrc:{ssrc} cname:x\r\n"
    )
}

fn with(mids: &str, sections: &[String]) -> String {
    let transport = format!(
        "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\na=fingerprint:sha-256 {}\r\n",
        ["AB"; 32].join(":")
    );
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mids}\r\n{transport}{}",
        sections.concat()
    )
}

#[test]
fn seats_are_added_behind_the_others_and_used_again() {
    let data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:d\r\na=sctp-port:5000\r\n";
    let (mut it, _) = answered(&with("d", &[data.into()]));
    let anchor_and_data = it.applied().unwrap();
    assert_eq!(m_lines(&anchor_and_data.text).len(), 2, "a media m-line leads: {}", anchor_and_data.text);
    let added = with("d 1", &[data.into(), camera("1", "sendrecv", 5)]);
    assert_eq!(it.take_offer(offer(&added)), Change::Renegotiation { restarts_ice: false });
    let three = it.applied().unwrap();
    assert_eq!(m_lines(&three.text).len(), 3, "{}", three.text);
    assert_eq!(m_lines(&three.text)[..2], m_lines(&anchor_and_data.text)[..]);
    it.take_own_answer(&webrtcbins(&three.text)).unwrap();
    // Another m-line in its place, with another mid, as browsers do.
    let replaced = with("d 2", &[data.into(), camera("2", "sendrecv", 6)]);
    assert_eq!(it.take_offer(offer(&replaced)), Change::Renegotiation { restarts_ice: false });
    assert_eq!(m_lines(&it.applied().unwrap().text).len(), 3, "the seat is used again");
    assert_eq!(it.flows().iter().map(|flow| (flow.seat, flow.mid.as_str())).collect::<Vec<_>>(), [(2, "2")]);
    assert!(it.answer().unwrap().contains("a=mid:2\r\n"));
}

#[test]
fn only_directions_change_and_webrtcbin_hears_nothing() {
    let (mut it, _) = answered(&with("0", &[camera("0", "recvonly", 5)]));
    let flow =
        |it: &Agreement| it.flows().first().map(|flow| (flow.direction.sends, flow.direction.receives));
    assert_eq!(flow(&it), Some((true, false)));
    for (direction, ours, sends, receives) in [
        ("sendrecv", "sendrecv", true, true),
        ("inactive", "inactive", false, false),
        ("sendonly", "recvonly", false, true),
    ] {
        let text = with("0", &[camera("0", direction, 5)]);
        assert_eq!(it.take_offer(offer(&text)), Change::Flows { restarts_ice: false });
        assert_eq!(flow(&it), Some((sends, receives)));
        assert!(it.answer().unwrap().contains(&format!("a={ours}\r\n")));
    }
}

#[test]
fn our_picture_goes_to_the_first_that_wants_it_and_all_of_theirs_come() {
    let cameras = [("a", "sendonly"), ("b", "recvonly"), ("c", "sendrecv"), ("d", "sendonly")];
    let sections: Vec<String> =
        (1..).zip(cameras).map(|(ssrc, (mid, direction))| camera(mid, direction, ssrc)).collect();
    let (it, answer) = answered(&with("a b c d", &sections));
    let directions: Vec<(bool, bool)> =
        it.flows().iter().map(|flow| (flow.direction.sends, flow.direction.receives)).collect();
    assert_eq!(directions, [(false, true), (true, false), (false, true), (false, true)]);
    assert_eq!(values(&answer, "a=recvonly").len() + values(&answer, "a=sendonly").len(), 4);
    let many: Vec<String> = (0..10).map(|n| camera(&n.to_string(), "sendonly", n)).collect();
    let (it, _) = answered(&with("0 1 2 3 4 5 6 7 8 9", &many));
    assert_eq!(it.flows().iter().filter(|flow| flow.direction.receives).count(), MAX_RECEIVED);
}

#[test]
fn what_webrtcbin_cannot_follow_takes_a_new_connection() {
    let first = with("0", &[camera("0", "sendrecv", 5)]);
    for (what, next) in [
        ("another certificate", first.replace("AB:AB", "AC:AC")),
        (
            "another m-line names the transport",
            browsers(&with("1 0", &[camera("0", "sendrecv", 5), camera("1", "sendrecv", 6)])),
        ),
        ("that m-line is gone", browsers(&with("1", &[camera("1", "sendrecv", 6)]))),
        (
            "no group any more",
            with("0", &[camera("0", "sendrecv", 5), camera("1", "sendrecv", 6)])
                .replace("a=group:BUNDLE 0\r\n", ""),
        ),
        (
            "one number for two codecs",
            with(
                "0 1",
                &[
                    camera("0", "sendrecv", 5),
                    camera("1", "sendrecv", 6)
                        .replace("m=video", "m=audio")
                        .replace("VP8/90000", "opus/48000/2"),
                ],
            ),
        ),
    ] {
        let (mut it, _) = answered(&first);
        assert_eq!(it.take_offer(offer(&next)), Change::NewConnection, "{what}");
    }
    // More seats than the limit: each offer has other payload types.
    let (mut it, _) = answered(&first);
    let change = (0..30u32).map(|n| {
        let other = camera("0", "sendrecv", n).replace("96", &(n + 97).to_string());
        it.take_offer(offer(&with("0", &[other])))
    });
    assert!(change.into_iter().any(|change| change == Change::NewConnection));
}

#[test]
fn an_ice_restart_is_told_from_a_new_connection() {
    let first = with("0", &[camera("0", "sendrecv", 5)]);
    let (mut it, _) = answered(&first);
    let restarted = first.replace("ice-ufrag:abcd", "ice-ufrag:wxyz");
    assert_eq!(it.take_offer(offer(&restarted)), Change::Flows { restarts_ice: true });
    it.set_credentials("fresh", "0123456789012345678901");
    assert!(it.answer().unwrap().contains("a=ice-ufrag:fresh\r\na=ice-pwd:0123456789012345678901\r\n"));
    // Later descriptions of webrtcbin have its old credentials.
    let own = webrtcbins(&it.applied().unwrap().text);
    assert!(it.own_for_webrtcbin(&own).contains("a=ice-ufrag:fresh\r\n"));
    it.take_own_answer(&own).unwrap();
    assert!(it.answer().unwrap().contains("a=ice-ufrag:fresh\r\n"));
}

#[test]
fn answers_to_our_offer() {
    let own = webrtcbins(&shown_for(SPROP)).replace("a=setup:active", "a=setup:actpass");
    let answer = |text: &str| {
        let mut it = Agreement::from_own_offer(WISHES, &own).unwrap();
        let remote = Remote::parse(SdpType::Answer, text).unwrap();
        it.take_answer(remote).map(|taken| {
            assert_eq!(taken, Taken::AsAnswer);
            it
        })
    };
    let good = own.replace("a=setup:actpass", "a=setup:active").replace("mine0", "theirs");
    let it = answer(&good).unwrap();
    assert_eq!(m_lines(&it.applied().unwrap().text).len(), 3);
    assert_eq!(it.setup, Some(Setup::Passive));
    // The group in another order: webrtcbin's stays the same.
    let mids = values(&own, "a=mid:");
    let reversed = mids.iter().rev().copied().collect::<Vec<_>>().join(" ");
    let other =
        answer(&good.replace(&format!("BUNDLE {}", mids.join(" ")), &format!("BUNDLE {reversed}"))).unwrap();
    assert_eq!(other.applied().unwrap().text, it.applied().unwrap().text);
    // A rejected first m-line without attributes, as Pion writes it.
    let parts: Vec<&str> = good.split("m=").collect();
    let bare = [parts[0], "video 0 UDP/TLS/RTP/SAVPF 0\r\n", parts[2], parts[3]].join("m=");
    let it = answer(&bare).unwrap();
    assert_eq!(it.flows().len(), 1);
    assert_eq!(m_lines(&it.applied().unwrap().text).len(), 3, "webrtcbin keeps its transport");
    for (wrong, why) in [
        (good.replace("a=setup:active", "a=setup:actpass"), "actpass"),
        (good.replace(mids[0], "other"), "m-lines"),
        ([parts[0], parts[1], parts[2]].join("m="), "m-lines"),
        (good.replace(" 9 UDP", " 0 UDP"), "rejects all that we offer"),
    ] {
        let error = answer(&wrong).unwrap_err().0;
        assert!(error.contains(why), "{error} is not about {why}");
    }
}

/// webrtcbin cannot offer both one transport and one for each m-line, so another one is shown the answer as an offer.
#[test]
fn an_answer_that_does_not_bundle_is_an_offer_for_webrtcbin() {
    let own = webrtcbins(&shown_for(SPROP)).replace("a=setup:active", "a=setup:actpass");
    let mids = values(&own, "a=mid:");
    let mut ufrag = 0;
    let theirs =
        own.lines().filter(|line| !line.starts_with("a=group:")).map(|line| match line.split_once(':') {
            Some(("a=ice-ufrag", _)) => {
                ufrag += 1;
                format!("a=ice-ufrag:theirs{ufrag}\r\n")
            }
            Some(("a=setup", _)) => "a=setup:active\r\n".into(),
            _ => format!("{line}\r\n"),
        });
    let mut it = Agreement::from_own_offer(WISHES, &own).unwrap();
    let answer = Remote::parse(SdpType::Answer, &theirs.collect::<String>()).unwrap();
    assert_eq!(it.take_answer(answer).unwrap(), Taken::AsOffer);
    let shown = it.applied().unwrap();
    assert!(shown.kind == SdpType::Offer && shown.controls_ice, "{shown:?}");
    assert_eq!(values(&shown.text, "a=group:"), [""; 0]);
    let count = mids.len();
    let each: Vec<String> = (1..=count).map(|number| format!("theirs{number}")).collect();
    let shown_ufrags = values(&shown.text, "a=ice-ufrag:");
    assert!(each.iter().all(|ufrag| shown_ufrags.contains(&ufrag.as_str())), "{}", shown.text);
    // Our offer has announced one pair of credentials, and the peer's role is known.
    let webrtcbins = webrtcbins(&shown.text);
    it.take_own_answer(&webrtcbins).unwrap();
    let local = it.own_for_webrtcbin(&webrtcbins);
    assert_eq!(values(&local, "a=ice-ufrag:"), vec![values(&own, "a=ice-ufrag:")[0]; count]);
    assert_eq!(it.setup, Some(Setup::Passive));
    // Each m-line has candidates of its own, under the mid of our offer.
    for (index, mid) in (0u32..).zip(&mids) {
        let candidate = it.local_candidate(index, "candidate:1".into()).unwrap();
        let position = mids.iter().position(|it| Some(*it) == candidate.sdp_mid.as_deref()).unwrap();
        assert!(it.remote_candidate(Some(mid), None, None).is_some());
        assert_eq!(candidate.sdp_m_line_index, u32::try_from(position).ok());
    }
}

#[test]
fn our_offer_marks_nothing_as_bundle_only() {
    let own = "v=0\r\nm=audio 9 X 1\r\na=mid:0\r\nm=video 0 X 2\r\na=bundle-only\r\na=mid:1\r\n";
    let peers = "v=0\r\nm=audio 9 X 1\r\na=mid:0\r\nm=video 9 X 2\r\na=mid:1\r\n";
    let for_peer = |own: &str| Agreement::from_own_offer(WISHES, own).unwrap().offer_for_peer(own);
    assert_eq!(for_peer(own), peers);
    let rejected = "v=0\r\nm=audio 0 X 1\r\n";
    assert_eq!(for_peer(rejected), rejected);
}

/// Browsers start a new transport when the m-line that names it goes; other stacks keep it.
#[test]
fn a_group_may_change_its_order_but_a_browsers_not_what_names_the_transport() {
    let cameras = |mids: &str| with(mids, &[camera("0", "sendrecv", 5), camera("1", "sendrecv", 6)]);
    let same = Change::Flows { restarts_ice: false };
    let (mut it, _) = answered(&browsers(&cameras("0 1")));
    assert_eq!(it.take_offer(offer(&browsers(&cameras("1 0")))), same);
    assert_eq!(it.take_offer(offer(&browsers(&cameras("1")))), same);
    assert_eq!(it.take_offer(offer(&browsers(&cameras("0")))), Change::NewConnection);
    let (mut it, first) = answered(&cameras("0 1"));
    for mids in ["1", "0 1", "0"] {
        assert_eq!(it.take_offer(offer(&cameras(mids))), same, "{mids}");
        let answer = it.answer().unwrap();
        assert_eq!(values(&answer, "a=ice-ufrag:")[0], values(&first, "a=ice-ufrag:")[0], "{mids}");
    }
}

/// Firefox refuses other ICE credentials than before if it has not restarted ICE.
#[test]
fn a_browsers_new_transport_gets_our_credentials_and_role_again() {
    let cameras =
        |mids: &str| browsers(&with(mids, &[camera("0", "sendrecv", 5), camera("1", "sendrecv", 6)]));
    // The peer has answered our offer, so that it is the DTLS client.
    let (mut old, _) = answered(&cameras("0 1"));
    old.setup = Some(Setup::Passive);
    let moved = cameras("1");
    for (offered, ufrag, role) in [
        (moved.clone(), "mine0", "passive"),
        (moved.replace("abcd", "efgh"), "new0", "passive"),
        (moved.replace("o=- 1", "o=- 2"), "new0", "active"),
        (moved.replace("AB:", "AC:"), "new0", "active"),
    ] {
        let mut next = Agreement::from_offer(WISHES, offer(&offered));
        if next.follows(&old) {
            next = next.after(&old);
        }
        let shown = next.applied().unwrap().text;
        let own = webrtcbins(&shown).replace("mine", "new");
        next.take_own_answer(&own).unwrap();
        assert_eq!(values(&next.own_for_webrtcbin(&own), "a=ice-ufrag:")[0], ufrag, "{offered}");
        let answer = next.answer().unwrap();
        assert_eq!((values(&answer, "a=ice-ufrag:")[0], values(&answer, "a=setup:")[0]), (ufrag, role));
    }
}

/// An offer with a sign of libwebrtc.
fn browsers(text: &str) -> String {
    text.replace("t=0 0\r\n", "t=0 0\r\na=msid-semantic: WMS\r\n")
}

/// RTP on the transport of a data m-line ends the process with webrtcbin 1.22.
#[test]
fn media_never_join_a_data_channel_that_leads() {
    let data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:d\r\na=sctp-port:5000\r\n";
    let own = with("d", &[data.into()]);
    let none = Wishes { audio: Direction::default(), video: Direction::default(), ..WISHES };
    let mut it = Agreement::from_own_offer(none, &own).unwrap();
    it.take_answer(Remote::parse(SdpType::Answer, &own.replace("actpass", "active")).unwrap()).unwrap();
    let media = with("d 1", &[data.into(), camera("1", "sendrecv", 5)]);
    assert_eq!(it.take_offer(offer(&media)), Change::Flows { restarts_ice: false });
    let answer = it.answer().unwrap();
    assert!(answer.contains("m=video 0 ") && answer.contains("a=group:BUNDLE d\r\n"), "{answer}");
    assert_eq!(m_lines(&it.applied().unwrap().text).len(), 1);
}

#[test]
fn without_a_group_our_candidates_belong_to_what_is_used() {
    let data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:d\r\na=sctp-port:5000\r\n";
    let (mut it, _) = answered(&with("", &[data.into()]).replace("a=group:BUNDLE \r\n", ""));
    let candidate = it.local_candidate(0, "candidate:1".into()).unwrap();
    assert_eq!((candidate.sdp_mid.as_deref(), candidate.sdp_m_line_index), (Some("d"), Some(0)));
    // One m-line less does not make a new connection.
    let both = [camera("0", "sendrecv", 5), camera("1", "sendrecv", 6)];
    let apart = |sections: &[String]| with("", sections).replace("a=group:BUNDLE \r\n", "");
    let (mut it, _) = answered(&apart(&both));
    let less = [both[0].clone(), both[1].replace("m=video 9", "m=video 0")];
    assert_eq!(it.take_offer(offer(&apart(&less))), Change::Flows { restarts_ice: false });
}

#[test]
fn ssrcs_without_end_take_a_new_connection() {
    let (mut it, _) = answered(&with("0", &[camera("0", "sendrecv", 5)]));
    let mut changes =
        (6..1000).map(|ssrc| it.take_offer(offer(&with("0", &[camera("0", "sendrecv", ssrc)]))));
    assert_eq!(changes.position(|change| change == Change::NewConnection), Some(MAX_SSRCS));
}

#[test]
fn a_peer_may_do_without_retransmissions() {
    let rtx = camera("0", "sendrecv", 5).replace("SAVPF 96", "SAVPF 96 97").replace(
        "a=ssrc:",
        "a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=ssrc:",
    );
    let (mut it, answer) = answered(&with("0", &[rtx]));
    assert!(
        answer.contains("m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n") && answer.contains("a=rtcp-fb:96 nack pli")
    );
    assert_eq!(
        it.take_offer(offer(&with("0", &[camera("0", "sendrecv", 5)]))),
        Change::Flows { restarts_ice: false }
    );
    let answer = it.answer().unwrap();
    assert!(
        answer.contains("SAVPF 96\r\n") && !answer.contains("rtx") && !answer.contains("nack"),
        "{answer}"
    );
    assert!(!it.applied().unwrap().text.contains("rtx"));
}

#[test]
fn numbers_of_an_answer_may_differ() {
    let own = webrtcbins(&shown_for(&with("0", &[camera("0", "sendrecv", 5)])))
        .replace("a=setup:active", "a=setup:actpass");
    let mut it = Agreement::from_own_offer(WISHES, &own).unwrap();
    let theirs = own.replace("SAVPF 96", "SAVPF 120").replace(":96 ", ":120 ").replace("actpass", "active");
    it.take_answer(Remote::parse(SdpType::Answer, &theirs).unwrap()).unwrap();
    let applied = it.applied().unwrap();
    assert_eq!(applied.renumbered, [(96, 120)]);
    assert!(applied.text.contains("a=rtpmap:96 VP8/90000"), "{}", applied.text);
}

#[test]
fn nothing_in_common_is_said_with_both_lists() {
    let g722 = camera("0", "sendrecv", 5).replace("VP8", "H264");
    let it = Agreement::from_offer(WISHES, offer(&with("0", std::slice::from_ref(&g722))));
    assert_eq!(
        it.check().unwrap_err().0,
        "no codec in common: the peer has H264 with other parameters; we have VP8, opus"
    );
    let rejection = it.rejection().unwrap();
    assert!(
        rejection.contains("m=video 0 UDP/TLS/RTP/SAVPF 96\r\n") && rejection.contains("a=mid:0"),
        "{rejection}"
    );
    // A call for which we want no media goes on with the data channel.
    let none = Wishes { audio: Direction::default(), video: Direction::default(), ..WISHES };
    let data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:d\r\na=sctp-port:5000\r\n";
    let both = with("0 d", &[g722, data.into()]);
    assert!(Agreement::from_offer(none, offer(&both)).check().is_ok());
    assert!(Agreement::from_offer(WISHES, offer(&both)).check().is_err());
}

/// M-lines of a peer: each with a kind, a direction or rejected, and one of several codecs or payload types.
fn sections() -> impl Strategy<Value = Vec<(usize, usize, usize)>> {
    proptest::collection::vec((0usize..4, 0usize..5, 0usize..3), 0..6)
}

fn write(sections: &[(usize, usize, usize)], ufrag: usize) -> String {
    let directions = ["sendrecv", "sendonly", "recvonly", "inactive"];
    let mut text = Vec::new();
    let mut mids = Vec::new();
    for (number, (kind, direction, codec)) in sections.iter().enumerate() {
        let mid = format!("m{number}k{kind}");
        let direction_line = directions.get(*direction);
        let port = if direction_line.is_some() { 9 } else { 0 };
        let (name, codec) = match (kind, codec) {
            (0, 0) => ("audio", "111 opus/48000/2"),
            (0, _) => ("audio", "109 opus/48000/2"),
            (1, 0) => ("video", "96 VP8/90000"),
            (1, 1) => ("video", "111 VP8/90000"),
            (2, _) => ("application", ""),
            _ => ("video", "97 H264/90000"),
        };
        mids.extend(direction_line.map(|_| mid.clone()));
        let direction = direction_line.unwrap_or(&"inactive");
        let number = codec.split(' ').next().unwrap();
        text.push(match name {
            "application" => format!("m=application {port} UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:{mid}\r\na=sctp-port:5000\r\n"),
            _ => format!("m={name} {port} UDP/TLS/RTP/SAVPF {number}\r\na=mid:{mid}\r\na={direction}\r\na=rtpmap:{codec}\r\n"),
        });
    }
    with(&mids.join(" "), &text).replace("abcd\r\n", &format!("user{ufrag}\r\n"))
}

proptest! {
    /// For any sequence of offers: webrtcbin gets m-lines that never move or change, with media first and at most one
    /// data m-line, and each offer has an answer that fits it.
    #[test]
    fn seats_never_move(offers in proptest::collection::vec((sections(), 0usize..2), 1..12)) {
        let mut current: Option<(Agreement, String)> = None;
        for (sections, ufrag) in offers {
            let text = write(&sections, ufrag);
            let Ok(remote) = Remote::parse(SdpType::Offer, &text) else { continue };
            let mut it = match current.take() {
                Some((mut it, shown)) => match it.take_offer(remote.clone()) {
                    Change::NewConnection => Agreement::from_offer(WISHES, remote),
                    Change::Flows { restarts_ice } | Change::Renegotiation { restarts_ice } => {
                        if restarts_ice {
                            it.set_credentials("fresh", "0123456789012345678901");
                        }
                        if let Some(applied) = it.applied() {
                            let (before, after) = (m_lines(&shown), m_lines(&applied.text));
                            prop_assert!(after.starts_with(&before), "{:?} after {:?}", after, before);
                        }
                        it
                    }
                },
                None => Agreement::from_offer(WISHES, remote),
            };
            if it.check().is_err() && it.applied().is_none() {
                continue;
            }
            let shown = it.applied().map(|applied| applied.text).unwrap_or_default();
            if !shown.is_empty() {
                let lines = m_lines(&shown);
                prop_assert!(lines.len() <= MAX_SEATS);
                prop_assert!(!lines[0].starts_with("m=application"), "{}", shown);
                prop_assert!(lines.iter().filter(|line| line.starts_with("m=application")).count() <= 1);
                it.take_own_answer(&webrtcbins(&shown)).unwrap();
            }
            let answer = it.answer().unwrap();
            prop_assert_eq!(m_lines(&answer).len(), sections.len());
            let parsed = Remote::parse(SdpType::Answer, &answer).unwrap();
            for (section, theirs) in parsed.sections.iter().zip(&it.remote().unwrap().sections) {
                prop_assert!(!theirs.rejected || section.rejected);
                prop_assert!(section.rejected || !section.sends || theirs.receives);
                prop_assert!(section.rejected || !section.receives || theirs.sends);
            }
            current = Some((it, shown));
        }
    }
}

#[test]
fn data_channels_are_there_if_both_want_them() {
    let (with, _) = answered(BUNDLE_ORDER);
    assert!(with.has_data());
    let without =
        BUNDLE_ORDER.replace("m=application 9", "m=application 0").replace(" 0\r\na=ice", "\r\na=ice");
    assert!(!answered(&without).0.has_data());
    assert!(!Agreement::new(WISHES).has_data());
}

const TWO_CAMERAS: Wishes = Wishes { cameras: 2, ..WISHES };

/// Our track on each m-line of the peer that we send on, by mid.
fn tracks(it: &Agreement) -> Vec<(String, usize)> {
    it.flows()
        .into_iter()
        .filter(|flow| flow.direction.sends)
        .map(|flow| (flow.mid, flow.track.unwrap()))
        .collect()
}

#[test]
fn our_cameras_take_the_m_lines_that_the_peer_wants_to_receive_on_in_order() {
    let lines = [camera("a", "sendonly", 5), camera("b", "recvonly", 6), camera("c", "sendrecv", 7)];
    let it = Agreement::from_offer(TWO_CAMERAS, offer(&with("a b c", &lines)));
    assert_eq!(tracks(&it), [("b".into(), 0), ("c".into(), 1)]);
    let it = Agreement::from_offer(WISHES, offer(&with("a b c", &lines)));
    assert_eq!(tracks(&it), [("b".into(), 0)], "one camera is sent once");
}

#[test]
fn in_our_offer_each_camera_keeps_its_m_line() {
    let own = with("x y", &[camera("x", "sendrecv", 1), camera("y", "sendrecv", 2)]);
    let answer = |x: &str, y: &str| {
        let text = with("x y", &[camera("x", x, 3), camera("y", y, 4)]).replace("actpass", "active");
        let mut it = Agreement::from_own_offer(TWO_CAMERAS, &own).unwrap();
        it.take_answer(Remote::parse(SdpType::Answer, &text).unwrap()).unwrap();
        tracks(&it)
    };
    assert_eq!(answer("recvonly", "recvonly"), [("x".into(), 0), ("y".into(), 1)]);
    assert_eq!(answer("inactive", "recvonly"), [("y".into(), 1)], "the name is that of the second camera");
    assert_eq!(answer("sendrecv", "sendonly"), [("x".into(), 0)]);
}

/// Wishes with these codecs.
fn with_codecs(formats: &[Format]) -> Wishes {
    Wishes { codecs: formats.iter().copied().collect(), ..WISHES }
}

/// What webrtcbin 1.22 offers for the first codec of each kind.
fn webrtcbins_offer(wishes: Wishes) -> String {
    let mut media = Vec::new();
    for (mid, kind) in [("0", Kind::Audio), ("1", Kind::Video)] {
        let Some(format) = wishes.codecs.of(kind).next() else { continue };
        let (name, number) = (kind.name(), format.row().payload_type);
        let repair = if kind == Kind::Video { " 97" } else { "" };
        media.push(format!(
            "m={name} 9 UDP/TLS/RTP/SAVPF {number}{repair}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=sendrecv\r\na=rtcp-mux\r\n\
             a=rtpmap:{number} {}\r\na=rtcp-fb:{number} nack pli\r\na=rtcp-fb:{number} transport-cc\r\n\
             a=extmap:1 {}\r\na=ssrc:7 cname:mine\r\n",
            format.map(),
            crate::sdp::EXTENSION_TWCC,
        ));
    }
    with("0 1", &media)
}

/// The part of a description for video.
fn video(text: &str) -> String {
    let start = text.find("m=video").unwrap();
    text[start..].to_owned()
}

#[test]
fn all_our_codecs_are_offered_each_with_its_own_retransmissions() {
    let wishes =
        with_codecs(&[Format::H264, Format::Vp8, Format::Vp9, Format::H265, Format::Pcmu, Format::Opus]);
    let own = webrtcbins_offer(wishes);
    let offer = Agreement::from_own_offer(wishes, &own).unwrap().offer_for_peer(&own);
    assert_eq!(
        m_lines(&offer),
        ["m=audio 9 UDP/TLS/RTP/SAVPF 0 111", "m=video 9 UDP/TLS/RTP/SAVPF 98 99 96 97 100 101 104 105"]
    );
    let video = video(&offer);
    for line in [
        "a=rtpmap:98 H264/90000",
        "a=fmtp:98 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        "a=rtpmap:99 rtx/90000",
        "a=fmtp:99 apt=98",
        "a=fmtp:97 apt=96",
        "a=fmtp:100 profile-id=0",
        "a=fmtp:101 apt=100",
        "a=rtcp-fb:104 nack pli",
        "a=rtcp-fb:96 transport-cc",
    ] {
        assert_eq!(values(&video, line), [""], "{line} once in {video}");
    }
    assert!(offer.contains("a=rtpmap:0 PCMU/8000\r\n") && offer.contains("a=fmtp:111 useinbandfec=1\r\n"));
    // No attribute precedes the connection line.
    assert!(offer.contains("105\r\nc=IN IP4 0.0.0.0\r\na="), "{offer}");
    let parsed = Remote::parse(SdpType::Offer, &offer).unwrap();
    let menu: Vec<_> = parsed.sections[1].menu.iter().map(|it| (it.format, it.repair)).collect();
    assert_eq!(
        menu,
        [
            (Format::H264, Some(99)),
            (Format::Vp8, Some(97)),
            (Format::Vp9, Some(101)),
            (Format::H265, Some(105))
        ]
    );
}

/// An answer to [`webrtcbins_offer`] with these codecs for video.
fn answer_with(codecs: &[&str]) -> String {
    let lines: String = codecs
        .iter()
        .map(|codec| {
            let (number, map) = codec.split_once(' ').unwrap();
            let (map, fmtp) = map.split_once(' ').unwrap_or((map, ""));
            let fmtp = if fmtp.is_empty() { String::new() } else { format!("a=fmtp:{number} {fmtp}\r\n") };
            format!("a=rtpmap:{number} {map}\r\n{fmtp}")
        })
        .collect();
    let numbers: Vec<&str> = codecs.iter().map(|codec| codec.split(' ').next().unwrap()).collect();
    let video = format!(
        "m=video 9 UDP/TLS/RTP/SAVPF {}\r\na=mid:1\r\na=sendrecv\r\na=rtcp-mux\r\n{lines}",
        numbers.join(" ")
    );
    let audio = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=sendrecv\r\na=rtpmap:111 opus/48000/2\r\n";
    with("0 1", &[audio.into(), video]).replace("actpass", "active")
}

#[test]
fn the_answers_first_codec_that_we_offered_is_used_and_the_others_may_follow() {
    let wishes = with_codecs(&[Format::Vp8, Format::H264, Format::Vp9, Format::Opus]);
    let mode_1 = "packetization-mode=1;profile-level-id";
    for (answer, used, shown) in [
        (&["96 VP8/90000", "98 H264/90000"][..], Some(Format::Vp8), "96"),
        (
            &["100 VP9/90000 profile-id=0", "96 VP8/90000", "101 rtx/90000 apt=100"],
            Some(Format::Vp9),
            "100 101 96",
        ),
        (
            &["98 H264/90000 packetization-mode=1;profile-level-id=42e015", "99 rtx/90000 apt=98"],
            Some(Format::H264),
            "98 99",
        ),
        // Main with set 0 is constrained baseline, too; plain baseline is not.
        (&["98 H264/90000 packetization-mode=1;profile-level-id=4d801f"], Some(Format::H264), "98"),
        (
            &["98 H264/90000 packetization-mode=1;profile-level-id=42001f", "96 VP8/90000"],
            Some(Format::Vp8),
            "96",
        ),
        (
            &["98 H264/90000 packetization-mode=0;profile-level-id=42e01f", "96 VP8/90000"],
            Some(Format::Vp8),
            "96",
        ),
        (&["104 H265/90000", "96 VP8/90000"], Some(Format::Vp8), "96"),
        (&["104 H265/90000"], None, ""),
    ] {
        let own = webrtcbins_offer(wishes);
        let mut it = Agreement::from_own_offer(wishes, &own).unwrap();
        it.take_answer(Remote::parse(SdpType::Answer, &answer_with(answer)).unwrap()).unwrap();
        let flow = it.flows().into_iter().find(|flow| flow.kind == Kind::Video);
        assert_eq!(flow.map(|flow| flow.codec.format), used, "{answer:?} {mode_1}");
        if used.is_some() {
            let text = it.applied().unwrap().text;
            assert!(text.contains(&format!("m=video 9 UDP/TLS/RTP/SAVPF {shown}\r\n")), "{answer:?}: {text}");
        }
    }
}

#[test]
fn other_numbers_of_an_answer_are_ours_for_webrtcbin() {
    let wishes = with_codecs(&[Format::Vp8, Format::Vp9, Format::Opus]);
    let own = webrtcbins_offer(wishes);
    let mut it = Agreement::from_own_offer(wishes, &own).unwrap();
    let answer = answer_with(&["120 VP9/90000", "121 rtx/90000 apt=120", "96 VP8/90000"]);
    it.take_answer(Remote::parse(SdpType::Answer, &answer).unwrap()).unwrap();
    let applied = it.applied().unwrap();
    assert!(applied.text.contains("SAVPF 100 101 96\r\n"), "{}", applied.text);
    assert_eq!(applied.renumbered, [(100, 120), (101, 121)]);
    assert_eq!(it.flows()[1].codec.payload_type, 100);
}

/// The video section of an offer like Chromium's.
fn many() -> String {
    let camera = camera("0", "sendrecv", 5);
    let numbers = "SAVPF 96 97 103 104 107 109 110 98 100";
    let codecs = "a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
         a=rtpmap:103 H264/90000\r\na=fmtp:103 packetization-mode=1;profile-level-id=42001f\r\n\
         a=rtpmap:104 rtx/90000\r\na=fmtp:104 apt=103\r\n\
         a=rtpmap:107 H264/90000\r\na=fmtp:107 packetization-mode=0;profile-level-id=42e01f\r\n\
         a=rtpmap:109 H264/90000\r\na=fmtp:109 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
         a=rtpmap:110 rtx/90000\r\na=fmtp:110 apt=109\r\n\
         a=rtpmap:98 VP9/90000\r\na=fmtp:98 profile-id=0\r\n\
         a=rtpmap:100 VP9/90000\r\na=fmtp:100 profile-id=2\r\na=ssrc:";
    with("0", &[camera.replace("SAVPF 96", numbers).replace("a=ssrc:", codecs)])
}

#[test]
fn an_answer_has_our_favourite_of_the_peers_codecs_with_its_numbers() {
    for (formats, numbers, line) in [
        (&[Format::Vp8, Format::H264][..], "96 97", "a=rtpmap:96 VP8/90000"),
        (
            &[Format::H265, Format::H264, Format::Vp8],
            "109 110",
            "a=fmtp:109 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        ),
        (&[Format::Vp9], "98", "a=fmtp:98 profile-id=0"),
    ] {
        let mut it = Agreement::from_offer(with_codecs(formats), offer(&many()));
        it.take_own_answer(&webrtcbins(&it.applied().unwrap().text)).unwrap();
        let answer = it.answer().unwrap();
        assert!(answer.contains(&format!("m=video 9 UDP/TLS/RTP/SAVPF {numbers}\r\n")), "{answer}");
        assert_eq!(values(&answer, line), [""], "{answer}");
    }
    let plain = many().replace("a=rtpmap:109 H264", "a=rtpmap:109 X264");
    let mut it = Agreement::from_offer(with_codecs(&[Format::H264]), offer(&plain));
    it.take_own_answer(&webrtcbins(&it.applied().unwrap().text)).unwrap();
    let answer = it.answer().unwrap();
    assert!(answer.contains("SAVPF 103 104\r\n") && answer.contains("profile-level-id=42001f"), "{answer}");
}

/// Our preference must not move an m-line to another codec because the peer offers again.
#[test]
fn a_later_offer_keeps_the_codec_in_use() {
    let wishes = with_codecs(&[Format::Vp8, Format::H264, Format::Opus]);
    let own = webrtcbins_offer(wishes);
    let mut it = Agreement::from_own_offer(wishes, &own).unwrap();
    let answer = answer_with(&["98 H264/90000 packetization-mode=1;profile-level-id=42e01f", "96 VP8/90000"]);
    it.take_answer(Remote::parse(SdpType::Answer, &answer).unwrap()).unwrap();
    let again = answer.replace("active", "actpass").replace("sendrecv", "sendonly");
    assert_eq!(it.take_offer(offer(&again)), Change::Flows { restarts_ice: false });
    assert_eq!(it.flows()[1].codec.format, Format::H264);
    assert!(it.answer().unwrap().contains("SAVPF 98\r\n"));
    // Without it, another codec takes another seat.
    let other = answer_with(&["96 VP8/90000"]).replace("active", "actpass");
    assert_eq!(it.take_offer(offer(&other)), Change::Renegotiation { restarts_ice: false });
    assert_eq!(it.flows()[1].codec.format, Format::Vp8);
}

#[test]
fn static_payload_types_need_no_map() {
    let audio =
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 0 8\r\na=mid:0\r\na=sendrecv\r\na=rtpmap:111 opus/48000/2\r\n";
    let text = with("0", &[audio.into()]);
    for (formats, number) in
        [(&[Format::Pcmu, Format::Opus][..], 0), (&[Format::Pcma], 8), (&[Format::Opus], 111)]
    {
        let it = Agreement::from_offer(with_codecs(formats), offer(&text));
        assert_eq!(it.flows()[0].codec.payload_type, number);
        let shown = it.applied().unwrap().text;
        assert!(shown.contains(&format!("a=rtpmap:{number} {}\r\n", formats[0].map())), "{shown}");
    }
    assert!(Agreement::from_offer(with_codecs(&[Format::Vp8]), offer(&text)).flows().is_empty());
}

/// Whatever the orders are, the choice is one that both have, and webrtcbin is shown no number twice.
#[test]
fn every_pair_of_lists_has_a_choice_that_both_have() {
    let formats: Vec<Format> =
        TABLE.iter().filter(|row| row.kind == Kind::Video).map(|row| row.format).collect();
    for mine in 1u32..32 {
        for theirs in 1u32..32 {
            let pick = |bits: u32| {
                formats
                    .iter()
                    .copied()
                    .enumerate()
                    .filter(move |(bit, _)| bits >> bit & 1 == 1)
                    .map(|(_, it)| it)
            };
            let wishes = with_codecs(&pick(mine).collect::<Vec<_>>());
            let own = webrtcbins_offer(wishes);
            let peer = with_codecs(&pick(theirs).collect::<Vec<_>>());
            let sent = Agreement::from_own_offer(wishes, &own).unwrap().offer_for_peer(&own);
            let chosen =
                Agreement::from_offer(peer, offer(&sent)).flows().first().map(|flow| flow.codec.clone());
            assert_eq!(chosen.as_ref().map(|it| it.format), pick(mine & theirs).next());
            if let Some(codec) = chosen {
                assert_eq!(codec.payload_type, codec.format.row().payload_type);
                assert_eq!(
                    codec.h264.is_some_and(|it| it.matches(H264::ours())),
                    codec.format == Format::H264
                );
            }
        }
    }
}
