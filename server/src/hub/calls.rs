//! Registrations and calls.

use async_tungstenite::tungstenite;
use callbin_protocol::PeerId;

use super::{
    Ability, Call, Card, ConnId, Connection, Effect, Ended, Flow, Found, Hub, Incoming, Key, Leg, Note,
    Notice, Only, Payload, Peer, Refusal, Start, Use, streams::Flight,
};
use crate::{bridge, close::CloseReason, delivery::payload::Side, dialect::Dialect};

/// The most ids and the most calls of one connection.
const MAX_PER_CONNECTION: usize = 256;

/// The most partners that are probed because a peer is busy.
const MAX_PROBED: usize = 4;

/// The most calls that callers of one address have with one connection: others need places, too.
const MAX_FROM_ADDRESS: usize = 64;

impl Hub {
    pub(super) fn register(
        &mut self,
        conn: ConnId,
        uid: PeerId,
        card: Card,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get(&conn) else { return Ok(()) };
        // Check the permission first: a peer that may not have a uid must not learn whether it is taken.
        self.permit(connection, &uid)?;
        if connection.uids.len() >= MAX_PER_CONNECTION {
            return Err(Refusal::TooManyIds);
        }
        // Peers and streams share their names.
        if self.streams.contains_key(&uid) || self.node_rooms.reserves(&uid) {
            return Err(Refusal::UidTaken);
        }
        if let Some((holder, flow)) = self.uids.get(&uid).map(|peer| (peer.conn, peer.card.flow)) {
            let grant = &connection.grant;
            let is_same =
                self.connections.get(&holder).is_some_and(|other| other.grant.is_same_identity(grant));
            if holder == conn || card.flow == Flow::Awaits {
                return Err(Refusal::UidTaken);
            } else if flow == Flow::Awaits {
                self.unregister(holder, &uid, effects)?;
            } else if is_same {
                self.close(holder, CloseReason::Replaced, effects);
            } else {
                effects.push(Effect::Probe(holder));
                return Err(Refusal::UidTaken);
            }
        }
        // One that waits to receive comes and goes, and is no news for an operator.
        if card.flow != Flow::Awaits {
            effects.push(Effect::Note(conn, Note::Registered(uid.clone())));
        }
        self.enter(conn, &uid, card, effects);
        self.tell(conn, Notice::Registered(uid), effects);
        Ok(())
    }

    /// Whether a connection may have this id.
    pub(super) fn permit(&self, connection: &Connection, uid: &PeerId) -> Result<(), Refusal> {
        if uid.as_str().len() > self.rules.max_uid {
            Err(Refusal::UidInvalid)
        } else if !connection.grant.allows_uid(uid) {
            Err(Refusal::UidNotAllowed)
        } else {
            Ok(())
        }
    }

    /// Adds an id to the tables. It is free. Calls that it had before it was unregistered still count.
    fn enter(&mut self, conn: ConnId, uid: &PeerId, card: Card, effects: &mut Vec<Effect>) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.uids.push(uid.clone());
            self.uids.insert(uid.clone(), Peer { conn, card: card.clone(), meets: false });
            self.announce(conn, uid, &card, true, effects);
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
        let Some(peer) = self.uids.remove(uid) else { return Ok(()) };
        self.share(Effect::Freed(conn, uid.clone()), effects);
        if peer.card.flow != Flow::Awaits {
            self.announce(conn, uid, &peer.card, false, effects);
            effects.push(Effect::Note(conn, Note::Left(uid.clone())));
        }
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
        if start == Start::Never && self.only_awaits(&to) {
            return Err(Refusal::PeerNotFound(to.to_string()));
        }
        let asked = match self.uids.get(&to) {
            Some(peer) => bridge::asked(start, &peer.card)?,
            None => None,
        };
        self.connect((conn, key, from), (partner, to), asked, returns_as, effects)
    }

    /// Whether a connection can start a call.
    pub(super) fn check_caller(&self, connection: &Connection) -> Result<(), Refusal> {
        self.permit_call(connection)?;
        match self.has_all_sessions(&connection.session_owners()) {
            true => Err(Refusal::TooManySessions),
            false => Ok(()),
        }
    }

    /// Starts a call with a callee that takes it.
    pub(super) fn connect(
        &mut self,
        (conn, key, from): (ConnId, &Key, Option<PeerId>),
        (partner, to): (ConnId, PeerId),
        asked: Option<Side>,
        returns_as: Option<Box<Card>>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get(&conn) else { return Ok(()) };
        self.check_caller(connection)?;
        let owners = connection.session_owners();
        let from = match from {
            Some(from) => self.may_be(conn, connection, from)?,
            None => connection.name(conn),
        };
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
            media: None,
            flight: Flight::default(),
            link: None,
        };
        let callee = Leg {
            uid: to,
            partner: conn,
            partner_key: key.clone(),
            peer: from,
            is_caller: false,
            returns_as: None,
            media: None,
            flight: Flight::default(),
            link: None,
        };
        self.start((conn, key, caller), (partner, partner_key, callee), asked, effects);
        Ok(())
    }

    /// Whether a connection may have another call.
    pub(super) fn permit_call(&self, connection: &Connection) -> Result<(), Refusal> {
        if connection.seat.is_some() {
            Err(Refusal::AlreadyInRoom)
        } else if connection.calls.len() >= MAX_PER_CONNECTION {
            Err(Refusal::TooManySessions)
        } else {
            Ok(())
        }
    }

    /// Checks a name that a caller chose: it may be its own id, or one that it could register.
    pub(super) fn may_be(
        &self,
        conn: ConnId,
        connection: &Connection,
        name: PeerId,
    ) -> Result<PeerId, Refusal> {
        self.permit(connection, &name)?;
        match self.uids.get(&name) {
            Some(peer) if peer.conn != conn => Err(Refusal::UidTaken),
            _ => Ok(name),
        }
    }

    /// Enters both sides of a call, and notifies both.
    pub(super) fn start(
        &mut self,
        caller: (ConnId, Key, Leg),
        callee: (ConnId, Key, Leg),
        asked: Option<Side>,
        effects: &mut Vec<Effect>,
    ) {
        let (one, other) = (caller.0, callee.0);
        let (Some(theirs), Some(ours)) = (self.dialect(one), self.dialect(other)) else { return };
        let (name, to) = (caller.2.uid.clone(), callee.2.uid.clone());
        // Those of a room would be as many as the square of its members.
        if caller.2.link.is_none() {
            effects
                .push(Effect::Note(one, Note::Called { caller: name, callee: to, dialects: (theirs, ours) }));
        }
        for ((conn, key, leg), side, dialect) in
            [(caller, Side::Caller, ours), (callee, Side::Callee, theirs)]
        {
            let call = Call {
                key: key.clone(),
                uid: leg.uid.clone(),
                peer: leg.peer.clone(),
                dialect,
                is_caller: side == Side::Caller,
                is_asked: asked == Some(side),
                media: leg.media,
                max_bitrate: self.rules.max_bitrate.filter(|_| leg.media == Some(Use::Publish)),
                like: match (leg.media, &leg.link) {
                    (Some(Use::Play), Some(_)) => self.published_by(one, other),
                    _ => None,
                },
            };
            let Some(connection) = self.connections.get_mut(&conn) else { continue };
            if leg.link.is_some() && leg.is_caller {
                connection.links.insert(key, leg);
                continue;
            }
            connection.calls.insert(key, leg);
            // The caller's goes first: after the pairing, the partner's frames may overtake ours.
            self.tell(conn, Notice::Called(Box::new(call)), effects);
        }
        if ours == theirs && ours.is_single() {
            effects.push(Effect::Pair(one, other));
        }
    }

    /// A peer is busy for a caller: check that it and the peers of its calls are still there.
    pub(super) fn probe(&self, caller: ConnId, busy: &str, effects: &mut Vec<Effect>) {
        let Some((conn, _)) = self.find(busy).filter(|(conn, _)| *conn != caller) else { return };
        let legs = self.connections.get(&conn).map(|connection| connection.calls.values());
        let partners = legs.into_iter().flatten().map(|leg| leg.partner).take(MAX_PROBED);
        effects.extend(partners.chain([conn]).map(Effect::Probe));
    }

    pub(super) fn has_call(&self, conn: ConnId, key: &Key) -> bool {
        self.connections.get(&conn).is_some_and(|connection| connection.calls.contains_key(key))
    }

    /// The names of a new call for both sides.
    fn keys(&mut self, conn: ConnId, key: &Key, partner: ConnId, to: &PeerId) -> (Key, Key) {
        self.last_call += 1;
        let last = self.last_call;
        let number = || Key::from(format!("call-{last}").as_str());
        let is_single = |conn| self.dialect(conn).is_some_and(Dialect::is_single);
        let own = if *key == Key::default() && !is_single(conn) { number() } else { key.clone() };
        let is_shared = self.uids.get(to).is_some_and(|peer| peer.card.is_shared);
        let theirs = match (is_single(partner), is_shared) {
            (true, _) => Key::default(),
            (false, true) => number(),
            // A request about an ended call must not hit the next one.
            (false, false) if self.dialect(partner) == Some(Dialect::Rest) => number(),
            (false, false) => Key::from(to.as_str()),
        };
        (own, theirs)
    }

    /// The names of a new call to a stream, for the client and for the node.
    pub(super) fn stream_keys(&mut self, conn: ConnId, key: &Key) -> (Key, Key) {
        self.last_call += 1;
        let number = Key::from(format!("call-{}", self.last_call).as_str());
        let is_named = *key != Key::default() || self.dialect(conn).is_some_and(Dialect::is_single);
        (if is_named { key.clone() } else { number.clone() }, number)
    }

    pub(super) fn meet(
        &mut self,
        conn: ConnId,
        key: &Key,
        (uid, card): (PeerId, Card),
        start: Start,
        only: Option<Only>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if let Some(media) = self.stream_wanted(&uid, card.flow.media(), only)? {
            return self.call_stream(conn, key, uid, media, None, start, effects);
        }
        if let Some(returns) = self.meets_somebody(conn, &uid, &card)? {
            if only == Some(Only::Register) {
                return Err(Refusal::UidTaken);
            }
            let returns_as = returns.then(|| Box::new(card));
            return self.call(conn, key, uid, None, start, returns_as, effects);
        }
        if only == Some(Only::Peer) {
            return Err(Refusal::PeerNotFound(uid.to_string()));
        }
        self.register(conn, uid.clone(), card, effects)?;
        if let Some(peer) = self.uids.get_mut(&uid) {
            peer.meets = true;
        }
        Ok(())
    }

    /// Whether a meeting is a call, and if so, whether the id is registered for the caller when the callee leaves. That of a
    /// peer that registered it for itself is not.
    fn meets_somebody(&self, conn: ConnId, uid: &PeerId, card: &Card) -> Result<Option<bool>, Refusal> {
        let Some(peer) = self.uids.get(uid) else { return Ok(None) };
        let theirs = peer.card.flow;
        if theirs == Flow::Awaits && card.flow == Flow::Awaits && !self.is_free(uid, peer) {
            return Err(Refusal::PeerBusy(uid.to_string()));
        }
        // They do not meet, but one may take the other one's place.
        if peer.conn == conn || (theirs == card.flow && theirs != Flow::Both) {
            return Ok(None);
        }
        let returns = match card.flow {
            Flow::Both => true,
            Flow::Sends => theirs == Flow::Awaits,
            Flow::Receives | Flow::Awaits | Flow::None => false,
        };
        Ok(Some(returns && peer.meets))
    }

    pub(super) fn find_peer(
        &mut self,
        conn: ConnId,
        key: Key,
        uid: PeerId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        match self.find_callee(conn, &uid) {
            Err(Refusal::PeerNotFound(_)) if self.may_play(conn, &uid) && self.is_live(&uid) => {
                self.tell(conn, Notice::Found(Box::new(Found { key, uid })), effects);
                Ok(())
            }
            // One that is in a call shows that there is a sender.
            Ok(_) | Err(Refusal::PeerBusy(_)) if self.only_awaits(&uid) && self.is_idle(&uid) => {
                Err(Refusal::PeerNotFound(uid.to_string()))
            }
            Ok(_) | Err(Refusal::PeerBusy(_)) => {
                self.tell(conn, Notice::Found(Box::new(Found { key, uid })), effects);
                Ok(())
            }
            Err(refusal) => Err(refusal),
        }
    }

    fn only_awaits(&self, uid: &PeerId) -> bool {
        self.uids.get(uid).is_some_and(|peer| peer.card.flow == Flow::Awaits)
    }

    fn is_idle(&self, uid: &PeerId) -> bool {
        self.uids.get(uid).is_some_and(|peer| self.is_free(uid, peer))
    }

    /// A callee that is absent and one that may not be called give the same error, so that callers cannot probe uids.
    fn find_callee(&self, conn: ConnId, callee: &PeerId) -> Result<ConnId, Refusal> {
        let found = self.uids.get(callee).filter(|peer| self.may_call(conn, peer.conn));
        let peer = found.ok_or_else(|| Refusal::PeerNotFound(callee.to_string()))?;
        let is_full = |callee: &Connection| callee.calls.len() >= MAX_PER_CONNECTION;
        // A peer that calls itself gets "busy".
        if peer.conn == conn
            || !self.is_free(callee, peer)
            || self.calls_from_address_of(conn, peer.conn) >= MAX_FROM_ADDRESS
            || self.connections.get(&peer.conn).is_some_and(is_full)
        {
            return Err(Refusal::PeerBusy(callee.to_string()));
        }
        Ok(peer.conn)
    }

    /// How many calls a connection has with callers of this one's address.
    fn calls_from_address_of(&self, caller: ConnId, callee: ConnId) -> usize {
        let address = |conn: ConnId| self.connections.get(&conn).map(|connection| connection.address);
        let calls = self.connections.get(&callee).map(|connection| connection.calls.values());
        let mut count = 0;
        for leg in calls.into_iter().flatten() {
            count += usize::from(!leg.is_caller && address(leg.partner) == address(caller));
        }
        count
    }

    pub(super) fn may_call(&self, caller: ConnId, callee: ConnId) -> bool {
        self.may(caller, Ability::Call) && self.may(callee, Ability::Answer)
    }

    pub(super) fn may(&self, conn: ConnId, ability: Ability) -> bool {
        self.connections.get(&conn).is_some_and(|connection| connection.grant.allows(ability))
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
        let Some(leg) = self.leg(conn, key) else {
            if payload.is_description() {
                self.settle(conn, key);
            }
            return Err(Refusal::NoSuchCall);
        };
        let (partner, partner_key, media) = (leg.partner, leg.partner_key.clone(), leg.media);
        let link = leg.link.clone().filter(|_| !leg.is_caller);
        if media.is_some() {
            self.signal_media(conn, key, &payload, effects)?;
        }
        if let Some(peer) = link {
            self.link_signalled(partner, &peer, payload, effects);
            return Ok(());
        }
        let key = partner_key;
        self.tell(partner, Notice::Signal(Box::new(Incoming { key, payload })), effects);
        Ok(())
    }

    pub(super) fn leg(&self, conn: ConnId, key: &Key) -> Option<&Leg> {
        let connection = self.connections.get(&conn)?;
        connection.calls.get(key).or_else(|| connection.links.legs.get(key))
    }

    /// Ends a call for both sides. The other side gets a notice, or is closed if it has one call only.
    pub(super) fn end(
        &mut self,
        conn: ConnId,
        key: &Key,
        reason: Option<Refusal>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let leg = self.take_leg(conn, key).ok_or(Refusal::NoSuchCall)?;
        let partner = leg.partner;
        let Some(theirs) = self.take_leg(partner, &leg.partner_key) else { return Ok(()) };
        let (caller, calling) = if leg.is_caller { (conn, &leg) } else { (partner, &theirs) };
        match calling.media {
            Some(media) => {
                self.leave_stream(calling, effects);
                let owners = self.owners(caller);
                self.count(&owners, |usage| *usage.of(media) -= 1);
            }
            None => {
                self.sessions -= 1;
                let owners =
                    self.connections.get(&caller).map(Connection::session_owners).unwrap_or_default();
                self.count(&owners, |usage| usage.sessions -= 1);
            }
        }
        if let Some(peer) = theirs.link.as_ref().filter(|_| theirs.is_caller) {
            self.link_ended(partner, peer, reason.as_ref(), effects);
            return Ok(());
        }
        let Some(connection) = self.connections.get(&partner) else { return Ok(()) };
        if connection.dialect.is_single() {
            self.close(partner, CloseReason::PartnerLeft, effects);
            return Ok(());
        }
        let stays = self.return_home(partner, &theirs, effects);
        let ended = Ended { key: leg.partner_key, peer: leg.uid, stays, reason };
        self.tell(partner, Notice::Ended(Box::new(ended)), effects);
        Ok(())
    }

    fn take_leg(&mut self, conn: ConnId, key: &Key) -> Option<Leg> {
        let connection = self.connections.get_mut(&conn)?;
        connection.calls.remove(key).or_else(|| connection.links.remove(key))
    }

    /// After a meeting, the one that stays can be met again under the same id. True if the peer can be called by the id
    /// that was called.
    fn return_home(&mut self, conn: ConnId, leg: &Leg, effects: &mut Vec<Effect>) -> bool {
        let is_registered = |hub: &Self, uid| hub.uids.get(uid).is_some_and(|peer: &Peer| peer.conn == conn);
        let Some(card) = &leg.returns_as else {
            if !leg.is_caller && is_registered(self, &leg.uid) && self.only_awaits(&leg.uid) {
                // It has waited for this one call.
                let _ = self.unregister(conn, &leg.uid, effects);
            }
            return !leg.is_caller && is_registered(self, &leg.uid);
        };
        let allowed = self.connections.get(&conn).is_some_and(|connection: &Connection| {
            connection.grant.allows_uid(&leg.peer) && connection.uids.len() < MAX_PER_CONNECTION
        });
        if self.uids.contains_key(&leg.peer) || !allowed {
            return is_registered(self, &leg.peer);
        }
        self.enter(conn, &leg.peer, (**card).clone(), effects);
        self.share(Effect::Took(conn, leg.peer.clone()), effects);
        if let Some(peer) = self.uids.get_mut(&leg.peer) {
            peer.meets = true;
        }
        effects.push(Effect::Note(conn, Note::Registered(leg.peer.clone())));
        true
    }
}
