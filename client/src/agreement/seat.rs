//! One m-line of webrtcbin.

use crate::sdp::{Codec, Kind, Own, Section};

/// One m-line of webrtcbin.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    pub(super) mid: String,
    pub(super) kind: Kind,
    /// The codec in use.
    pub(super) codec: Codec,
    /// All codecs of our own offer, the one in use included: the peer may send any that its answer has.
    pub(super) menu: Vec<Codec>,
    pub(super) own: Option<Own>,
    /// The mid of the peer's m-line that was placed here last.
    pub(super) served: Option<String>,
    /// The peer rejected it in our offer: webrtcbin has no transport for it.
    pub(super) dead: bool,
    /// The track that our own offer has here.
    pub(super) track: Option<usize>,
}

impl Seat {
    /// Whether it can carry this kind and codec unchanged.
    pub(super) fn fits(&self, kind: Kind, codec: &Codec) -> bool {
        let same = self.codec.is_same(codec) && self.has_numbers_of(codec);
        let known = codec.extensions.iter().all(|(id, uri)| {
            self.codec.extensions.iter().all(|(our_id, our_uri)| (our_id == id) == (our_uri == uri))
        });
        self.kind == kind && (kind == Kind::Data || same && known)
    }

    /// Whether this m-line was placed here before.
    pub(super) fn serves(&self, section: &Section, index: usize, position: usize) -> bool {
        match &section.mid {
            Some(mid) => self.served.as_ref() == Some(mid),
            None => self.served.is_none() && index == position,
        }
    }

    /// Whether both cannot share a transport: a payload type would have two meanings.
    pub(super) fn contradicts(&self, kind: Kind, codec: &Codec) -> bool {
        if ![self.kind, kind].iter().all(|kind| matches!(kind, Kind::Audio | Kind::Video)) {
            return false;
        }
        let numbers = |it: &Codec| [Some(it.payload_type), it.repair];
        let shares =
            numbers(&self.codec).into_iter().flatten().any(|number| numbers(codec).contains(&Some(number)));
        shares && !(self.kind == kind && self.codec.is_same(codec) && self.has_numbers_of(codec))
    }

    /// Whether the payload types match. The peer need not support retransmissions.
    fn has_numbers_of(&self, codec: &Codec) -> bool {
        let repairs = self.codec.repair.zip(codec.repair);
        self.codec.payload_type == codec.payload_type && repairs.is_none_or(|(ours, theirs)| ours == theirs)
    }

    /// The codec of our offer that means the same as one of the peer's answer.
    pub(super) fn offered(&self, theirs: &Codec) -> Option<&Codec> {
        self.menu.iter().find(|ours| ours.is_same(theirs))
    }

    /// The codec with the options that both sides support, with our payload types.
    pub(super) fn agreed(&self, theirs: &Codec) -> Codec {
        self.codec.agreed(theirs)
    }
}

/// The codec of an audio seat that only provides the transport; no peer uses it.
pub(super) fn anchor() -> Codec {
    Codec { payload_type: 127, ..Codec::default() }
}
