//! Clients that have to send to every peer.
//!
//! GStreamer's examples feed the connections to all peers from one source, each through a queue that waits. A webrtcbin whose peer
//! wants no media takes none, its queue is full soon, and then nobody gets any media. So these clients see peers that also
//! receive; the node drops what they send there.

use std::borrow::Cow;

/// Whether a description is one of such a client: it has no header extensions, which browsers and `callbin` always have.
pub(super) fn is_plain(sdp: &str) -> bool {
    !sdp.lines().any(|line| line.starts_with("a=extmap:"))
}

/// A description of a peer that sends, as such a client gets it.
pub(super) fn with_receiving(sdp: &str) -> Cow<'_, str> {
    with(sdp, "a=sendonly", "a=sendrecv")
}

/// The answer to that, as the peer expects it.
pub(super) fn without_sending(sdp: &str) -> Cow<'_, str> {
    with(sdp, "a=sendrecv", "a=recvonly")
}

fn with<'a>(sdp: &'a str, before: &str, after: &str) -> Cow<'a, str> {
    if !sdp.lines().any(|line| line == before) {
        return sdp.into();
    }
    let lines = sdp.lines().map(|line| if line == before { after } else { line });
    lines.flat_map(|line| [line, "\r\n"]).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 97\r\na=sendrecv\r\na=rtpmap:97 OPUS/48000\r\n";

    #[test]
    fn header_extensions_make_the_difference() {
        assert!(is_plain(PLAIN));
        assert!(!is_plain(&format!("{PLAIN}a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n")));
    }

    #[test]
    fn whole_lines_are_replaced() {
        let sending = PLAIN.replace("sendrecv", "sendonly");
        assert_eq!(with_receiving(&sending), PLAIN);
        assert_eq!(without_sending(PLAIN), PLAIN.replace("sendrecv", "recvonly"));
        let other = PLAIN.replace("a=sendrecv", "a=inactive\r\na=x:a=sendonly");
        assert_eq!(with_receiving(&other), other);
    }
}
