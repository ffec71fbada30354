//! What two nodes send each other, in numbered batches. A missing number means lost messages: then everything that the two
//! share is ended, because a peer that waits for a lost candidate would wait forever.

use std::collections::BTreeMap;

use callbin_protocol::{PeerId, RoomId};

use super::store::NodeId;

/// A part of a message that only the peers' dialects understand, see [`talk`](super::talk).
pub type Body = Vec<u8>;

/// A message from one node to another.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// A peer of the sender asks for something that a peer of the receiver has to answer, such as a call.
    Ask {
        /// The sender's number for the call that may follow.
        no: u64,
        /// Who asks.
        from: PeerId,
        /// Who is asked.
        to: PeerId,
        /// The asking peer takes no call itself meanwhile.
        is_exclusive: bool,
        /// What is asked for.
        body: Body,
    },
    /// The call has started.
    Called(u64, Body),
    /// The request is answered, and there is no call.
    Answered(u64, Body),
    /// Something in a call.
    Item(Call, Body),
    /// The call is over.
    End(Call),
    /// Something in a room.
    Room(RoomId, Body),
    /// Whether the sender wants to know who can be called at the receiver's node.
    Watch(bool),
    /// What owners use of the sender's node.
    Usage(Body),
    /// All who can be called at the sender's node.
    Directory(Body),
    /// One of them has come or gone.
    Listed(Body),
    /// The sender of this has missed messages: what the two nodes share is over.
    Lost,
    /// The sender may have missed messages: the number of the next batch shows whether it has.
    Check,
}

/// A call between two nodes, as the sender of a message names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call {
    /// The number given by the caller's node.
    pub no: u64,
    /// Whether the message goes from the caller's node to the callee's.
    pub to_callee: bool,
}

impl Message {
    /// Its size in queues, in bytes.
    pub fn cost(&self) -> usize {
        64 + match self {
            Self::Ask { body, .. } | Self::Called(_, body) | Self::Answered(_, body) => body.len(),
            Self::Item(_, body) | Self::Room(_, body) => body.len(),
            Self::Usage(body) | Self::Directory(body) | Self::Listed(body) => body.len(),
            Self::End(_) | Self::Watch(_) | Self::Lost | Self::Check => 0,
        }
    }
}

/// Messages that are sent together.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The sender.
    pub from: NodeId,
    /// Its number among the sender's batches for the receiver, from 1. A batch without messages only says which number is
    /// next. A batch with the number 0 has no place in this order: its loss ends no calls.
    pub number: u64,
    /// The messages.
    pub messages: Vec<Message>,
}

impl Batch {
    /// Its size in queues, in bytes.
    pub fn cost(&self) -> usize {
        self.messages.iter().map(Message::cost).sum()
    }
}

/// The bound of the bytes queued for one node, until Redis has them. Beyond it what waits is dropped, and the receiver ends
/// the calls.
pub const MOST_WAITING: usize = 16 << 20;

/// The size of a batch from which the next message goes into another one.
const BATCH: usize = 256 << 10;

/// This node's end of a link to another one.
#[derive(Debug, Default)]
struct Link {
    waiting: Vec<Message>,
    /// Bytes that wait here.
    bytes: usize,
    /// Bytes in batches that the store has not answered.
    under_way: usize,
    /// The number of the last batch sent.
    sent: u64,
    /// The number of the last batch that came.
    came: u64,
    /// Batches were sent that nothing has followed: the other side would not notice the loss of the last one.
    is_due: bool,
    /// A [`Message::Check`] is to be sent.
    is_check_due: bool,
}

/// What a batch is for its receiver.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The next one.
    Next,
    /// It came before.
    Again,
    /// Batches before it are lost.
    Gap,
    /// It has no place in the order.
    Unnumbered,
}

/// The links to all other nodes.
#[derive(Debug, Default)]
pub struct Links(BTreeMap<NodeId, Link>);

impl Links {
    /// Queues a message. False: too many bytes wait, and it is not queued.
    pub fn push(&mut self, to: &NodeId, message: Message) -> bool {
        let link = self.0.entry(to.clone()).or_default();
        if link.bytes + link.under_way + message.cost() > MOST_WAITING {
            return false;
        }
        link.bytes += message.cost();
        link.waiting.push(message);
        true
    }

    /// The bytes that wait for all nodes, and the number of nodes.
    pub fn totals(&self) -> (usize, usize) {
        (self.0.values().map(|link| link.bytes + link.under_way).sum(), self.0.len())
    }

    /// The store has answered a batch.
    pub fn answered(&mut self, to: &NodeId, batch: &Batch) {
        if let Some(link) = self.0.get_mut(to) {
            link.under_way = link.under_way.saturating_sub(batch.cost());
        }
    }

    /// Takes the queued messages as batches.
    pub fn take(&mut self, me: &NodeId, out: &mut Vec<(NodeId, Batch)>) {
        for (to, link) in &mut self.0 {
            if std::mem::take(&mut link.is_check_due) {
                out.push((to.clone(), Batch { from: me.clone(), number: 0, messages: vec![Message::Check] }));
            }
            if link.waiting.is_empty() {
                continue;
            }
            let mut batch = Vec::new();
            let mut size = 0;
            link.under_way += std::mem::take(&mut link.bytes);
            link.is_due = true;
            let mut send = |messages, sent: &mut u64| {
                *sent += 1;
                out.push((to.clone(), Batch { from: me.clone(), number: *sent, messages }));
            };
            for message in std::mem::take(&mut link.waiting) {
                size += message.cost();
                batch.push(message);
                if size >= BATCH {
                    size = 0;
                    send(std::mem::take(&mut batch), &mut link.sent);
                }
            }
            if !batch.is_empty() {
                send(batch, &mut link.sent);
            }
        }
    }

    /// Takes a batch without messages for each node that nothing was sent to since its last one.
    pub fn beats(&mut self, me: &NodeId, out: &mut Vec<(NodeId, Batch)>) {
        for (to, link) in &mut self.0 {
            if std::mem::take(&mut link.is_due) && link.waiting.is_empty() {
                let batch = Batch { from: me.clone(), number: link.sent + 1, messages: Vec::new() };
                out.push((to.clone(), batch));
            }
        }
    }

    /// Queues a [`Message::Check`] for a node. A batch without messages, which follows if anything was sent before, shows the
    /// node whether it has missed something itself.
    pub fn check(&mut self, to: &NodeId) {
        self.0.entry(to.clone()).or_default().is_check_due = true;
        self.missed(to);
    }

    /// A batch without messages did not arrive: another one is due, if there were others at all.
    pub fn missed(&mut self, to: &NodeId) {
        if let Some(link) = self.0.get_mut(to).filter(|link| link.sent > 0) {
            link.is_due = true;
        }
    }

    /// Takes note of a batch.
    pub fn arrived(&mut self, batch: &Batch) -> Arrival {
        if batch.number == 0 {
            return Arrival::Unnumbered;
        }
        let link = self.0.entry(batch.from.clone()).or_default();
        let next = link.came.saturating_add(1);
        if batch.number > next {
            link.came = if batch.messages.is_empty() { batch.number - 1 } else { batch.number };
            return Arrival::Gap;
        }
        if batch.number < next || batch.messages.is_empty() {
            return Arrival::Again;
        }
        link.came = next;
        Arrival::Next
    }

    /// Drops what waits for a node and skips a number, so that the node notices.
    pub fn lose(&mut self, to: &NodeId) {
        if let Some(link) = self.0.get_mut(to) {
            link.sent += 1;
            link.is_due = true;
            link.waiting = Vec::new();
            link.bytes = 0;
        }
    }

    /// Forgets a node.
    pub fn remove(&mut self, node: &NodeId) {
        self.0.remove(node);
    }

    /// The other nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.0.keys()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
