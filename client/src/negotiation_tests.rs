use proptest::prelude::*;

use super::*;
use crate::{media::encode::codec::Formats, sdp::Direction};

const LIMIT: Duration = Duration::from_secs(10);
const T0: Duration = Duration::ZERO;

const WISHES: Wishes = Wishes { audio: BOTH, video: BOTH, cameras: 1, codecs: Formats::USUAL };
const BOTH: Direction = Direction { sends: true, receives: true };

/// A description like webrtcbin's, of a peer with this ICE user fragment.
fn sdp(kind: SdpType, ufrag: &str) -> String {
    sdp_of(kind, ufrag, "AB")
}

/// As above, of a peer with another certificate.
fn sdp_of(kind: SdpType, ufrag: &str, certificate: &str) -> String {
    let setup = if kind == SdpType::Offer { "actpass" } else { "active" };
    let fingerprint = [certificate; 32].join(":");
    format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE audio0\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:audio0\r\na=ice-ufrag:{ufrag}\r\n\
         a=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 {fingerprint}\r\na=setup:{setup}\r\n\
         a=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n"
    )
}

fn signal(kind: SdpType, ufrag: &str) -> Input {
    Input::Signal(Signal::Sdp { kind, sdp: sdp(kind, ufrag) })
}

/// The offer of a new connection, like that of a reloaded page.
fn new_peer(number: u32) -> Input {
    let sdp = sdp_of(SdpType::Offer, &format!("user{number}"), &format!("{:02X}", number % 256));
    Input::Signal(Signal::Sdp { kind: SdpType::Offer, sdp })
}

fn candidate(line: &str) -> Input {
    let candidate = Candidate { candidate: line.into(), sdp_mid: None, sdp_m_line_index: None };
    Input::Signal(Signal::Ice(candidate))
}

const HOST: &str = "candidate:1 1 UDP 100 10.0.0.1 9 typ host";
const MDNS: &str = "candidate:1 1 UDP 100 abc.local 9 typ host";

fn idle() -> Negotiation {
    Negotiation::new(false, LIMIT, WISHES)
}

/// An offerer that has sent its offer.
fn offered(polite: bool) -> Negotiation {
    let mut it = Negotiation::new(polite, LIMIT, WISHES);
    assert_eq!(it.handle(T0, Input::Start(Start::Offer)), [Effect::CreateOffer]);
    it.handle(T0, Input::Created(SdpType::Offer, sdp(SdpType::Offer, "mine")));
    it
}

/// An answerer that has been called and is connected.
fn called() -> Negotiation {
    let mut it = idle();
    it.handle(T0, Input::Start(Start::BeCalled));
    it.handle(T0, signal(SdpType::Offer, "theirs"));
    it.handle(T0, Input::RemoteSet);
    it.handle(T0, Input::Created(SdpType::Answer, sdp(SdpType::Answer, "mine")));
    it.handle(T0, Input::LocalSet);
    it.handle(T0, Input::Connected);
    assert_eq!(it.phase(), Phase::Connected);
    it
}

/// The answer among these effects.
fn answer_in(effects: &[Effect]) -> Option<&str> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send(Signal::Sdp { kind: SdpType::Answer, sdp }) => Some(sdp.as_str()),
        _ => None,
    })
}

/// An offerer that is connected.
fn connected() -> Negotiation {
    let mut it = offered(false);
    it.handle(T0, signal(SdpType::Answer, "theirs"));
    it.handle(T0, Input::RemoteSet);
    it.handle(T0, Input::IceConnected);
    it.handle(T0, Input::Connected);
    assert_eq!(it.phase(), Phase::Connected);
    it
}

fn failure(effects: &[Effect]) -> Option<&NegotiationFailure> {
    effects.iter().find_map(|effect| match effect {
        Effect::Fail(failure) => Some(failure),
        _ => None,
    })
}

#[test]
fn offers_and_takes_the_answer() {
    let mut it = idle();
    assert_eq!(it.handle(T0, Input::Start(Start::Offer)), [Effect::CreateOffer]);
    let text = sdp(SdpType::Offer, "mine");
    let for_peer = Agreement::from_own_offer(WISHES, &text).unwrap().offer_for_peer(&text);
    // The description is sent before `SetLocal`: candidates must not overtake it.
    assert_eq!(
        it.handle(T0, Input::Created(SdpType::Offer, text.clone())),
        [
            Effect::Send(Signal::Sdp { kind: SdpType::Offer, sdp: for_peer }),
            Effect::Report(Milestone::OfferSent),
            Effect::SetLocal(SdpType::Offer, text),
        ]
    );
    let effects = it.handle(T0, signal(SdpType::Answer, "theirs"));
    assert!(matches!(&*effects, [Effect::Report(Milestone::AnswerReceived), Effect::ApplyAnswer(_)]));
    assert_eq!(it.handle(T0, Input::RemoteSet), []);
    assert_eq!(it.handle(T0, Input::IceConnected), [Effect::Report(Milestone::IceConnected)]);
    assert_eq!(it.handle(T0, Input::Connected), [Effect::Report(Milestone::Connected)]);
    assert_eq!(it.deadline(), None);
}

#[test]
fn answers_an_offer() {
    let mut it = idle();
    it.handle(T0, Input::Start(Start::BeCalled));
    assert_eq!(it.deadline(), None);
    let effects = it.handle(T0, signal(SdpType::Offer, "theirs"));
    assert!(matches!(&*effects, [Effect::Report(Milestone::OfferReceived), Effect::ApplyOffer(_)]));
    assert_eq!(it.deadline(), Some(LIMIT));
    assert_eq!(it.handle(T0, Input::RemoteSet), [Effect::CreateAnswer]);
    let text = sdp(SdpType::Answer, "mine");
    let effects = it.handle(T0, Input::Created(SdpType::Answer, text.clone()));
    assert!(matches!(
        &*effects,
        [Effect::Send(_), Effect::Report(Milestone::AnswerSent), Effect::SetLocal(..), Effect::Flow(_)]
    ));
    // DTLS may be reported before ICE.
    assert_eq!(
        it.handle(T0, Input::Connected),
        [Effect::Report(Milestone::IceConnected), Effect::Report(Milestone::Connected)]
    );
}

/// A description of two m-lines with a transport each, or with one for both.
fn two_lines(kind: SdpType, ufrag: &str, bundled: bool) -> String {
    let one = sdp(kind, ufrag);
    let (session, line) = one.split_at(one.find("m=").unwrap());
    let session = session.replace("BUNDLE audio0", "BUNDLE audio0 audio1");
    let session = if bundled { session } else { session.replace("a=group", "a=x-group") };
    format!("{session}{line}{}", line.replace("audio0", "audio1"))
}

#[test]
fn an_answer_that_does_not_bundle_takes_another_webrtcbin_and_no_answer_of_ours() {
    let mut it = idle();
    it.handle(T0, Input::Start(Start::Offer));
    it.handle(T0, Input::Created(SdpType::Offer, two_lines(SdpType::Offer, "mine", true)));
    it.handle(T0, candidate(HOST));
    let answer = two_lines(SdpType::Answer, "theirs", false);
    let effects = it.handle(T0, Input::Signal(Signal::Sdp { kind: SdpType::Answer, sdp: answer.clone() }));
    let [Effect::Report(Milestone::AnswerReceived), Effect::Unbundle, Effect::ApplyOffer(applied)] =
        &*effects
    else {
        panic!("{effects:?}")
    };
    assert!(applied.controls_ice);
    let created = it.handle(T0, Input::RemoteSet);
    assert_eq!(created, [Effect::CreateAnswer, Effect::AddCandidate(0, Some(HOST.into()))]);
    let effects = it.handle(T0, Input::Created(SdpType::Answer, two_lines(SdpType::Answer, "fresh", false)));
    let [Effect::SetLocal(SdpType::Answer, local), Effect::Flow(flows)] = &*effects else {
        panic!("{effects:?}")
    };
    assert!(local.contains("a=ice-ufrag:mine") && !local.contains("fresh"), "{local}");
    assert_eq!(flows.len(), 2);
    it.handle(T0, Input::LocalSet);
    // Candidates follow without an answer before them, and the answer said twice is ignored.
    let sent = it.handle(T0, Input::LocalCandidate(1, HOST.into()));
    let [Effect::Send(Signal::Ice(sent))] = &*sent else { panic!("{sent:?}") };
    assert_eq!((sent.sdp_mid.as_deref(), sent.sdp_m_line_index), (Some("audio1"), Some(1)));
    assert_eq!(it.handle(T0, Input::Signal(Signal::Sdp { kind: SdpType::Answer, sdp: answer })), []);
    it.handle(T0, Input::Connected);
    // Later offers are answered as usual.
    let later = two_lines(SdpType::Offer, "theirs", false).replace("sendrecv", "inactive");
    let effects = it.handle(T0, Input::Signal(Signal::Sdp { kind: SdpType::Offer, sdp: later }));
    assert!(answer_in(&effects).is_some(), "{effects:?}");
}

#[test]
fn asks_for_an_offer_and_honours_the_request() {
    let mut it = idle();
    assert_eq!(it.handle(T0, Input::Start(Start::RequestOffer)), [Effect::Send(Signal::OfferRequest)]);
    let mut other = idle();
    other.handle(T0, Input::Start(Start::BeCalled));
    assert_eq!(other.handle(T0, Input::Signal(Signal::OfferRequest)), [Effect::CreateOffer]);
    assert_eq!(other.handle(T0, Input::Signal(Signal::OfferRequest)), [], "once is enough");
}

#[test]
fn holds_candidates_until_the_description_is_set() {
    let mut it = idle();
    it.handle(T0, Input::Start(Start::BeCalled));
    assert_eq!(it.handle(T0, candidate(HOST)), []);
    it.handle(T0, signal(SdpType::Offer, "theirs"));
    assert_eq!(it.handle(T0, candidate(HOST)), []);
    assert_eq!(
        it.handle(T0, Input::RemoteSet),
        [
            Effect::CreateAnswer,
            // Received twice, used once.
            Effect::AddCandidate(0, Some(HOST.into())),
        ]
    );
    let other = HOST.replace("10.0.0.1", "10.0.0.2");
    assert_eq!(it.handle(T0, candidate(&other)), [Effect::AddCandidate(0, Some(other.clone()))]);
}

#[test]
fn looks_names_up_and_says_that_was_all_only_then() {
    let mut it = connected();
    let effects = it.handle(T0, candidate(MDNS));
    let [Effect::Resolve(0, parsed, name)] = &*effects else { panic!("{effects:?}") };
    assert_eq!(name, "abc.local");
    assert_eq!(it.handle(T0, candidate("")), []);
    let ip = "10.0.0.7".parse().ok();
    assert_eq!(
        it.handle(T0, Input::Resolved(0, parsed.clone(), ip)),
        [Effect::AddCandidate(0, Some(MDNS.replace("abc.local", "10.0.0.7"))), Effect::AddCandidate(0, None)]
    );
}

#[test]
fn a_name_nobody_knows_is_dropped() {
    let mut it = connected();
    let effects = it.handle(T0, candidate(MDNS));
    let [Effect::Resolve(0, parsed, _)] = &*effects else { panic!("{effects:?}") };
    assert_eq!(it.handle(T0, Input::Resolved(0, parsed.clone(), None)), []);
}

#[test]
fn a_flood_of_candidates_is_bounded() {
    let mut held = idle();
    held.handle(T0, Input::Start(Start::BeCalled));
    for _ in 0..10_000 {
        held.handle(T0, candidate(HOST));
    }
    held.handle(T0, signal(SdpType::Offer, "theirs"));
    assert!(held.handle(T0, Input::RemoteSet).len() <= MAX_HELD + 1);

    let other = |line: &str, number: u32| candidate(&line.replace("UDP 100", &format!("UDP {number}")));
    let mut it = connected();
    let used = (0..10_000).filter(|number| !it.handle(T0, other(HOST, *number)).is_empty()).count();
    assert_eq!(used, MAX_CANDIDATES);
    let mut it = connected();
    let looked_up = (0..10_000).filter(|number| !it.handle(T0, other(MDNS, *number)).is_empty()).count();
    assert_eq!(looked_up, MAX_LOOKUPS);
}

#[test]
fn local_candidates_carry_mid_and_index() {
    let effects = offered(false).handle(T0, Input::LocalCandidate(0, HOST.into()));
    let expected =
        Candidate { candidate: HOST.into(), sdp_mid: Some("audio0".into()), sdp_m_line_index: Some(0) };
    assert_eq!(effects, [Effect::Send(Signal::Ice(expected))]);
}

#[test]
fn in_a_glare_the_impolite_offer_stands() {
    let mut impolite = offered(false);
    assert_eq!(impolite.handle(T0, signal(SdpType::Offer, "theirs")), []);
    assert!(!impolite.handle(T0, signal(SdpType::Answer, "theirs")).is_empty());

    let mut polite = offered(true);
    let effects = polite.handle(T0, signal(SdpType::Offer, "theirs"));
    assert!(matches!(
        &*effects,
        [
            Effect::Report(Milestone::OfferReceived),
            Effect::Rebuild { keeps_channels: false },
            Effect::ApplyOffer(_)
        ]
    ));
}

#[test]
fn a_repeated_offer_is_no_new_one() {
    let mut it = idle();
    it.handle(T0, Input::Start(Start::BeCalled));
    it.handle(T0, signal(SdpType::Offer, "theirs"));
    assert_eq!(it.handle(T0, signal(SdpType::Offer, "theirs")), []);
    it.handle(T0, Input::RemoteSet);
    it.handle(T0, Input::Created(SdpType::Answer, sdp(SdpType::Answer, "mine")));
    assert_eq!(it.handle(T0, signal(SdpType::Offer, "theirs")), []);
}

#[test]
fn a_peer_that_starts_over_gets_a_new_transport() {
    let mut it = connected();
    let effects = it.handle(T0, new_peer(1));
    assert!(matches!(
        &*effects,
        [
            Effect::Report(Milestone::OfferReceived),
            Effect::Rebuild { keeps_channels: false },
            Effect::ApplyOffer(_)
        ]
    ));
    assert_eq!(it.phase(), Phase::Negotiating);
    assert_eq!(it.deadline(), Some(LIMIT));
}

/// Chromium does this when the m-line that named the transport is stopped.
#[test]
fn a_peer_that_only_moves_its_transport_keeps_its_data_channels() {
    let moved = |session: &str| {
        let sdp = sdp(SdpType::Offer, "theirs").replace("audio0", "audio1");
        let sdp = sdp.replace("s=-", "s=-\r\na=msid-semantic: WMS");
        Input::Signal(Signal::Sdp { kind: SdpType::Offer, sdp: sdp.replace("o=- 1 1", session) })
    };
    let rebuilds = |session: &str, keeps_channels: bool| {
        let effects = connected().handle(T0, moved(session));
        assert!(effects.contains(&Effect::Rebuild { keeps_channels }), "{session}: {effects:?}");
    };
    rebuilds("o=- 1 2", true);
    rebuilds("o=- 2 1", false);
}

#[test]
fn a_peer_that_starts_over_without_end_is_ended() {
    // Each offer is answered before the next one comes.
    let answer = |it: &mut Negotiation, now| {
        it.handle(now, Input::RemoteSet);
        it.handle(now, Input::Created(SdpType::Answer, sdp(SdpType::Answer, "mine")));
        it.handle(now, Input::LocalSet);
    };
    let mut it = connected();
    let (mut rebuilt, mut last) = (0, Vec::new());
    for number in 0..1000 {
        last = it.handle(T0, new_peer(number));
        rebuilt += last.iter().filter(|effect| matches!(effect, Effect::Rebuild { .. })).count();
        if failure(&last).is_some() {
            break;
        }
        answer(&mut it, T0);
    }
    assert_eq!(rebuilt, 10);
    assert_eq!(failure(&last).unwrap().code(), ExitCode::Misbehaved);
    assert_eq!(it.handle(T0, signal(SdpType::Offer, "more")), []);

    // Without limit if it is slow enough.
    let mut it = connected();
    for number in 0..100 {
        let now = Duration::from_secs(10) * number;
        let effects = it.handle(now, new_peer(number));
        assert!(effects.contains(&Effect::Rebuild { keeps_channels: false }), "{number}: {effects:?}");
        answer(&mut it, now);
    }
}

#[test]
fn a_changed_direction_is_answered_without_webrtcbin() {
    for mut it in [connected(), called()] {
        let hold = sdp(SdpType::Offer, "theirs").replace("a=sendrecv", "a=inactive");
        let effects = it.handle(T0, Input::Signal(Signal::Sdp { kind: SdpType::Offer, sdp: hold }));
        let [Effect::Report(_), Effect::Send(_), Effect::Report(Milestone::AnswerSent), Effect::Flow(flows)] =
            &*effects
        else {
            panic!("{effects:?}");
        };
        assert!(flows.iter().all(|flow| flow.direction == Direction::default()), "{flows:?}");
        assert!(answer_in(&effects).unwrap().contains("a=inactive"));
        let resumed = it.handle(T0, signal(SdpType::Offer, "theirs"));
        // The same text as before the hold counts as a new offer.
        assert!(answer_in(&resumed).unwrap().contains("a=sendrecv"), "{resumed:?}");
        assert_eq!(it.phase(), Phase::Connected);
        assert_eq!(it.deadline(), None);
    }
}

#[test]
fn changes_without_end_are_ended() {
    let mut it = called();
    for number in 0..1000u32 {
        let other = if number % 2 == 0 { "a=inactive" } else { "a=sendrecv" };
        let offer = sdp(SdpType::Offer, "theirs").replace("a=sendrecv", other);
        let effects = it.handle(T0, Input::Signal(Signal::Sdp { kind: SdpType::Offer, sdp: offer }));
        if let Some(failure) = failure(&effects) {
            assert_eq!(failure.code(), ExitCode::Misbehaved);
            assert_eq!(number, CHANGES_AT_ONCE);
            return;
        }
    }
    panic!("it is never enough");
}

#[test]
fn an_ice_restart_keeps_the_connection() {
    for mut it in [connected(), called()] {
        let effects = it.handle(T0, signal(SdpType::Offer, "restarted"));
        let restart = Effect::RestartIce("restarted".into(), "0123456789012345678901".into());
        assert_eq!(effects, [Effect::Report(Milestone::OfferReceived), restart]);
        // Candidates of the new offer wait until libnice has the new credentials.
        assert_eq!(it.handle(T0, candidate(HOST)), []);
        let effects = it.handle(T0, Input::IceRestarted("fresh".into(), "9876543210987654321098".into()));
        let text = answer_in(&effects).unwrap();
        assert!(text.contains("a=ice-ufrag:fresh\r\na=ice-pwd:9876543210987654321098\r\n"), "{text}");
        assert!(effects.contains(&Effect::AddCandidate(0, Some(HOST.into()))), "{effects:?}");
        assert_eq!((it.phase(), it.deadline()), (Phase::Connected, None));
    }
}

/// The DTLS roles stay, whichever side offers later (RFC 8842, section 5.5).
#[test]
fn the_part_in_dtls_stays() {
    let mut offerer = connected();
    let hold = sdp(SdpType::Offer, "theirs").replace("a=sendrecv", "a=sendonly");
    let effects = offerer.handle(T0, Input::Signal(Signal::Sdp { kind: SdpType::Offer, sdp: hold.clone() }));
    assert!(answer_in(&effects).unwrap().contains("a=setup:passive"), "{effects:?}");
    let effects = called().handle(T0, Input::Signal(Signal::Sdp { kind: SdpType::Offer, sdp: hold }));
    assert!(answer_in(&effects).unwrap().contains("a=setup:active"), "{effects:?}");
}

#[test]
fn only_the_newest_of_several_offers_is_answered() {
    let mut it = idle();
    it.handle(T0, Input::Start(Start::BeCalled));
    it.handle(T0, signal(SdpType::Offer, "theirs"));
    for _ in 0..3 {
        for direction in ["a=sendonly", "a=recvonly"] {
            let newer = sdp(SdpType::Offer, "theirs").replace("a=sendrecv", direction);
            assert_eq!(it.handle(T0, Input::Signal(Signal::Sdp { kind: SdpType::Offer, sdp: newer })), []);
        }
    }
    it.handle(T0, Input::RemoteSet);
    let effects = it.handle(T0, Input::Created(SdpType::Answer, sdp(SdpType::Answer, "mine")));
    assert!(matches!(&*effects, [Effect::SetLocal(..)]), "{effects:?}");
    let effects = it.handle(T0, Input::LocalSet);
    assert!(answer_in(&effects).unwrap().contains("a=sendonly"), "the peer only receives: {effects:?}");
    assert_eq!(effects.iter().filter(|effect| matches!(effect, Effect::Send(_))).count(), 1);
}

#[test]
fn candidates_wait_for_the_answer_that_counts() {
    let mut it = idle();
    it.handle(T0, Input::Start(Start::BeCalled));
    it.handle(T0, signal(SdpType::Offer, "theirs"));
    it.handle(T0, Input::RemoteSet);
    it.handle(T0, signal(SdpType::Offer, "restarted"));
    // A candidate after the newer offer belongs to that offer.
    assert_eq!(it.handle(T0, candidate(HOST)), []);
    let effects = it.handle(T0, Input::Created(SdpType::Answer, sdp(SdpType::Answer, "mine")));
    assert!(matches!(&*effects, [Effect::SetLocal(..)]), "{effects:?}");
    assert_eq!(it.handle(T0, Input::LocalCandidate(0, HOST.into())), []);
    // ICE restarts once webrtcbin has set the description with the old credentials.
    let effects = it.handle(T0, Input::LocalSet);
    assert!(matches!(&*effects, [Effect::Report(_), Effect::RestartIce(..)]), "{effects:?}");
    let effects = it.handle(T0, Input::IceRestarted("fresh".into(), "9876543210987654321098".into()));
    assert!(answer_in(&effects).unwrap().contains(&format!("a={HOST}\r\n")), "{effects:?}");
    assert!(effects.contains(&Effect::AddCandidate(0, Some(HOST.into()))), "{effects:?}");
    assert_eq!(it.handle(T0, Input::LocalCandidate(0, HOST.into())).len(), 1);
}

#[test]
fn a_peer_without_a_common_codec_gets_a_rejection() {
    let mut it = idle();
    it.handle(T0, Input::Start(Start::BeCalled));
    let offer = sdp(SdpType::Offer, "theirs").replace("opus/48000/2", "G722/8000");
    let effects = it.handle(T0, Input::Signal(Signal::Sdp { kind: SdpType::Offer, sdp: offer }));
    assert!(answer_in(&effects).unwrap().contains("m=audio 0 "), "{effects:?}");
    let failure = failure(&effects).unwrap();
    assert_eq!(failure.code(), ExitCode::NegotiationFailed);
    assert!(failure.reason.contains("G722") && failure.reason.contains("VP8, opus"), "{}", failure.reason);
}

#[test]
fn an_answer_nobody_asked_for_is_ignored() {
    assert_eq!(idle().handle(T0, signal(SdpType::Answer, "theirs")), []);
    assert_eq!(connected().handle(T0, signal(SdpType::Answer, "other")), []);
}

#[test]
fn an_answer_meant_for_who_we_were_before_is_replaced_by_ours() {
    let mut it = offered(false);
    it.handle(T0, signal(SdpType::Answer, "stale"));
    it.handle(T0, Input::RemoteSet);
    assert_eq!(it.handle(T0, signal(SdpType::Answer, "stale")), []);
    assert_eq!(
        it.handle(T0, signal(SdpType::Answer, "ours")),
        [Effect::Rebuild { keeps_channels: false }, Effect::CreateOffer]
    );
    // But not forever.
    for round in 0..10 {
        it.handle(T0, Input::Created(SdpType::Offer, sdp(SdpType::Offer, "mine")));
        it.handle(T0, signal(SdpType::Answer, "aaaa"));
        let again = it.handle(T0, signal(SdpType::Answer, "bbbb"));
        assert_eq!(again.is_empty(), round >= 2, "{round}");
    }
}

#[test]
fn garbage_ends_the_negotiation() {
    for kind in [SdpType::Offer, SdpType::Answer] {
        let mut it = if kind == SdpType::Offer { idle() } else { offered(false) };
        let effects = it.handle(T0, Input::Signal(Signal::Sdp { kind, sdp: "garbage".into() }));
        assert_eq!(failure(&effects).unwrap().phase, Phase::Negotiating);
        assert_eq!(failure(&effects).unwrap().code(), ExitCode::NegotiationFailed);
        assert_eq!(it.handle(T0, candidate(HOST)), [], "it is over");
    }
}

#[test]
fn an_answer_to_another_offer_is_refused() {
    let other = sdp(SdpType::Answer, "theirs").replace("audio0", "audio7");
    let effects = offered(false).handle(T0, Input::Signal(Signal::Sdp { kind: SdpType::Answer, sdp: other }));
    assert!(failure(&effects).unwrap().reason.contains("m-lines"));
}

#[test]
fn a_peer_that_rings_gets_longer_to_answer_and_not_to_connect() {
    const RING: Duration = Duration::from_secs(25);
    let ringing = || {
        let mut it = idle().with_ring(RING);
        it.handle(T0, Input::Start(Start::Offer));
        it.handle(T0, Input::Created(SdpType::Offer, sdp(SdpType::Offer, "mine")));
        it
    };
    let mut never = ringing();
    assert_eq!(never.deadline(), Some(LIMIT + RING));
    let effects = never.handle(LIMIT + RING, Input::Deadline);
    assert_eq!(failure(&effects).unwrap().reason, "the peer did not answer the offer within 35 s");

    let mut late = ringing();
    late.handle(RING, signal(SdpType::Answer, "theirs"));
    assert_eq!(late.deadline(), Some(LIMIT + RING));
    let mut soon = ringing();
    soon.handle(Duration::from_secs(3), signal(SdpType::Answer, "theirs"));
    assert_eq!(soon.deadline(), Some(Duration::from_secs(3) + LIMIT));
    let effects = soon.handle(Duration::from_secs(3) + LIMIT, Input::Deadline);
    assert!(failure(&effects).unwrap().reason.ends_with("within 10 s"));

    let mut asked = idle().with_ring(RING);
    asked.handle(T0, Input::Start(Start::RequestOffer));
    assert_eq!(asked.deadline(), Some(LIMIT + RING));
    asked.handle(RING, signal(SdpType::Offer, "theirs"));
    assert_eq!(asked.deadline(), Some(RING + LIMIT));
}

#[test]
fn each_phase_has_its_deadline_and_code() {
    let mut silent = offered(false);
    assert_eq!(silent.handle(LIMIT - Duration::from_millis(1), Input::Deadline), []);
    let effects = silent.handle(LIMIT, Input::Deadline);
    assert_eq!(failure(&effects).unwrap().code(), ExitCode::NegotiationFailed);

    // The peer answered and then sent nothing: the network is not the cause.
    for input in [Input::Deadline, Input::IceFailed] {
        let mut gone = offered(false);
        gone.handle(T0, signal(SdpType::Answer, "theirs"));
        gone.handle(T0, Input::RemoteSet);
        let effects = gone.handle(LIMIT, input);
        assert_eq!(failure(&effects).unwrap().code(), ExitCode::NegotiationFailed);
        assert!(failure(&effects).unwrap().reason.contains("no network address"), "{effects:?}");
    }

    for input in [Input::Deadline, Input::IceFailed] {
        let mut pathless = offered(false);
        pathless.handle(T0, signal(SdpType::Answer, "theirs"));
        pathless.handle(T0, Input::RemoteSet);
        pathless.handle(T0, candidate(HOST));
        assert_eq!(failure(&pathless.handle(LIMIT, input)).unwrap().code(), ExitCode::IceFailed);
    }

    assert_eq!(connected().handle(LIMIT * 100, Input::Deadline), []);
}

#[test]
fn a_lost_path_ends_the_call() {
    let effects = connected().handle(T0, Input::IceFailed);
    assert_eq!(failure(&effects).unwrap().phase, Phase::Connected);
    assert_eq!(failure(&effects).unwrap().code(), ExitCode::IceFailed);
}

fn any_input() -> impl Strategy<Value = Input> {
    let kinds = prop_oneof![Just(SdpType::Offer), Just(SdpType::Answer)];
    let ufrags = prop_oneof![Just("aaaa"), Just("bbbb"), Just("")];
    prop_oneof![
        Just(Input::Start(Start::Offer)),
        Just(Input::Start(Start::BeCalled)),
        Just(Input::Signal(Signal::OfferRequest)),
        (kinds.clone(), ufrags.clone()).prop_map(|(kind, ufrag)| signal(kind, ufrag)),
        Just(candidate(HOST)),
        Just(candidate(MDNS)),
        Just(candidate("")),
        (kinds, ufrags).prop_map(|(kind, ufrag)| Input::Created(kind, sdp(kind, ufrag))),
        Just(Input::RemoteSet),
        Just(Input::LocalSet),
        Just(Input::LocalCandidate(0, HOST.into())),
        (0u32..4).prop_map(new_peer),
        Just(Input::IceRestarted("fresh".into(), "9876543210987654321098".into())),
        Just(Input::IceConnected),
        Just(Input::Connected),
        Just(Input::Deadline),
    ]
}

proptest! {
    /// For any inputs in any order: candidates never reach webrtcbin before a remote description is set, our own are
    /// never sent before our description, webrtcbin never gets two requests at once, and nothing follows a failure.
    #[test]
    fn any_order_of_inputs_keeps_the_rules(polite: bool, inputs in proptest::collection::vec(any_input(), 0..60)) {
        let mut it = Negotiation::new(polite, LIMIT, WISHES);
        let (mut applied, mut over, mut announced, mut busy, mut setting) = (false, false, false, false, false);
        for (step, input) in (0u32..).zip(inputs) {
            let was_set = matches!(input, Input::RemoteSet | Input::IceRestarted(..));
            busy &= !matches!(input, Input::RemoteSet | Input::Created(..));
            setting &= !matches!(input, Input::LocalSet);
            for effect in it.handle(Duration::from_millis(u64::from(step)), input) {
                prop_assert!(!over);
                match effect {
                    Effect::Rebuild { .. } | Effect::Unbundle | Effect::Heal => (applied, announced, busy, setting) = (false, false, false, false),
                    Effect::ApplyOffer(_) | Effect::ApplyAnswer(_) => {
                        prop_assert!(!busy);
                        (busy, applied) = (true, true);
                    }
                    Effect::CreateAnswer | Effect::CreateOffer => {
                        prop_assert!(!busy);
                        busy = true;
                    }
                    Effect::SetLocal(SdpType::Answer, _) => setting = true,
                    Effect::RestartIce(..) => prop_assert!(!setting),
                    Effect::AddCandidate(..) => prop_assert!(applied || was_set),
                    Effect::Send(Signal::Sdp { .. }) => announced = true,
                    Effect::Send(Signal::Ice(_)) => prop_assert!(announced),
                    Effect::Fail(_) => over = true,
                    _ => {}
                }
            }
        }
    }
}

/// A peer that was connected, and whose lost path is healed.
fn healing(mut it: Negotiation) -> Negotiation {
    it.heal();
    it
}

#[test]
fn a_lost_path_is_healed_by_an_offer_for_a_new_connection() {
    let mut it = healing(connected());
    assert_eq!(it.handle(T0, Input::IceFailed), [Effect::PathLost]);
    assert_eq!(it.handle(T0, Input::Heal), [Effect::Heal, Effect::CreateOffer]);
    let effects = it.handle(T0, Input::Created(SdpType::Offer, sdp(SdpType::Offer, "mine2")));
    assert!(matches!(&*effects, [Effect::Send(_), ..]));
    it.handle(T0, signal(SdpType::Answer, "theirs2"));
    it.handle(T0, Input::RemoteSet);
    it.handle(T0, Input::IceConnected);
    assert_eq!(it.handle(T0, Input::Connected), [Effect::Report(Milestone::Connected)]);
    assert_eq!(it.deadline(), None);
}

#[test]
fn an_attempt_that_finds_no_path_is_no_failure_and_the_peer_may_make_the_next_one() {
    let mut it = healing(called());
    it.handle(T0, Input::Heal);
    it.handle(T0, Input::Created(SdpType::Offer, sdp(SdpType::Offer, "mine2")));
    assert_eq!(it.deadline(), Some(LIMIT));
    assert_eq!(it.handle(LIMIT, Input::Deadline), [Effect::NoPath]);
    assert_eq!((it.deadline(), it.handle(LIMIT, signal(SdpType::Answer, "late"))), (None, vec![]));
    let effects = it.handle(LIMIT, new_peer(1));
    assert!(effects.contains(&Effect::Rebuild { keeps_channels: false }), "{effects:?}");
    assert!(matches!(effects.last(), Some(Effect::ApplyOffer(_))));
    assert_eq!(it.handle(LIMIT, Input::IceFailed), [Effect::NoPath]);
    assert_eq!(it.handle(LIMIT, Input::Heal), [Effect::Heal, Effect::CreateOffer]);
}

#[test]
fn a_peer_that_breaks_each_new_connection_at_once_gets_few() {
    let mut it = healing(connected());
    it.handle(T0, Input::IceFailed);
    let heals = |it: &mut Negotiation, now: Duration| {
        let mut heals = 0;
        for n in 0..100 {
            heals += usize::from(it.handle(now, Input::Heal).contains(&Effect::Heal));
            it.handle(now, Input::Created(SdpType::Offer, sdp(SdpType::Offer, &format!("mine{n}"))));
            it.handle(now, Input::IceFailed);
        }
        heals
    };
    assert_eq!(heals(&mut it, T0), 10);
    assert_eq!(heals(&mut it, T0 + Duration::from_secs(8)), 2, "one each four seconds");
}

#[test]
fn of_two_that_heal_at_once_one_answers_the_other() {
    let offer_again = |it: &mut Negotiation| {
        it.handle(T0, Input::Heal);
        it.handle(T0, Input::Created(SdpType::Offer, sdp(SdpType::Offer, "mine2")));
    };
    let mut impolite = healing(connected());
    offer_again(&mut impolite);
    assert_eq!(impolite.handle(T0, new_peer(1)), []);
    let mut polite = offered(true);
    polite.handle(T0, signal(SdpType::Answer, "theirs"));
    polite.handle(T0, Input::RemoteSet);
    polite.handle(T0, Input::Connected);
    let mut polite = healing(polite);
    offer_again(&mut polite);
    let effects = polite.handle(T0, new_peer(1));
    assert!(effects.contains(&Effect::Rebuild { keeps_channels: false }), "{effects:?}");
}

#[test]
fn a_peer_that_was_never_connected_or_does_not_heal_fails_as_before() {
    let mut never = healing(offered(false));
    assert_eq!(never.handle(T0, Input::Heal), []);
    assert!(failure(&never.handle(LIMIT, Input::Deadline)).is_some());
    let mut other = connected();
    assert_eq!(other.handle(T0, Input::Heal), []);
    assert!(failure(&other.handle(T0, Input::IceFailed)).is_some());
}
