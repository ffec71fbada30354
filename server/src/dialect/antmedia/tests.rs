use std::sync::Arc;

use callbin_protocol::{SdpType, Signal};
use serde_json::json;

use super::*;
use crate::{
    access::{Ability, Grant},
    close::CloseReason,
    dialect::testing::{Net, SDP},
    hub::{ConnId, Event, Rules},
};

fn open(net: &mut Net) -> ConnId {
    net.open(Dialect::Antmedia, "")
}

/// The stock client's command.
fn ask(net: &mut Net, conn: ConnId, command: &str, stream: &str) -> Vec<Value> {
    send(net, conn, json!({ "command": command, "streamId": stream }))
}

fn send(net: &mut Net, conn: ConnId, message: Value) -> Vec<Value> {
    net.say(conn, &message);
    net.json(conn)
}

fn description(kind: &str) -> Value {
    json!({ "command": "takeConfiguration", "streamId": "s", "type": kind, "sdp": SDP })
}

fn received(kind: &str) -> Value {
    json!({ "command": "takeConfiguration", "streamId": "s", "type": kind, "sdp": SDP, "idMapping": {} })
}

fn candidate(label: u32, id: &str) -> Value {
    json!({ "command": "takeCandidate", "streamId": "s", "label": label, "id": id, "candidate": "candidate:1" })
}

fn notice(definition: &str) -> Value {
    json!({ "command": "notification", "definition": definition, "streamId": "s" })
}

fn error(definition: &str) -> Value {
    let mut error = json!({ "command": "error", "definition": definition, "streamId": "s" });
    if definition == "no_stream_exist" {
        error["error_code"] = "404".into();
    }
    error
}

fn command(name: &str) -> Value {
    json!({ "command": name, "streamId": "s" })
}

fn text_sdp(kind: &str) -> String {
    json!({ "sdp": { "type": kind, "sdp": SDP } }).to_string()
}

const TEXT_ICE: &str = r#"{"ice":{"candidate":"candidate:1","sdpMLineIndex":1}}"#;

/// The text client's messages, as signals.
fn signals(net: &mut Net, conn: ConnId) -> Vec<Signal> {
    net.heard(conn).iter().map(|text| Signal::parse(text).unwrap()).collect()
}

fn is_sdp(signal: &Signal, kind: SdpType) -> bool {
    matches!(signal, Signal::Sdp { kind: it, sdp } if *it == kind && sdp == SDP)
}

mod two_peers {
    use super::*;

    /// Two that have joined.
    fn joined(net: &mut Net) -> (ConnId, ConnId) {
        let (first, second) = (open(net), open(net));
        assert_eq!(ask(net, first, "join", "s"), [notice("joined")]);
        assert_eq!(ask(net, second, "join", "s"), [notice("joined")]);
        assert_eq!(net.json(first), [command("start")], "the first one offers");
        (first, second)
    }

    #[test]
    fn the_first_offers_and_all_is_relayed_as_it_is() {
        let mut net = Net::default();
        let (first, second) = joined(&mut net);
        assert_eq!(send(&mut net, first, description("offer")), [] as [Value; 0]);
        assert_eq!(net.json(second), [received("offer")]);
        send(&mut net, second, description("answer"));
        assert_eq!(net.json(first), [received("answer")], "no notification among two");
        let text = candidate(1, "v").to_string();
        net.say(second, &text);
        assert_eq!(net.heard(first), [text]);
    }

    #[test]
    fn a_third_has_no_place() {
        let mut net = Net::default();
        let (first, second) = joined(&mut net);
        let third = open(&mut net);
        assert_eq!(ask(&mut net, third, "join", "s"), [error("NoSpaceForNewPeer")]);
        assert_eq!(ask(&mut net, third, "join", "s"), [error("NoSpaceForNewPeer")]);
        ask(&mut net, second, "leave", "s");
        assert_eq!(net.json(first), [command("stop")]);
        assert_eq!(ask(&mut net, third, "join", "s"), [notice("joined")]);
        assert_eq!(net.json(first), [command("start")]);
    }

    #[test]
    fn whoever_stays_can_be_met_again() {
        for leaves_first in [true, false] {
            let mut net = Net::default();
            let (first, second) = joined(&mut net);
            let (leaves, stays) = if leaves_first { (first, second) } else { (second, first) };
            assert_eq!(ask(&mut net, leaves, "leave", "s"), [notice("leaved")]);
            assert_eq!(net.json(stays), [command("stop")]);
            assert_eq!(ask(&mut net, leaves, "join", "s"), [notice("joined")]);
            assert_eq!(net.json(stays), [command("start")], "it has become the first");
        }
    }

    #[test]
    fn a_closed_socket_leaves() {
        let mut net = Net::default();
        let (first, second) = joined(&mut net);
        net.leave(first);
        assert_eq!(net.json(second), [command("stop")]);
        assert_eq!(ask(&mut net, second, "leave", "s"), [notice("leaved")]);
        assert_eq!(net.hub.counts().peers, 0);
    }

    #[test]
    fn to_join_or_leave_twice_is_no_fault() {
        let mut net = Net::default();
        let one = open(&mut net);
        for _ in 0..2 {
            assert_eq!(ask(&mut net, one, "join", "s"), [notice("joined")]);
        }
        for _ in 0..2 {
            assert_eq!(ask(&mut net, one, "leave", "s"), [notice("leaved")]);
        }
        let (first, _) = joined(&mut net);
        assert_eq!(ask(&mut net, first, "join", "s"), [error("streamIdInUse")], "during a call");
    }

    #[test]
    fn signals_need_a_peer() {
        let mut net = Net::default();
        let one = open(&mut net);
        for _ in 0..2 {
            assert_eq!(send(&mut net, one, description("offer")), [error("no_peer_associated_before")]);
            assert_eq!(send(&mut net, one, candidate(0, "a")), [error("no_peer_associated_before")]);
            ask(&mut net, one, "join", "s");
        }
        let (first, second) = (one, open(&mut net));
        ask(&mut net, second, "join", "s");
        net.leave(second);
        net.heard(first);
        assert_eq!(send(&mut net, first, candidate(0, "a")), [error("no_peer_associated_before")]);
    }

    #[test]
    fn messages_of_any_content_reach_a_peer_of_the_same_dialect_only() {
        let mut net = Net::default();
        let message =
            json!({ "command": "peerMessageCommand", "streamId": "s", "definition": "d", "data": [1] });
        let (first, second) = joined(&mut net);
        assert_eq!(send(&mut net, first, message.clone()), [] as [Value; 0]);
        assert_eq!(net.json(second), std::slice::from_ref(&message));
        ask(&mut net, first, "leave", "s");
        ask(&mut net, second, "leave", "s");
        assert_eq!(send(&mut net, first, message.clone())[0]["definition"], "no_peer_associated_before");
        let text = net.text("s");
        ask(&mut net, first, "join", "s");
        let refused = send(&mut net, first, message);
        assert_eq!(refused[0]["definition"], "unsupported_command");
        assert_eq!(net.heard(text), [] as [String; 0]);
    }

    #[test]
    fn the_first_clients_know_only_stream_names() {
        let mut net = Net::default();
        let (old, new) = (open(&mut net), open(&mut net));
        let by_name = |mut message: Value| {
            message["streamName"] = "s".into();
            message
        };
        let join = json!({ "command": "join", "streamName": "s" });
        assert_eq!(send(&mut net, old, join), [by_name(notice("joined"))]);
        ask(&mut net, new, "join", "s");
        assert_eq!(net.json(old), [by_name(command("start"))]);
        let offer = json!({ "command": "takeConfiguration", "streamName": "s", "type": "offer", "sdp": SDP });
        send(&mut net, old, offer);
        assert_eq!(net.json(new), [by_name(received("offer"))]);
        send(&mut net, new, description("answer"));
        assert_eq!(net.json(old), [by_name(received("answer"))]);
        send(&mut net, new, candidate(1, "v"));
        assert_eq!(net.json(old), [by_name(candidate(1, "v"))]);
        assert_eq!(send(&mut net, old, json!({ "command": "leave" })), [by_name(notice("leaved"))]);
        assert_eq!(net.json(new), [command("stop")]);
        assert_eq!(send(&mut net, old, json!({ "command": "leave" })), [] as [Value; 0]);
    }
}

/// Each row of the table: which side offers when an Ant Media client and a text client meet.
mod with_text {
    use super::*;

    #[test]
    fn to_join_a_waiting_peer_is_to_call_it() {
        let mut net = Net::default();
        let text = net.text("s");
        let page = open(&mut net);
        assert_eq!(ask(&mut net, page, "join", "s"), [notice("joined"), command("start")]);
        send(&mut net, page, candidate(1, "v"));
        assert_eq!(net.heard(text), [] as [String; 0], "a candidate waits for its description");
        send(&mut net, page, description("offer"));
        let got = signals(&mut net, text);
        assert!(is_sdp(&got[0], SdpType::Offer) && matches!(got[1], Signal::Ice(_)), "{got:?}");
        net.say(text, TEXT_ICE);
        net.say(text, text_sdp("answer"));
        assert_eq!(net.json(page), [received("answer"), candidate(1, "v")], "with the mid of its index");
        assert_eq!(ask(&mut net, page, "leave", "s"), [notice("leaved")]);
        assert_eq!(net.closed(text), Some(CloseReason::PartnerLeft));
        assert_eq!(net.hub.counts().peers, 0);
    }

    #[test]
    fn a_caller_meets_who_has_joined_and_offers() {
        let mut net = Net::default();
        let (page, text) = (open(&mut net), net.text("t"));
        ask(&mut net, page, "join", "s");
        net.say(text, "SESSION s");
        assert_eq!((net.heard(text), net.heard(page)), (vec!["SESSION_OK".to_owned()], vec![]), "no start");
        net.say(text, text_sdp("offer"));
        assert_eq!(net.json(page), [received("offer")]);
        send(&mut net, page, description("answer"));
        assert!(is_sdp(&signals(&mut net, text)[0], SdpType::Answer));
        net.leave(text);
        assert_eq!(net.json(page), [command("stop")]);
        let next = net.text("next");
        net.say(next, "SESSION s");
        assert_eq!(net.heard(next), ["SESSION_OK"]);
    }

    #[test]
    fn a_caller_may_ask_for_the_offer() {
        let mut net = Net::default();
        let (page, text) = (open(&mut net), net.text("t"));
        ask(&mut net, page, "join", "s");
        net.say(text, "SESSION s");
        net.say(text, "OFFER_REQUEST");
        assert_eq!(net.json(page), [command("start")]);
    }

    #[test]
    fn to_publish_to_a_waiting_peer_is_to_call_it() {
        let mut net = Net::default();
        let text = net.text("s");
        let page = open(&mut net);
        assert_eq!(ask(&mut net, page, "publish", "s"), [command("start")]);
        send(&mut net, page, description("offer"));
        assert!(is_sdp(&signals(&mut net, text)[0], SdpType::Offer));
        net.say(text, text_sdp("answer"));
        assert_eq!(net.json(page), [received("answer"), notice("publish_started")]);
        net.say(text, text_sdp("answer"));
        assert_eq!(net.json(page), [received("answer")], "once");
        net.leave(text);
        assert_eq!(net.json(page), [notice("publish_finished")]);
        let again = net.text("s");
        assert_eq!(ask(&mut net, page, "publish", "s"), [command("start")], "the id was free");
        assert_eq!(ask(&mut net, page, "stop", "s"), [notice("publish_finished")]);
        assert_eq!(net.closed(again), Some(CloseReason::PartnerLeft));
    }

    #[test]
    fn a_publisher_waits_for_callers_one_after_the_other() {
        let mut net = Net::default();
        let page = open(&mut net);
        assert_eq!(ask(&mut net, page, "publish", "s"), [] as [Value; 0]);
        for _ in 0..2 {
            let text = net.text("t");
            net.say(text, "SESSION s");
            net.say(text, text_sdp("offer"));
            assert_eq!(net.json(page), [received("offer")]);
            let answers = send(&mut net, page, description("answer"));
            assert_eq!(answers, [notice("publish_started")]);
            let other = net.text("other");
            net.say(other, "SESSION s");
            assert_eq!(net.heard(other), ["ERROR peer 's' busy"]);
            net.leave(other);
            net.leave(text);
            assert_eq!(net.json(page), [notice("publish_finished"), command("stop")], "for a new connection");
        }
        assert_eq!(ask(&mut net, page, "stop", "s"), [notice("publish_finished")]);
        let late = net.text("late");
        net.say(late, "SESSION s");
        assert_eq!(net.heard(late), ["ERROR peer 's' not found"]);
    }

    #[test]
    fn to_play_a_waiting_peer_is_to_call_it_for_its_offer() {
        let mut net = Net::default();
        let text = net.text("s");
        let page = open(&mut net);
        assert_eq!(ask(&mut net, page, "play", "s"), [] as [Value; 0]);
        assert_eq!(net.heard(text), ["OFFER_REQUEST"]);
        net.say(text, TEXT_ICE);
        net.say(text, text_sdp("offer"));
        assert_eq!(net.json(page), [received("offer"), candidate(1, "v")]);
        assert_eq!(send(&mut net, page, description("answer")), [notice("play_started")]);
        assert!(is_sdp(&signals(&mut net, text)[0], SdpType::Answer));
        assert_eq!(send(&mut net, page, description("answer")), [] as [Value; 0], "once");
        net.leave(text);
        assert_eq!(net.json(page), [notice("play_finished")]);
        assert_eq!(ask(&mut net, page, "play", "s"), [error("no_stream_exist")]);
    }

    #[test]
    fn a_caller_meets_a_player_that_waits_and_offers() {
        let mut net = Net::default();
        let (page, other) = (open(&mut net), open(&mut net));
        assert_eq!(ask(&mut net, page, "play", "s"), [error("no_stream_exist")]);
        assert_eq!(ask(&mut net, other, "play", "s"), [error("no_stream_exist")]);
        let text = net.text("t");
        net.say(text, "SESSION s");
        assert_eq!(net.heard(text), ["SESSION_OK"]);
        net.say(text, "OFFER_REQUEST");
        net.say(text, text_sdp("offer"));
        assert_eq!(net.json(page), [received("offer")]);
        assert_eq!(send(&mut net, page, description("answer")), [notice("play_started")]);
        assert!(is_sdp(&signals(&mut net, text)[0], SdpType::Answer));
        assert_eq!(ask(&mut net, other, "play", "s"), [error("viewerLimitReached")]);
        net.leave(text);
        assert_eq!(net.json(page), [notice("play_finished")]);
        let late = net.text("late");
        net.say(late, "SESSION s");
        assert_eq!(net.heard(late), ["ERROR peer 's' not found"], "it waits no more");
    }

    #[test]
    fn a_player_that_waits_keeps_nobody_from_the_id() {
        let mut net = Net::default();
        let page = open(&mut net);
        assert_eq!(ask(&mut net, page, "play", "s"), [error("no_stream_exist")]);
        let text = net.text("s");
        assert_eq!(ask(&mut net, page, "play", "s"), [] as [Value; 0], "again, without a stop");
        assert_eq!(net.heard(text), ["OFFER_REQUEST"]);
        assert_eq!(ask(&mut net, page, "stop", "s"), [notice("play_finished")]);
        assert_eq!(net.closed(text), Some(CloseReason::PartnerLeft));
    }

    #[test]
    fn a_player_is_never_asked_for_an_offer() {
        let mut net = Net::default();
        let text = net.text("s");
        let page = open(&mut net);
        ask(&mut net, page, "play", "s");
        net.say(text, "OFFER_REQUEST");
        assert_eq!(net.heard(page), [] as [String; 0]);
    }

    #[test]
    fn a_busy_peer_is_not_called() {
        let mut net = Net::default();
        let (text, other) = (net.text("s"), net.text("other"));
        net.say(other, "SESSION s");
        let page = open(&mut net);
        for (begin, refused) in
            [("join", "NoSpaceForNewPeer"), ("publish", "streamIdInUse"), ("play", "viewerLimitReached")]
        {
            assert_eq!(ask(&mut net, page, begin, "s"), [error(refused)]);
        }
        net.leave(text);
        assert_eq!(ask(&mut net, page, "publish", "s"), [] as [Value; 0]);
    }
}

mod publishing {
    use super::*;

    #[test]
    fn a_player_gets_the_offer_of_a_waiting_publisher() {
        let mut net = Net::default();
        let (publisher, player) = (open(&mut net), open(&mut net));
        ask(&mut net, publisher, "publish", "s");
        assert_eq!(ask(&mut net, player, "play", "s"), [] as [Value; 0]);
        assert_eq!(net.json(publisher), [command("start")]);
        send(&mut net, publisher, description("offer"));
        assert_eq!(net.json(player), [received("offer")]);
        assert_eq!(send(&mut net, player, description("answer")), [notice("play_started")]);
        assert_eq!(net.json(publisher), [received("answer"), notice("publish_started")]);
        let second = open(&mut net);
        assert_eq!(ask(&mut net, second, "play", "s"), [error("viewerLimitReached")]);
        assert_eq!(ask(&mut net, player, "stop", "s"), [notice("play_finished")]);
        assert_eq!(net.json(publisher), [notice("publish_finished"), command("stop")]);
        assert_eq!(ask(&mut net, second, "play", "s"), [] as [Value; 0]);
        assert_eq!(net.json(publisher), [command("start")]);
        assert_eq!(ask(&mut net, publisher, "stop", "s"), [notice("publish_finished")]);
        assert_eq!(net.json(second), [notice("play_finished")]);
        assert_eq!(ask(&mut net, second, "play", "s"), [error("no_stream_exist")]);
    }

    #[test]
    fn a_player_may_come_first() {
        let mut net = Net::default();
        let (publisher, player) = (open(&mut net), open(&mut net));
        for _ in 0..2 {
            assert_eq!(ask(&mut net, player, "play", "s"), [error("no_stream_exist")]);
        }
        assert_eq!(ask(&mut net, player, "getStreamInfo", "s"), [error("no_stream_exist")]);
        assert_eq!(ask(&mut net, publisher, "publish", "s"), [command("start")]);
        send(&mut net, publisher, description("offer"));
        assert_eq!(net.json(player), [received("offer")]);
        assert_eq!(send(&mut net, player, description("answer")), [notice("play_started")]);
        assert_eq!(net.json(publisher), [received("answer"), notice("publish_started")]);
        let second = open(&mut net);
        assert_eq!(ask(&mut net, second, "play", "s"), [error("viewerLimitReached")]);
        assert_eq!(ask(&mut net, second, "publish", "s"), [error("streamIdInUse")]);
        net.leave(player);
        assert_eq!(net.json(publisher), [notice("publish_finished"), command("stop")], "it waits");
        assert_eq!(ask(&mut net, second, "play", "s"), [] as [Value; 0]);
        assert_eq!(net.json(publisher), [command("start")]);
    }

    #[test]
    fn one_publisher_has_the_id() {
        let mut net = Net::default();
        let (one, other) = (open(&mut net), open(&mut net));
        ask(&mut net, one, "publish", "s");
        assert_eq!(ask(&mut net, other, "publish", "s"), [error("streamIdInUse")]);
        net.leave(one);
        assert_eq!(ask(&mut net, other, "publish", "s"), [] as [Value; 0]);
    }

    #[test]
    fn other_commands_with_a_stream_in_use_are_refused() {
        let mut net = Net::default();
        let (page, player) = (open(&mut net), open(&mut net));
        ask(&mut net, page, "publish", "s");
        assert_eq!(ask(&mut net, page, "publish", "s"), [] as [Value; 0], "it waits already");
        assert_eq!(ask(&mut net, page, "play", "s"), [error("already_publishing")]);
        assert_eq!(ask(&mut net, page, "join", "s"), [error("already_publishing")]);
        ask(&mut net, player, "play", "s");
        assert_eq!(ask(&mut net, player, "play", "s"), [error("already_playing")]);
        net.heard(page);
        assert_eq!(ask(&mut net, page, "publish", "s"), [error("already_publishing")]);
    }

    /// The stock client does this every three seconds until it is connected.
    #[test]
    fn stop_and_begin_for_ever_leaves_nothing_behind() {
        let mut net = Net::default();
        let (publisher, player) = (open(&mut net), open(&mut net));
        for _ in 0..50 {
            assert_eq!(ask(&mut net, player, "play", "s"), [error("no_stream_exist")]);
            assert_eq!(ask(&mut net, player, "stop", "s"), [] as [Value; 0]);
            assert_eq!(ask(&mut net, publisher, "publish", "s"), [] as [Value; 0]);
            assert_eq!(ask(&mut net, publisher, "stop", "s"), [notice("publish_finished")]);
            assert_eq!(ask(&mut net, publisher, "stop", "s"), [] as [Value; 0]);
        }
        let counts = net.hub.counts();
        assert_eq!((counts.peers, counts.sessions), (0, 0));
        ask(&mut net, publisher, "publish", "s");
        for _ in 0..50 {
            ask(&mut net, player, "play", "s");
            assert_eq!(net.json(publisher), [command("start")]);
            assert_eq!(ask(&mut net, player, "stop", "s"), [notice("play_finished")]);
            assert_eq!(net.json(publisher), [notice("publish_finished"), command("stop")]);
        }
    }

    #[test]
    fn one_socket_has_many_streams() {
        let mut net = Net::default();
        let (page, text) = (open(&mut net), net.text("cam"));
        ask(&mut net, page, "publish", "mine");
        ask(&mut net, page, "join", "two");
        ask(&mut net, page, "play", "cam");
        assert_eq!(net.heard(text), ["OFFER_REQUEST"]);
        let caller = net.text("caller");
        net.say(caller, "SESSION mine");
        net.say(caller, text_sdp("offer"));
        net.say(text, text_sdp("offer"));
        let streams: Vec<_> = net.json(page).iter().map(|it| it["streamId"].clone()).collect();
        assert_eq!(streams, ["mine", "cam"]);
        net.leave(text);
        assert_eq!(
            net.json(page)[0],
            json!({ "command": "notification", "definition": "play_finished", "streamId": "cam" })
        );
        let stopped = send(&mut net, page, json!({ "command": "stop" }));
        assert_eq!(stopped.len(), 1, "publishing only: {stopped:?}");
        assert_eq!(net.closed(caller), Some(CloseReason::PartnerLeft));
        assert_eq!(send(&mut net, page, json!({ "command": "leave" }))[0]["streamId"], "two");
        assert_eq!(net.hub.counts().peers, 0);
    }
}

/// Commands that cross notices.
mod crossing {
    use super::*;

    #[test]
    fn a_call_that_came_before_a_stop_is_ended_by_it() {
        let mut net = Net::default();
        let (page, text) = (open(&mut net), net.text("t"));
        ask(&mut net, page, "publish", "s");
        net.hold(page);
        net.say(text, "SESSION s");
        ask(&mut net, page, "stop", "s");
        assert_eq!(net.closed(text), Some(CloseReason::PartnerLeft));
        assert_eq!(net.hub.counts().sessions, 0);
        net.release(page);
        assert_eq!(net.json(page), [notice("publish_finished")], "to the stop only");
    }

    #[test]
    fn what_was_before_the_last_command_is_not_taken_for_what_follows_it() {
        let mut net = Net::default();
        let (page, text) = (open(&mut net), net.text("t"));
        ask(&mut net, page, "publish", "s");
        net.hold(page);
        net.say(text, "SESSION s");
        net.say(text, text_sdp("offer"));
        net.say(text, "OFFER_REQUEST");
        ask(&mut net, page, "stop", "s");
        ask(&mut net, page, "publish", "s");
        send(&mut net, page, description("answer"));
        net.release(page);
        let expected = [notice("publish_finished"), error("no_peer_associated_before")];
        assert_eq!(net.json(page), expected, "to the stop and to the answer");
        let player = open(&mut net);
        ask(&mut net, player, "play", "s");
        assert_eq!(net.json(page), [command("start")], "it waits again");
    }

    #[test]
    fn an_old_refusal_does_not_end_a_new_stream() {
        let mut net = Net::default();
        let (holder, page) = (open(&mut net), open(&mut net));
        ask(&mut net, holder, "publish", "s");
        net.hold(page);
        ask(&mut net, page, "publish", "s");
        ask(&mut net, page, "stop", "s");
        ask(&mut net, holder, "stop", "s");
        ask(&mut net, page, "publish", "s");
        net.release(page);
        assert_eq!(net.json(page), [notice("publish_finished")], "no error");
        let player = open(&mut net);
        ask(&mut net, player, "play", "s");
        assert_eq!(net.json(page), [command("start")]);
    }

    #[test]
    fn an_end_that_crosses_a_candidate_is_no_error() {
        let mut net = Net::default();
        let (page, text) = (open(&mut net), net.text("s"));
        ask(&mut net, page, "play", "s");
        net.hold(page);
        net.leave(text);
        send(&mut net, page, candidate(0, "a"));
        net.release(page);
        assert_eq!(net.json(page), [notice("play_finished")]);
    }
}

mod refusals {
    use super::*;

    fn definitions(messages: &[Value]) -> Vec<&str> {
        messages.iter().map(|it| it["definition"].as_str().unwrap()).collect()
    }

    #[test]
    fn what_is_malformed_gets_an_error_and_nothing_else_happens() {
        let mut net = Net::default();
        let page = open(&mut net);
        for (text, definition) in [
            ("", "invalid_message"),
            ("HELLO x", "invalid_message"),
            ("{command:\"join\"}", "invalid_message"),
            (r#"{"command":"join"}"#, "noStreamNameSpecified"),
            (r#"{"command":"publish","streamId":""}"#, "noStreamNameSpecified"),
            (r#"{"command":"play","streamId":["s"]}"#, "noStreamNameSpecified"),
            (r#"{"command":"stop","streamId":{}}"#, "noStreamNameSpecified"),
            (r#"{"command":"getStreamInfo"}"#, "noStreamNameSpecified"),
            (r#"{"command":"join","streamId":"a b"}"#, "invalidStreamName"),
            (r#"{"command":"joinRoom","streamId":"s","room":"r"}"#, "unsupported_command"),
            (
                r#"{"command":"takeConfiguration","streamId":"s","type":"rollback","sdp":""}"#,
                "notSetRemoteDescription",
            ),
            (r#"{"command":"takeCandidate","streamId":"s"}"#, "missingParameter"),
        ] {
            net.say(page, text);
            let heard = net.json(page);
            assert_eq!(definitions(&heard), [definition], "{text}");
            assert_eq!(heard[0]["command"], "error");
        }
        net.send(page, Message::binary(&b"{}"[..]));
        assert_eq!(definitions(&net.json(page)), ["invalid_message"]);
        assert_eq!(net.closed(page), None);
        let refused = send(&mut net, page, json!({ "command": "join", "streamName": "a b" }));
        assert_eq!((&refused[0]["streamId"], &refused[0]["streamName"]), (&json!("a b"), &json!("a b")));
    }

    #[test]
    fn what_is_too_long_is_not_repeated_at_any_length() {
        let mut net = Net::new(Rules { max_uid: 10, ..Rules::default() });
        let page = open(&mut net);
        let long = "ü".repeat(100_000);
        for message in [
            json!({ "command": "join", "streamId": long }),
            json!({ "command": long, "streamId": long }),
            json!({ "command": "getRoomInfo", "streamId": long, "room": long }),
        ] {
            net.say(page, &message);
            assert!(net.heard(page)[0].len() < 2300);
        }
        for begin in ["join", "publish"] {
            let refused = ask(&mut net, page, begin, "01234567890");
            assert_eq!(definitions(&refused), ["invalidStreamName"]);
        }
    }

    #[test]
    fn a_token_may_forbid_it() {
        let mut net = Net::default();
        let grant = |allow, uids: &str| Grant {
            identity: Some("erin".into()),
            allow,
            uid: Some(uids.into()),
            ..Grant::default()
        };
        let only_a = net.open_with(Dialect::Antmedia, "", grant(None, "a"));
        assert_eq!(ask(&mut net, only_a, "publish", "s"), [error("unauthorized_access")]);
        assert_eq!(ask(&mut net, only_a, "join", "s"), [error("unauthorized_access")]);
        let mute = net.open_with(Dialect::Antmedia, "", grant(Some(vec![Ability::Answer]), "*"));
        let text = net.text("s");
        assert_eq!(ask(&mut net, mute, "play", "s"), [error("no_stream_exist")]);
        assert_eq!(ask(&mut net, mute, "publish", "s"), [error("unauthorized_access")]);
        assert_eq!(ask(&mut net, mute, "getStreamInfo", "s"), [error("no_stream_exist")]);
        assert_eq!(net.heard(text), [] as [String; 0]);
    }

    #[test]
    fn the_webhook_may_refuse_with_a_reason() {
        for (refusal, definition, reason) in [
            (Refusal::Other("not before noon".into()), "unauthorized_access", json!("not before noon")),
            (Refusal::Unavailable, "not_initialized_yet", Value::Null),
        ] {
            let mut net = Net::default();
            let page = open(&mut net);
            let mut antmedia = Antmedia::default();
            let (mut steps, mut frames) = (Vec::new(), Vec::new());
            antmedia.read(Message::text(command("publish").to_string()), &mut steps);
            let (about, key) = (About::Call, Key::from("s"));
            let refused = Refused { about, key, refusal: refusal.clone(), payload: None };
            antmedia.write(Notice::Refused(Box::new(refused)), &mut frames);
            let Some(Message::Text(text)) = frames.first() else { panic!("{frames:?}") };
            let error: Value = serde_json::from_str(text).unwrap();
            assert_eq!((&error["definition"], &error["information"]), (&json!(definition), &reason));
            assert!(antmedia.streams.is_empty());
            // One that was not asked for.
            net.handle(page, Event::Denied { about, key: Key::from("s"), refusal });
            assert_eq!(net.heard(page), [] as [String; 0]);
        }
    }

    #[test]
    fn there_are_limits() {
        let mut net = Net::new(Rules { max_sessions: 1, ..Rules::default() });
        let (page, _one, _two) = (open(&mut net), net.text("one"), net.text("two"));
        ask(&mut net, page, "play", "one");
        let refused = ask(&mut net, page, "play", "two");
        assert_eq!(definitions(&refused), ["highResourceUsage"]);
        for number in 0..MAX_STREAMS - 1 {
            assert_eq!(ask(&mut net, page, "publish", &format!("s{number}")), [] as [Value; 0]);
        }
        assert_eq!(definitions(&ask(&mut net, page, "publish", "more")), ["highResourceUsage"]);
        assert_eq!(definitions(&ask(&mut net, page, "stop", "s0")), ["publish_finished"]);
        assert_eq!(ask(&mut net, page, "publish", "more"), [] as [Value; 0]);
    }
}

mod questions {
    use super::*;

    #[test]
    fn streams_are_those_that_can_be_called() {
        let mut net = Net::default();
        let (page, other) = (open(&mut net), open(&mut net));
        for question in ["getStreamInfo", "getTrackList"] {
            assert_eq!(ask(&mut net, page, question, "s"), [error("no_stream_exist")]);
        }
        ask(&mut net, other, "publish", "s");
        assert_eq!(
            ask(&mut net, page, "getStreamInfo", "s"),
            [json!({ "command": "streamInformation", "streamId": "s", "streamInfo": [] })]
        );
        assert_eq!(
            ask(&mut net, page, "getTrackList", "s"),
            [json!({ "command": "trackList", "streamId": "s", "trackList": ["s"] })]
        );
        let by_name = json!({ "command": "getTrackList", "streamName": "s" });
        let answer =
            json!({ "command": "trackList", "streamId": "s", "streamName": "s", "trackList": ["s"] });
        assert_eq!(send(&mut net, page, by_name), [answer]);
    }

    #[test]
    fn rooms_and_pings_are_answered_at_once() {
        let mut net = Net::default();
        let page = open(&mut net);
        assert_eq!(
            send(&mut net, page, json!({ "command": "getRoomInfo", "streamId": "s", "room": "r" })),
            [
                json!({ "command": "roomInformation", "streamId": "s", "room": "r", "streams": [], "streamList": [] })
            ]
        );
        assert_eq!(send(&mut net, page, json!({ "command": "ping" })), [json!({ "command": "pong" })]);
    }

    #[test]
    fn one_ice_server_is_named() {
        let turn = json!({ "urls": ["turns:h:5349", "turn:h:3478"], "username": "u", "credential": "c" });
        let stun = json!({ "urls": "stun:h:3478" });
        let config = |servers: &[Value]| {
            let mut frames = Vec::new();
            Antmedia::default().write_ice_servers(servers, &mut frames);
            let [Message::Text(text)] = &frames[..] else { panic!("{frames:?}") };
            serde_json::from_str::<Value>(text).unwrap()
        };
        assert_eq!(
            config(&[stun.clone(), turn]),
            json!({ "command": "iceServerConfig", "stunServerUri": "turn:h:3478", "turnServerUsername": "u",
                "turnServerCredential": "c" })
        );
        assert_eq!(config(&[stun]), json!({ "command": "iceServerConfig", "stunServerUri": "stun:h:3478" }));
        for none in [json!([]), json!([{}]), json!([{ "urls": 1 }])] {
            assert_eq!(config(none.as_array().unwrap()), json!({ "command": "iceServerConfig" }));
        }
    }

    #[test]
    fn a_caller_is_named_by_its_token() {
        let mut net = Net::default();
        let grant = Grant { identity: Some(Arc::from("erin")), ..Grant::default() };
        let (page, _text) = (net.open_with(Dialect::Antmedia, "", grant), net.text("s"));
        ask(&mut net, page, "play", "s");
        let sessions: Vec<_> =
            net.hub.sessions().map(|(caller, callee)| (caller.to_string(), callee.to_string())).collect();
        assert_eq!(sessions, [("erin".to_owned(), "s".to_owned())]);
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn frame() -> impl Strategy<Value = String> {
        let command = prop::sample::select(vec![
            "join",
            "leave",
            "publish",
            "play",
            "stop",
            "takeConfiguration",
            "takeCandidate",
            "getStreamInfo",
            "peerMessageCommand",
            "ping",
            "x",
        ]);
        let stream = prop::sample::select(vec!["a", "b", "t", ""]);
        (command, stream, any::<bool>(), any::<bool>()).prop_map(|(command, stream, named, offers)| {
            let mut message = json!({ "command": command, "type": if offers { "offer" } else { "answer" }, "sdp": SDP,
                "candidate": "c", "label": 1 });
            let member = if named { "streamName" } else { "streamId" };
            if !stream.is_empty() {
                message[member] = stream.into();
            }
            message.to_string()
        })
    }

    /// What a client may do, by number: send a frame, stop reading, read again.
    fn event() -> impl Strategy<Value = (usize, u8, String)> {
        (0..4usize, 0..8u8, frame())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_order_of_commands_leaves_anything_behind(events in prop::collection::vec(event(), 0..80)) {
            let mut net = Net::default();
            let pages: Vec<ConnId> = (0..3).map(|_| open(&mut net)).collect();
            let text = net.text("t");
            let mut holds = [false; 3];
            for (who, what, frame) in events {
                match (pages.get(who), what) {
                    (Some(page), 0) if !holds[who] => { net.hold(*page); holds[who] = true; }
                    (Some(page), 0 | 1) if holds[who] => { net.release(*page); holds[who] = false; }
                    (Some(page), _) => net.say(*page, &frame),
                    (None, 0 | 1) => net.say(text, "SESSION a"),
                    (None, _) => net.say(text, text_sdp("offer")),
                }
            }
            for (page, holds) in pages.iter().zip(holds) {
                if holds {
                    net.release(*page);
                }
            }
            for page in &pages {
                for stream in ["a", "b", "t"] {
                    ask(&mut net, *page, "stop", stream);
                }
            }
            net.leave(text);
            let counts = net.hub.counts();
            prop_assert_eq!((counts.peers, counts.sessions), (0, 0));
            // A new start works for all clients.
            for page in &pages {
                net.heard(*page);
            }
            ask(&mut net, pages[0], "publish", "a");
            ask(&mut net, pages[1], "play", "a");
            let started = json!({ "command": "start", "streamId": "a" });
            prop_assert_eq!(net.json(pages[0]), [started]);
        }
    }
}
