//! A connection's place at the switchboard: a WebSocket's, or that of an HTTP client's call.

use std::{future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::SystemTime};

use async_tungstenite::tungstenite::Message;
use callbin_protocol::PeerId;
use serde_json::Value;

use crate::{
    access::{
        Ability, Grant,
        account::Ticket,
        owner::{Owner, owners},
        webhook::{Asker, Question, Verdict},
    },
    app::App,
    delivery::outbox::Outbox,
    hub::{ConnId, Event, Only, Request, Use, Wish},
};

/// What has to come before a request is carried out: the webhook's verdict, or a pause for the rate limit.
pub type Asking = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// The connection's place at the switchboard, given up when dropped.
pub struct Presence {
    /// Its number.
    pub conn: ConnId,
    /// The client's address, as far as it is known.
    pub address: SocketAddr,
    /// What it has to send.
    pub outbox: Arc<Outbox>,
    /// Its entry in the accounts of its owners.
    pub ticket: Ticket,
    /// The permissions of its token.
    pub grant: Arc<Grant>,
    /// The server.
    pub app: Arc<App>,
}

impl Presence {
    /// Notifies partners and the room that it leaves.
    pub fn leave(&self) {
        self.app.switchboard.handle(self.conn, Event::Closed);
        if self.outbox.link().is_some_and(|link| link.negotiation.end()) {
            self.app.metrics.unanswered_offers.inc();
        }
    }

    /// The ICE servers for this connection, with fresh credentials.
    pub fn ice_servers(&self) -> Vec<Value> {
        let settings = self.app.settings();
        let name =
            self.grant.identity.as_deref().map_or_else(|| format!("guest-{}", self.conn.0), String::from);
        // TURN credentials must not outlive the token.
        let ttl = self.grant.time_left().min(settings.ice.ttl);
        let added = self.app.switchboard.ice_servers_at(self.conn);
        settings.ice.servers(&name, SystemTime::now(), ttl, &added)
    }

    /// Lets other nodes take part in a request, if they have to.
    pub fn share(&self, request: &Request, frame: Option<&Message>) -> Option<Asking> {
        self.app.cluster.as_ref()?.share(self, request, frame)
    }

    /// The question to the webhook about a request, if it has to be asked.
    pub fn question(&self, request: &mut Request) -> Option<Asking> {
        let settings = self.app.settings();
        let webhook = settings.webhook.as_ref()?;
        let Presence { conn, address, ticket, grant, app, .. } = self;
        let (wish, uid) = app.switchboard.wish(*conn, request)?;
        // Until it is carried out, the id may be registered or given up: then the verdict is about something else.
        if let Request::Meet { only, .. } | Request::Call { only, .. } = request {
            *only = Some(match wish {
                Wish::Call(_) => Only::Peer,
                Wish::Stream(..) => Only::Stream,
                Wish::Register(_) | Wish::Join(_) => Only::Register,
            });
        }
        if !may_ask(grant, &wish, uid.as_ref()) {
            return None;
        }
        let (event, uid, [peer, room, stream]) = match (wish, uid) {
            (Wish::Register(uid), _) => ("register", uid, [None, None, None]),
            (Wish::Call(peer), Some(uid)) => ("call", uid, [Some(peer.to_string()), None, None]),
            (Wish::Join(room), Some(uid)) => ("join", uid, [None, Some(room.to_string()), None]),
            (Wish::Stream(media, stream), Some(uid)) => {
                let event = if media == Use::Publish { "publish" } else { "play" };
                (event, uid, [None, None, Some(stream.to_string())])
            }
            _ => return None,
        };
        let question = Question {
            event,
            uid: uid.to_string(),
            identity: grant.identity.as_deref().map(Into::into),
            address: address.ip().to_string(),
            connection: conn.0,
            peer,
            room,
            stream,
        };
        // The largest network first.
        let mut owners: Vec<Owner> = owners(address.ip()).collect();
        owners.reverse();
        owners.extend(grant.identity.clone().map(Owner::Identity));
        let asker = Asker { owners, address: *address, lines: ticket.lines() };
        Some(Box::pin(webhook.clone().ask(question, asker, app.metrics.webhook.clone())))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.app.switchboard.forget(self.conn);
    }
}

/// Whether to ask the webhook about a request. There is no need to if our answer does not depend on other peers. If it
/// does, the webhook comes first: a peer that it refuses must not learn from our answer which uids are registered.
fn may_ask(grant: &Grant, wish: &Wish, own: Option<&PeerId>) -> bool {
    match wish {
        Wish::Register(uid) => grant.allows_uid(uid),
        Wish::Call(peer) => grant.allows(Ability::Call) && own != Some(peer),
        Wish::Join(room) => grant.allows_room(room),
        Wish::Stream(media, stream) => grant.permits(*media, stream),
    }
}
