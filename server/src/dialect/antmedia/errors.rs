//! The errors for refusals of the hub.

use callbin_protocol::antmedia::Definition;

use super::stream::Role;
use crate::hub::Refusal;

/// The error for a command that begins something, with more information for people.
pub(super) fn begin(role: Role, refusal: Refusal) -> (Definition, Option<String>) {
    let definition = match (&refusal, role) {
        // Another player waits for the stream, too, or this one may not wait.
        (Refusal::PeerNotFound(_) | Refusal::UidTaken | Refusal::UidNotAllowed, Role::Play) => {
            Definition::NoStreamExist
        }
        // There is one, but this client may not call it.
        (Refusal::PeerNotFound(_), Role::Join | Role::Publish) => Definition::Unauthorized,
        // One to many needs a media server.
        (Refusal::PeerBusy(_), Role::Play) => Definition::ViewerLimitReached,
        (Refusal::PeerBusy(_) | Refusal::UidTaken, Role::Join) => Definition::NoSpaceForNewPeer,
        (Refusal::PeerBusy(_) | Refusal::UidTaken, _) => Definition::StreamIdInUse,
        _ => common(&refusal),
    };
    (definition, reason(refusal))
}

/// The error for a question about a stream.
pub(super) fn find(refusal: Refusal) -> (Definition, Option<String>) {
    let definition = match &refusal {
        Refusal::PeerNotFound(_) => Definition::NoStreamExist,
        _ => common(&refusal),
    };
    (definition, reason(refusal))
}

fn common(refusal: &Refusal) -> Definition {
    match refusal {
        Refusal::UidInvalid => Definition::InvalidStreamName,
        Refusal::UidNotAllowed | Refusal::StreamNotAllowed | Refusal::Other(_) => Definition::Unauthorized,
        Refusal::TooManyIds
        | Refusal::TooManySessions
        | Refusal::TooManyStreams
        | Refusal::TooManyViewers
        | Refusal::NoCapacity => Definition::HighResourceUsage,
        _ => Definition::NotInitializedYet,
    }
}

/// The webhook's reason.
fn reason(refusal: Refusal) -> Option<String> {
    match refusal {
        Refusal::Other(text) => Some(text),
        _ => None,
    }
}
