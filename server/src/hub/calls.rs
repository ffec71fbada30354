//! Registrations and calls.

use async_tungstenite::tungstenite;
use callbin_protocol::PeerId;

use super::{
    Ability, Call, Card, ConnId, Connection, Effect, Ended, Hub, Incoming, Key, Leg, Note, Notice, Payload,
    Peer, Refusal, Start,
};
use crate::{bridge, close::CloseReason, delivery::payload::Side, dialect::Dialect};

/// The most ids and the most calls of one connection.
const MAX_PER_CONNECTION: usize = 256;

impl Hub {
    pub(super) fn register(
        &mut self,
        conn: ConnId,
        uid: PeerId,
        card: Card,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if uid.as_str().len() > self.rules.max_uid {
            return Err(Refusal::UidInvalid);
        }
        let Some(connection) = self.connections.get(&conn) else { return Ok(()) };
        // Check the permission first: a peer that may not have a uid must not learn whether it is taken.
        if !connection.grant.allows_uid(&uid) {
            return Err(Refusal::UidNotAllowed);
        }
        if connection.uids.len() >= MAX_PER_CONNECTION {
            return Err(Refusal::TooManyIds);
        }
        if let Some(holder) = self.uids.get(&uid).map(|peer| peer.conn) {
            let grant = &connection.grant;
            let is_same =
                self.connections.get(&holder).is_some_and(|other| other.grant.is_same_identity(grant));
            if !is_same || holder == conn {
                return Err(Refusal::UidTaken);
            }
            self.close(holder, CloseReason::Replaced, effects);
        }
        self.enter(conn, &uid, card);
        effects.push(Effect::Note(conn, Note::Registered(uid.clone())));
        self.tell(conn, Notice::Registered(uid), effects);
        Ok(())
    }

    /// Adds an id to the tables. It is free.
    fn enter(&mut self, conn: ConnId, uid: &PeerId, card: Card) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.uids.push(uid.clone());
            // It may have called by this name already.
            let calls = connection.calls.values().filter(|leg| leg.uid == *uid).count();
            self.uids.insert(uid.clone(), Peer { conn, card, calls });
        }
    }

    pub(super) fn unregister(
        &mut self,
        conn: ConnId,
        uid: &PeerId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get_mut(&conn) else { return Ok(()) };
        let Some(place) = connection.uids.iter().position(|own| own == uid) else {
            return Err(Refusal::PeerNotFound(uid.to_string()));
        };
        // Members of a room are known by their main id.
        if connection.seat.is_some() && place == 0 {
            return Err(Refusal::AlreadyInRoom);
        }
        connection.uids.remove(place);
        self.uids.remove(uid);
        effects.push(Effect::Note(conn, Note::Left(uid.clone())));
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(super) fn call(
        &mut self,
        conn: ConnId,
        key: &Key,
        to: PeerId,
        from: Option<PeerId>,
        start: Start,
        returns_as: Option<Box<Card>>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let partner = self.find_callee(conn, &to)?;
        let Some(connection) = self.connections.get(&conn) else { return Ok(()) };
        if connection.seat.is_some() {
            return Err(Refusal::AlreadyInRoom);
        }
        if connection.calls.len() >= MAX_PER_CONNECTION {
            return Err(Refusal::TooManySessions);
        }
        let owners = connection.owners();
        if self.is_any_at(&owners, self.rules.max_sessions, |usage| usage.sessions) {
            return Err(Refusal::TooManySessions);
        }
        let from = from.unwrap_or_else(|| connection.name(conn));
        let (key, partner_key) = self.keys(conn, key, partner, &to);
        if self.has_call(conn, &key) || self.has_call(partner, &partner_key) {
            return Err(Refusal::PeerBusy(to.to_string()));
        }
        self.count(&owners, |usage| usage.sessions += 1);
        self.sessions += 1;
        let caller = Leg {
            uid: from.clone(),
            partner,
            partner_key: partner_key.clone(),
            peer: to.clone(),
            is_caller: true,
            returns_as,
        };
        let callee = Leg {
            uid: to,
            partner: conn,
            partner_key: key.clone(),
            peer: from,
            is_caller: false,
            returns_as: None,
        };
        self.start((conn, key, caller), (partner, partner_key, callee), start, effects);
        Ok(())
    }

    /// Enters both sides of a call, and notifies both.
    fn start(
        &mut self,
        caller: (ConnId, Key, Leg),
        callee: (ConnId, Key, Leg),
        start: Start,
        effects: &mut Vec<Effect>,
    ) {
        let leads = self.uids.get(&callee.2.uid).is_some_and(|peer| peer.card.leads);
        let asked = bridge::asked(start, leads);
        let note = Note::Called { caller: caller.2.uid.clone(), callee: callee.2.uid.clone() };
        effects.push(Effect::Note(caller.0, note));
        let (one, other) = (caller.0, callee.0);
        let dialects = (self.dialect(one), self.dialect(other));
        for ((conn, key, leg), side, dialect) in
            [(caller, Side::Caller, dialects.1), (callee, Side::Callee, dialects.0)]
        {
            if let Some(peer) = self.uids.get_mut(&leg.uid).filter(|peer| peer.conn == conn) {
                peer.calls += 1;
            }
            let notice = dialect.map(|dialect| Call {
                key: key.clone(),
                uid: leg.uid.clone(),
                peer: leg.peer.clone(),
                dialect,
                is_caller: side == Side::Caller,
                is_asked: asked == Some(side),
            });
            if let Some(connection) = self.connections.get_mut(&conn) {
                connection.calls.insert(key, leg);
            }
            // The caller's goes first: after the pairing, the partner's frames may overtake ours.
            if let Some(call) = notice {
                self.tell(conn, Notice::Called(Box::new(call)), effects);
            }
        }
        if dialects.0 == dialects.1 && dialects.0.is_some_and(Dialect::is_single) {
            effects.push(Effect::Pair(one, other));
        }
    }

    fn dialect(&self, conn: ConnId) -> Option<Dialect> {
        self.connections.get(&conn).map(|connection| connection.dialect)
    }

    fn has_call(&self, conn: ConnId, key: &Key) -> bool {
        self.connections.get(&conn).is_some_and(|connection| connection.calls.contains_key(key))
    }

    /// The names of a new call for both sides.
    fn keys(&mut self, conn: ConnId, key: &Key, partner: ConnId, to: &PeerId) -> (Key, Key) {
        self.last_call += 1;
        let number = Key::from(format!("call-{}", self.last_call).as_str());
        let is_single =
            |conn| self.connections.get(&conn).is_some_and(|connection| connection.dialect.is_single());
        let own = if *key == Key::default() && !is_single(conn) { number.clone() } else { key.clone() };
        let is_shared = self.uids.get(to).is_some_and(|peer| peer.card.is_shared);
        let theirs = match (is_single(partner), is_shared) {
            (true, _) => Key::default(),
            (false, true) => number,
            (false, false) => Key::from(to.as_str()),
        };
        (own, theirs)
    }

    pub(super) fn meet(
        &mut self,
        conn: ConnId,
        key: &Key,
        uid: PeerId,
        card: Card,
        start: Start,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        match self.uids.get(&uid).map(|peer| peer.conn) {
            None => self.register(conn, uid, card, effects),
            Some(holder) if holder == conn => Err(Refusal::UidTaken),
            Some(_) => self.call(conn, key, uid, None, start, Some(Box::new(card)), effects),
        }
    }

    /// A callee that is absent and one that may not be called give the same error, so that callers cannot probe uids.
    fn find_callee(&self, conn: ConnId, callee: &PeerId) -> Result<ConnId, Refusal> {
        let found = self.uids.get(callee).filter(|peer| self.may_call(conn, peer.conn));
        let peer = found.ok_or_else(|| Refusal::PeerNotFound(callee.to_string()))?;
        let is_free = peer.calls == 0 || peer.card.is_shared;
        let is_in_room = self.connections.get(&peer.conn).is_none_or(|connection| connection.seat.is_some());
        // A peer that calls itself gets "busy".
        if peer.conn == conn || !is_free || is_in_room {
            return Err(Refusal::PeerBusy(callee.to_string()));
        }
        Ok(peer.conn)
    }

    pub(super) fn may_call(&self, caller: ConnId, callee: ConnId) -> bool {
        let may = |conn, ability| {
            self.connections.get(&conn).is_some_and(|connection| connection.grant.allows(ability))
        };
        may(caller, Ability::Call) && may(callee, Ability::Answer)
    }

    /// A frame of a single connection in its call.
    pub(super) fn relay(
        &mut self,
        conn: ConnId,
        key: &Key,
        partner: ConnId,
        frame: tungstenite::Message,
        effects: &mut Vec<Effect>,
    ) {
        if self.dialect(partner) == self.dialect(conn) {
            return effects.push(Effect::Forward(partner, frame));
        }
        // Other dialects have no binary messages.
        if let tungstenite::Message::Text(text) = frame {
            let _ = self.signal(conn, key, Payload::text_from(text, 0), effects);
        }
    }

    pub(super) fn signal(
        &mut self,
        conn: ConnId,
        key: &Key,
        payload: Payload,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let leg = self.leg(conn, key).ok_or(Refusal::NoSuchCall)?;
        let (partner, key) = (leg.partner, leg.partner_key.clone());
        self.tell(partner, Notice::Signal(Box::new(Incoming { key, payload })), effects);
        Ok(())
    }

    fn leg(&self, conn: ConnId, key: &Key) -> Option<&Leg> {
        self.connections.get(&conn)?.calls.get(key)
    }

    /// Ends a call for both sides. The other side gets a notice, or is closed if it has one call only.
    pub(super) fn end(&mut self, conn: ConnId, key: &Key, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        let leg = self.take_leg(conn, key).ok_or(Refusal::NoSuchCall)?;
        let partner = leg.partner;
        let Some(theirs) = self.take_leg(partner, &leg.partner_key) else { return Ok(()) };
        let caller = if leg.is_caller { conn } else { partner };
        self.sessions -= 1;
        let owners = self.owners(caller);
        self.count(&owners, |usage| usage.sessions -= 1);
        let Some(connection) = self.connections.get(&partner) else { return Ok(()) };
        if connection.dialect.is_single() {
            self.close(partner, CloseReason::PartnerLeft, effects);
            return Ok(());
        }
        let stays = self.return_home(partner, &theirs, effects);
        let ended = Ended { key: leg.partner_key, peer: leg.uid, stays };
        self.tell(partner, Notice::Ended(Box::new(ended)), effects);
        Ok(())
    }

    fn take_leg(&mut self, conn: ConnId, key: &Key) -> Option<Leg> {
        let leg = self.connections.get_mut(&conn)?.calls.remove(key)?;
        if let Some(peer) = self.uids.get_mut(&leg.uid).filter(|peer| peer.conn == conn) {
            peer.calls = peer.calls.saturating_sub(1);
        }
        Some(leg)
    }

    /// After a meeting, the one that stays can be met again under the same id. True if the peer can be called by the id
    /// of the call, or of the meeting.
    fn return_home(&mut self, conn: ConnId, leg: &Leg, effects: &mut Vec<Effect>) -> bool {
        let is_registered = |hub: &Self, uid| hub.uids.get(uid).is_some_and(|peer: &Peer| peer.conn == conn);
        let Some(card) = &leg.returns_as else { return is_registered(self, &leg.uid) };
        let allowed = self.connections.get(&conn).is_some_and(|connection: &Connection| {
            connection.grant.allows_uid(&leg.peer) && connection.uids.len() < MAX_PER_CONNECTION
        });
        if self.uids.contains_key(&leg.peer) || !allowed {
            return is_registered(self, &leg.peer);
        }
        self.enter(conn, &leg.peer, (**card).clone());
        effects.push(Effect::Note(conn, Note::Registered(leg.peer.clone())));
        true
    }
}
