use super::*;
use crate::exit::ExitCode;

const SECOND: Duration = Duration::from_secs(1);
const T0: Duration = Duration::from_secs(100);

fn description(kind: SdpType) -> Signal {
    Signal::Sdp { kind, sdp: "v=0\r\nm=audio 9 x 0\r\n".into() }
}

fn new(role: Role) -> Resumption {
    Resumption::new(role, Random::fresh())
}

/// The offerer sends its offer, the other side its answer; each text passes `change` on its way.
fn describe(offerer: &mut Resumption, answerer: &mut Resumption, change: impl Fn(Signal) -> Signal) {
    answerer.hear(&change(offerer.say(description(SdpType::Offer))));
    offerer.hear(&change(answerer.say(description(SdpType::Answer))));
}

/// A caller and a callee that can resume their call.
fn agreed() -> (Resumption, Resumption) {
    let (mut caller, mut callee) = (new(Role::Caller), new(Role::Callee));
    describe(&mut caller, &mut callee, |signal| signal);
    assert!(caller.is_agreed() && callee.is_agreed());
    (caller, callee)
}

fn pass_time(it: &mut Resumption) -> Vec<Effect> {
    let at = it.deadline().expect("it waits for a time");
    assert_eq!(it.handle(at - Duration::from_millis(1), Input::Deadline(Some(Duration::ZERO))), []);
    it.handle(at, Input::Deadline(Some(Duration::ZERO)))
}

fn frame(it: &mut Resumption, text: &str) -> Vec<Effect> {
    it.handle(T0, Input::Frame(text.into()))
}

/// Loses the server, and registers again.
fn return_to_server(it: &mut Resumption) -> Vec<Effect> {
    let lost = it.handle(T0, Input::Lost("gone".into()));
    assert_eq!(lost, [Effect::Disconnect, Effect::ReportLost("gone".into())]);
    assert_eq!(pass_time(it), [Effect::Connect]);
    it.handle(T0, Input::Registered(Random::fresh()))
}

/// The frame in the effects, which must be the first one.
fn sent(effects: &[Effect]) -> &str {
    match effects {
        [Effect::Send(text), ..] => text,
        other => panic!("nothing is sent: {other:?}"),
    }
}

fn is_retry(effects: &[Effect]) -> bool {
    matches!(effects, [Effect::Disconnect, Effect::ReportRetry(..)])
}

/// The caller's request, when both are at the server again.
fn ask(caller: &mut Resumption, callee: &mut Resumption) -> String {
    assert_eq!(return_to_server(callee), []);
    assert_eq!(return_to_server(caller), [Effect::Call]);
    sent(&frame(caller, "SESSION_OK")).into()
}

#[test]
fn both_sides_come_back() {
    let (mut caller, mut callee) = agreed();
    for _ in 0..3 {
        let request = ask(&mut caller, &mut callee);
        assert!(Resumption::is_request(&request) && !callee.is_attached());
        let reply = frame(&mut callee, &request);
        assert!(callee.is_hopeful() && !reply.contains(&Effect::Resumed), "a proof is missing");
        let confirm = frame(&mut caller, sent(&reply));
        assert_eq!(confirm.last(), Some(&Effect::Resumed));
        assert_eq!(frame(&mut callee, sent(&confirm)), [Effect::Resumed]);
        assert!(caller.is_attached() && callee.is_attached());
        assert_eq!((caller.deadline(), callee.deadline()), (None, None));
    }
}

#[test]
fn either_side_may_offer() {
    let (mut caller, mut callee) = (new(Role::Caller), new(Role::Callee));
    describe(&mut callee, &mut caller, |signal| signal);
    assert!(caller.is_agreed() && caller.key == callee.key);
    // In a glare the offer that is answered counts.
    let (mut impolite, mut polite) = (new(Role::Caller), new(Role::Callee));
    impolite.hear(&polite.say(description(SdpType::Offer)));
    describe(&mut impolite, &mut polite, |signal| signal);
    assert!(impolite.is_agreed() && impolite.key == polite.key);
}

#[test]
fn later_descriptions_change_nothing() {
    let (mut caller, mut callee) = agreed();
    let key = caller.key.clone();
    for kind in [SdpType::Offer, SdpType::Answer] {
        let signal = caller.say(description(kind));
        assert_eq!(signal, description(kind), "without a key");
        callee.hear(&signal);
    }
    callee.say(description(SdpType::Answer));
    assert!(callee.key == key && caller.key == key);
}

#[test]
fn who_cannot_resume_is_not_waited_for() {
    let removed = |signal: Signal| match signal {
        Signal::Sdp { kind, .. } => description(kind),
        signal => signal,
    };
    let changed = |signal: Signal| match signal {
        Signal::Sdp { kind: SdpType::Answer, .. } => {
            with_key(&description(SdpType::Answer), &Random::fresh())
        }
        signal => signal,
    };
    let (mut caller, mut callee) = (new(Role::Caller), new(Role::Callee));
    describe(&mut caller, &mut callee, removed);
    assert!(!caller.is_agreed() && !callee.is_agreed());
    let (mut other, mut callee) = (new(Role::Caller), new(Role::Callee));
    describe(&mut other, &mut callee, changed);
    assert!(!other.is_agreed());
    for it in [&mut caller, &mut other] {
        assert_eq!(it.handle(T0, Input::Gone), [Effect::PeerLeft]);
        let lost = it.handle(T0, Input::Lost("gone".into()));
        assert_eq!(lost, [Effect::Disconnect, Effect::ReportLost("gone".into())]);
        assert!(!it.is_hopeful() && it.deadline().is_none());
    }
}

#[test]
fn the_server_may_end_a_session_whose_peer_lives() {
    let (mut caller, _) = agreed();
    assert_eq!(caller.handle(T0, Input::Gone), [Effect::Disconnect]);
    assert_eq!(caller.handle(T0 + SECOND, Input::Deadline(Some(SECOND))), []);
    let lost = caller.handle(T0 + DOUBT, Input::Deadline(Some(SIGN_OF_LIFE / 2)));
    assert!(matches!(&*lost, [Effect::Disconnect, Effect::ReportLost(_)]), "{lost:?}");
    assert_eq!(pass_time(&mut caller), [Effect::Connect]);

    let (mut caller, _) = agreed();
    caller.handle(T0, Input::Gone);
    assert_eq!(caller.handle(T0 + DOUBT, Input::Deadline(Some(SIGN_OF_LIFE))), [Effect::PeerLeft]);

    // Without media nothing would have come from a peer that lives.
    let (mut caller, _) = agreed();
    caller.handle(T0, Input::Gone);
    let lost = caller.handle(T0 + DOUBT, Input::Deadline(None));
    assert!(matches!(&*lost, [Effect::Disconnect, Effect::ReportLost(_)]), "{lost:?}");
}

#[test]
fn who_does_not_know_the_key_is_left() {
    let (mut caller, mut callee) = agreed();
    let request = ask(&mut caller, &mut callee);
    // A stranger calls, with a frame of its own or one that it has seen.
    for text in ["OFFER_REQUEST", "{}", &description(SdpType::Offer).to_string(), "ERROR x"] {
        let (_, mut callee) = agreed();
        return_to_server(&mut callee);
        assert!(is_retry(&frame(&mut callee, text)), "{text}");
    }
    let reply = sent(&frame(&mut callee, &request)).to_owned();
    assert!(is_retry(&frame(&mut callee, &reply)), "its own proof");
    // A stranger has the callee's uid: it answers with what it has heard, or with a callee's proof for another call.
    let foreign = {
        let (mut other_caller, mut other) = agreed();
        ask(&mut other_caller, &mut other);
        sent(&frame(&mut other, &request)).to_owned()
    };
    for text in [&request, &reply.replace("nonce", "none"), &foreign, "{\"resume\":{}}"] {
        let (mut caller, mut callee) = agreed();
        ask(&mut caller, &mut callee);
        assert!(is_retry(&frame(&mut caller, text)), "{text}");
    }
}

#[test]
fn what_was_heard_once_is_worth_nothing_later() {
    let (mut caller, mut callee) = agreed();
    let request = ask(&mut caller, &mut callee);
    let reply = sent(&frame(&mut callee, &request)).to_owned();
    let confirm = sent(&frame(&mut caller, &reply)).to_owned();
    assert_eq!(frame(&mut callee, &confirm), [Effect::Resumed]);
    ask(&mut caller, &mut callee);
    assert!(is_retry(&frame(&mut caller, &reply)));
    frame(&mut callee, &request);
    assert!(is_retry(&frame(&mut callee, &confirm)));
}

#[test]
fn attempts_are_repeated_with_growing_pauses() {
    let (mut caller, mut callee) = agreed();
    return_to_server(&mut caller);
    let mut pauses = Vec::new();
    for number in 0..8 {
        let effects = match number % 4 {
            0 => frame(&mut caller, "ERROR peer 'x' not found"),
            1 => caller.handle(T0, Input::Gone),
            2 => caller.handle(T0, Input::Lost("gone".into())),
            _ => pass_time(&mut caller),
        };
        let [Effect::Disconnect, Effect::ReportRetry(_, pause)] = &*effects else { panic!("{effects:?}") };
        pauses.push(pause.as_millis());
        pass_time(&mut caller);
        caller.handle(T0, Input::Registered(Random::fresh()));
    }
    assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
    // Our dead connection may still have the uid.
    pass_time(&mut caller);
    pass_time(&mut caller);
    let taken = Failure::new(ExitCode::RefusedUid, "taken");
    assert!(is_retry(&caller.handle(T0, Input::Refused(taken))));
    // The callee is there until it is called.
    return_to_server(&mut callee);
    assert_eq!(callee.deadline(), None);
}

#[test]
fn a_refusal_for_good_ends_the_attempts_but_not_the_call() {
    let (mut caller, _) = agreed();
    caller.handle(T0, Input::Lost("gone".into()));
    pass_time(&mut caller);
    let refusal = Failure::new(ExitCode::NotAuthorised, "the token expired");
    let effects = caller.handle(T0, Input::Refused(refusal));
    assert_eq!(effects, [Effect::Disconnect, Effect::ReportNever("the token expired".into())]);
    assert!(!caller.is_hopeful() && caller.deadline().is_none());
    assert_eq!(caller.handle(T0, Input::Registered(Random::fresh())), []);
}

#[test]
fn every_answer_has_a_deadline() {
    let (mut caller, mut callee) = agreed();
    let request = ask(&mut caller, &mut callee);
    frame(&mut callee, &request);
    for it in [&mut caller, &mut callee] {
        assert_eq!(it.deadline(), Some(T0 + ANSWER_LIMIT));
        assert!(is_retry(&pass_time(it)));
    }
    return_to_server_again(&mut caller);
    assert_eq!(caller.deadline(), Some(T0 + ANSWER_LIMIT), "for SESSION_OK");
}

/// From a pause.
fn return_to_server_again(it: &mut Resumption) {
    assert_eq!(pass_time(it), [Effect::Connect]);
    it.handle(T0, Input::Registered(Random::fresh()));
}

#[test]
fn the_end_of_the_session_is_no_hang_up_while_the_path_is_lost() {
    let (mut caller, _) = agreed();
    caller.set_path_lost(T0, true);
    assert_eq!(caller.handle(T0, Input::Gone), [Effect::Disconnect, Effect::ReportLost(PEER_CUT_OFF.into())]);
    assert!(caller.is_hopeful());
    let (mut caller, _) = agreed();
    assert_eq!(caller.handle(T0, Input::Gone), [Effect::Disconnect]);
    assert_eq!(caller.handle(T0 + DOUBT, Input::Deadline(Some(DOUBT))), [Effect::PeerLeft]);
}

#[test]
fn while_the_path_is_lost_too_attempts_follow_each_other_soon() {
    let mut it = Resumption::new(Role::Caller, Random::fresh());
    let offer = it.say(Signal::Sdp { kind: SdpType::Offer, sdp: "v=0\r\nm=audio\r\n".into() });
    let Signal::Sdp { sdp, .. } = offer else { panic!() };
    it.hear(&Signal::Sdp { kind: SdpType::Answer, sdp });
    assert!(it.is_agreed());
    let mut now = Duration::ZERO;
    it.handle(now, Input::Lost("gone".into()));
    for _ in 0..8 {
        now = it.deadline().expect("a pause");
        assert_eq!(it.handle(now, Input::Deadline(None)), [Effect::Connect]);
        it.handle(now, Input::Lost("gone".into()));
    }
    assert!(it.deadline().expect("a pause") > now + Duration::from_secs(5));
    it.set_path_lost(now, true);
    assert_eq!(it.deadline(), Some(now + Duration::from_secs(1)));
}
