//! Calls between peers of all protocols, over real sockets: who offers, what each side receives, and how a call ends.
//! The peers are scripted (`tests/src/speaker`); the descriptions are a browser's.

use std::{fs, sync::LazyLock, thread};

use callbin_tests::{
    Server, process,
    speaker::{Antmedia, Heard, Rest, Speaker, Text, Webrtcsink, Whip},
};

/// Chromium's offer with sound, picture and data.
static OFFER: LazyLock<String> = LazyLock::new(|| {
    let path = process::workspace().join("tests/descriptions/chromium-offer.sdp");
    fs::read_to_string(path).expect("a description")
});

/// An answer to it: the other direction of the same lines.
static ANSWER: LazyLock<String> =
    LazyLock::new(|| OFFER.replace("a=setup:actpass", "a=setup:active").replace("o=- ", "o=- 1"));

const CANDIDATE: &str = "candidate:1 1 UDP 2122260223 192.0.2.1 50000 typ host";

/// How a call of this caller starts.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Start {
    /// The caller has sent its offer.
    Offered,
    /// The caller sends its offer without being asked.
    Offers,
    /// The caller or the callee is asked for an offer.
    IsAsked(Side),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    Caller,
    Callee,
}

type Wait = for<'a> fn(&'a Server, &str) -> Box<dyn Speaker + 'a>;
type Call = for<'a> fn(&'a Server, &str) -> Box<dyn Speaker + 'a>;

/// The callees, and whether each prefers to offer.
const CALLEES: [(&str, Wait, bool); 5] = [
    ("text", |server, id| Box::new(Text::wait(server, id)), false),
    ("antmedia that joined first", |server, id| Box::new(Antmedia::join(server, id)), true),
    ("antmedia that publishes", |server, id| Box::new(Antmedia::publish_first(server, id)), true),
    ("webrtcsink", |server, id| Box::new(Webrtcsink::produce(server, id)), true),
    ("rest", |server, id| Box::new(Rest::wait(server, id)), false),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Calls {
    AtOnce,
    WithOffer,
    WhenAsked,
    Never,
}

const CALLERS: [(&str, Call, Calls); 7] = [
    ("text", |server, id| Box::new(Text::call(server, &format!("{id}-caller"), id)), Calls::AtOnce),
    ("antmedia that joins", |server, id| Box::new(Antmedia::join(server, id)), Calls::WhenAsked),
    ("antmedia that publishes", |server, id| Box::new(Antmedia::publish(server, id)), Calls::WhenAsked),
    ("antmedia that plays", |server, id| Box::new(Antmedia::play(server, id)), Calls::Never),
    ("webrtcsrc", |server, id| Box::new(Webrtcsink::consume(server, id)), Calls::Never),
    (
        "webrtcsrc with an offer",
        |server, id| Box::new(Webrtcsink::consume_offering(server, id, &OFFER)),
        Calls::WithOffer,
    ),
    ("rest", |server, id| Box::new(Rest::call(server, id, &OFFER)), Calls::WithOffer),
];

/// Ant Media's commands that do not meet: a stream has one publisher, and joiners meet joiners.
fn meet(caller: &str, callee: &str) -> bool {
    let both = caller.starts_with("antmedia") && callee.starts_with("antmedia");
    !both || caller.ends_with("plays") || (caller.ends_with("joins") && callee.ends_with("joined first"))
}

fn start(calls: Calls, leads: bool) -> Start {
    match (calls, leads) {
        (Calls::AtOnce, _) => Start::Offers,
        (Calls::WithOffer, _) => Start::Offered,
        (Calls::WhenAsked, false) => Start::IsAsked(Side::Caller),
        (Calls::WhenAsked, true) | (Calls::Never, _) => Start::IsAsked(Side::Callee),
    }
}

/// Offer, answer and candidates. The answering side's first candidate is ahead of its answer.
fn negotiate(offerer: &mut dyn Speaker, answerer: &mut dyn Speaker, is_offered: bool, is_verbatim: bool) {
    if !is_offered {
        offerer.offer(&OFFER);
    }
    assert_eq!(answerer.hear(), Heard::Offer(OFFER.clone()), "untouched");
    offerer.candidate(CANDIDATE, 1, "1");
    assert_eq!(answerer.hear(), Heard::Candidate(CANDIDATE.into(), 1));
    if !is_verbatim {
        answerer.candidate("candidate:early", 0, "0");
    }
    answerer.answer(&ANSWER);
    answerer.candidate("candidate:late", 2, "2");
    assert_eq!(offerer.hear(), Heard::Answer(ANSWER.clone()), "untouched");
    if !is_verbatim {
        assert_eq!(offerer.hear(), Heard::Candidate("candidate:early".into(), 0), "after the answer");
    }
    assert_eq!(offerer.hear(), Heard::Candidate("candidate:late".into(), 2));
}

fn run(server: &Server, caller: (&str, Call, Calls), callee: (&str, Wait, bool), ends: Side) {
    let id = format!("{}-{}-{ends:?}", caller.0, callee.0).replace(' ', "-");
    println!("{} calls {}, the {ends:?} ends", caller.0, callee.0);
    let mut waiting = callee.1(server, &id);
    let mut calling = caller.1(server, &id);
    let is_verbatim = caller.0 == "text" && callee.0 == "text"
        || caller.0.starts_with("antmedia") && callee.0.starts_with("antmedia")
        || caller.0.starts_with("webrtcsrc") && callee.0 == "webrtcsink";
    match start(caller.2, callee.2) {
        Start::Offered => negotiate(&mut *calling, &mut *waiting, true, is_verbatim),
        Start::Offers => negotiate(&mut *calling, &mut *waiting, false, is_verbatim),
        Start::IsAsked(Side::Caller) => {
            assert_eq!(calling.hear(), Heard::OfferRequest);
            negotiate(&mut *calling, &mut *waiting, false, is_verbatim);
        }
        Start::IsAsked(Side::Callee) => {
            assert_eq!(waiting.hear(), Heard::OfferRequest);
            negotiate(&mut *waiting, &mut *calling, false, is_verbatim);
        }
    }
    match ends {
        Side::Caller => {
            calling.hang_up();
            assert_eq!(waiting.hear(), Heard::End);
        }
        Side::Callee => {
            waiting.hang_up();
            assert_eq!(calling.hear(), Heard::End);
        }
    }
}

#[test]
fn each_protocol_calls_each() {
    let server = Server::start(&[]);
    for caller in CALLERS {
        for callee in CALLEES {
            if meet(caller.0, callee.0) {
                run(&server, caller, callee, Side::Caller);
                run(&server, caller, callee, Side::Callee);
            }
        }
    }
}

/// WHIP and WHEP clients get the candidates of a peer that trickles within its answer.
#[test]
fn whip_and_whep_call_each() {
    let server = Server::start(&[]);
    for path in ["whip", "whep"] {
        for (name, wait, _) in CALLEES {
            println!("{path} calls {name}");
            let id = format!("{path}-{name}").replace(' ', "-");
            let mut waiting = wait(&server, &id);
            let client = thread::scope(|scope| {
                let calling = scope.spawn(|| Whip::call(&server, &format!("/{path}/{id}"), &OFFER));
                assert_eq!(waiting.hear(), Heard::Offer(OFFER.clone()), "untouched");
                waiting.answer(&ANSWER);
                waiting.candidate(CANDIDATE, 1, "1");
                calling.join().expect("it was answered")
            });
            let is_added = |line: &&str| line.starts_with("a=candidate:") || *line == "a=end-of-candidates";
            let lines: Vec<&str> = client.answer.lines().filter(|line| !is_added(line)).collect();
            assert_eq!(lines, ANSWER.lines().collect::<Vec<_>>(), "only candidates are added");
            assert!(client.answer.contains(&format!("a={CANDIDATE}\r\n")), "{}", client.answer);
            let offer = |name: &str| OFFER.lines().find(|line| line.starts_with(name)).expect("a line");
            let (ufrag, password) = (offer("a=ice-ufrag:"), offer("a=ice-pwd:"));
            let fragment =
                format!("{ufrag}\r\n{password}\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na={CANDIDATE}\r\n");
            assert_eq!(client.trickle(&fragment).status, 204);
            assert_eq!(waiting.hear(), Heard::Candidate(CANDIDATE.into(), 0));
            assert_eq!(client.hang_up().status, 200);
            assert_eq!(waiting.hear(), Heard::End);
        }
    }
}
