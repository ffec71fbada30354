//! Calls between peers of all protocols, over real sockets: who offers, what each side receives, and how a call ends.
//! The peers are scripted (`tests/src/speaker`); the descriptions are a browser's.

use std::{fs, sync::LazyLock, thread};

use callbin_tests::{
    Server, process,
    speaker::{Antmedia, Heard, Member, Rest, Speaker, Text, Tongue, Webrtcsink, Whip},
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

/// What a callee does about offers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Offers {
    WhenAsked,
    /// It prefers to offer.
    IfItMay,
    /// It only receives media.
    Never,
}

const CALLEES: [(&str, Wait, Offers); 7] = [
    ("text", |server, id| Box::new(Text::wait(server, id)), Offers::WhenAsked),
    ("antmedia that joined first", |server, id| Box::new(Antmedia::join(server, id)), Offers::IfItMay),
    ("antmedia that publishes", |server, id| Box::new(Antmedia::publish_first(server, id)), Offers::IfItMay),
    ("antmedia that waits to play", |server, id| Box::new(Antmedia::play_first(server, id)), Offers::Never),
    ("webrtcsink", |server, id| Box::new(Webrtcsink::produce(server, id)), Offers::IfItMay),
    ("webrtcsrc that waits", |server, id| Box::new(Webrtcsink::await_producer(server, id)), Offers::Never),
    ("rest", |server, id| Box::new(Rest::wait(server, id)), Offers::WhenAsked),
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

/// Some do not meet: two that only receive. Of Ant Media's, a stream has one publisher, and joiners meet joiners.
fn meet(caller: (&str, Calls), callee: (&str, Offers)) -> bool {
    let receives = caller.1 == Calls::Never || caller.0.starts_with("webrtcsrc");
    let both = caller.0.starts_with("antmedia") && callee.0.starts_with("antmedia");
    if receives && callee.1 == Offers::Never {
        return false;
    }
    match caller.0 {
        "antmedia that joins" if both => callee.0.ends_with("joined first"),
        "antmedia that publishes" if both => callee.0.ends_with("waits to play"),
        _ => true,
    }
}

fn start(calls: Calls, offers: Offers) -> Start {
    match (calls, offers) {
        (Calls::AtOnce, _) => Start::Offers,
        (Calls::WithOffer, _) => Start::Offered,
        (Calls::WhenAsked, Offers::WhenAsked | Offers::Never) => Start::IsAsked(Side::Caller),
        (Calls::WhenAsked, Offers::IfItMay) | (Calls::Never, _) => Start::IsAsked(Side::Callee),
    }
}

/// What two peers can say to each other.
#[derive(Debug, Clone, Copy)]
struct Pair {
    /// Both speak the same protocol: nothing is held.
    is_verbatim: bool,
    /// Candidates have an m-line in both protocols. Otherwise it is the first one.
    has_m_lines: bool,
}

impl Pair {
    fn candidate(self, text: &str, index: u64) -> Heard {
        Heard::Candidate(text.into(), if self.has_m_lines { index } else { 0 })
    }
}

/// Offer, answer and candidates. The answering side's first candidate is ahead of its answer.
fn negotiate(offerer: &mut dyn Speaker, answerer: &mut dyn Speaker, is_offered: bool, pair: Pair) {
    if !is_offered {
        offerer.offer(&OFFER);
    }
    assert_eq!(answerer.hear(), Heard::Offer(OFFER.clone()), "untouched");
    offerer.candidate(CANDIDATE, 1, "1");
    assert_eq!(answerer.hear(), pair.candidate(CANDIDATE, 1));
    if !pair.is_verbatim {
        answerer.candidate("candidate:early", 0, "0");
    }
    answerer.answer(&ANSWER);
    answerer.candidate("candidate:late", 2, "2");
    assert_eq!(offerer.hear(), Heard::Answer(ANSWER.clone()), "untouched");
    if !pair.is_verbatim {
        assert_eq!(offerer.hear(), pair.candidate("candidate:early", 0), "after the answer");
    }
    assert_eq!(offerer.hear(), pair.candidate("candidate:late", 2));
}

fn run(server: &Server, caller: (&str, Call, Calls), callee: (&str, Wait, Offers), ends: Side) {
    let id = format!("{}-{}-{ends:?}", caller.0, callee.0).replace(' ', "-");
    println!("{} calls {}, the {ends:?} ends", caller.0, callee.0);
    let mut waiting = callee.1(server, &id);
    let mut calling = caller.1(server, &id);
    let is_verbatim = caller.0 == "text" && callee.0 == "text"
        || caller.0.starts_with("antmedia") && callee.0.starts_with("antmedia")
        || caller.0.starts_with("webrtcsrc") && callee.0.starts_with("webrtcs");
    let pair = Pair { is_verbatim, has_m_lines: true };
    match start(caller.2, callee.2) {
        Start::Offered => negotiate(&mut *calling, &mut *waiting, true, pair),
        Start::Offers => negotiate(&mut *calling, &mut *waiting, false, pair),
        Start::IsAsked(Side::Caller) => {
            assert_eq!(calling.hear(), Heard::OfferRequest);
            negotiate(&mut *calling, &mut *waiting, false, pair);
        }
        Start::IsAsked(Side::Callee) => {
            assert_eq!(waiting.hear(), Heard::OfferRequest);
            negotiate(&mut *waiting, &mut *calling, false, pair);
        }
    }
    end(&mut *calling, &mut *waiting, ends);
}

fn end(calling: &mut dyn Speaker, waiting: &mut dyn Speaker, ends: Side) {
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
            if meet((caller.0, caller.2), (callee.0, callee.2)) {
                run(&server, caller, callee, Side::Caller);
                run(&server, caller, callee, Side::Callee);
            }
        }
    }
}

/// Two members of a room. The one that joins last offers.
#[test]
fn members_of_each_protocol_call_each() {
    let server = Server::start(&[]);
    for first in Tongue::ALL {
        for second in Tongue::ALL {
            for ends in [Side::Caller, Side::Callee] {
                println!("{second:?} joins {first:?}, the {ends:?} ends");
                let room = format!("{second:?}-{first:?}-{ends:?}");
                let join =
                    |tongue, name: &str| Member::join(&server, tongue, &room, &format!("{room}-{name}"));
                let (mut waiting, mut calling) = (join(first, "first"), join(second, "second"));
                let has_m_lines = first != Tongue::Action && second != Tongue::Action;
                let pair = Pair { is_verbatim: first == second, has_m_lines };
                negotiate(&mut calling, &mut waiting, false, pair);
                end(&mut calling, &mut waiting, ends);
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
