//! What reaches the elements that handle a peer's RTP and RTCP.
//!
//! In GStreamer 1.22, an authenticated peer can end the process there, or make it grow without bound:
//!
//! - `rtpsession` collects the transport-wide numbers of received packets for a report, and ends the process if that does not
//!   fit into a packet (`rtp_twcc_manager_add_fci`). Numbers with gaps need more room than it expects ([`numbers`]).
//! - It keeps a source for each SSRC and CSRC that any packet names, and `get-stats` takes the longer the more there are
//!   ([`sources`]). `srtpdec` keeps keys for each SSRC, even before it knows whether a packet is the peer's.
//! - It keeps each name of a private SDES item for ever, and reads behind the end of packets whose lengths are wrong
//!   ([`reports`]).

mod numbers;
mod reports;
mod sources;

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gst::prelude::*;

use self::{numbers::Numbers, sources::Sources};
use super::{
    outflow::Outflow,
    probe::{DATA, DROP, all, pass_if},
};
use crate::rtp;

/// What an RTP session has seen of its peer.
#[derive(Debug)]
struct Entry {
    born: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sources: Sources,
    numbers: Numbers,
}

/// What to do with a packet.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Take,
    /// Take it without these bytes of its header extensions.
    Blank(Range<usize>),
    Refuse,
}

/// Guards an `rtpsession`. `outflow` knows the ID of transport-wide numbers.
pub(super) fn guard(session: &gst::Element, outflow: &Arc<Outflow>) {
    let entry = Arc::new(Entry { born: Instant::now(), state: Mutex::default() });
    let outflow = outflow.clone();
    session.connect_pad_added(move |_, pad| {
        let (entry, outflow) = (entry.clone(), outflow.clone());
        match pad.name().as_str() {
            "recv_rtp_sink" => {
                pad.add_probe(DATA, move |_, info| entry.packets(info, outflow.numbers()));
            }
            "recv_rtcp_sink" => {
                pad.add_probe(DATA, move |_, info| entry.reports(info));
            }
            _ => {}
        }
    });
}

/// Guards an `srtpdec`, whose packets may be anyone's.
pub(super) fn guard_srtp(srtpdec: &gst::Element) {
    let (born, sources) = (Instant::now(), Arc::new(Mutex::new(Sources::default())));
    for pad in srtpdec.sink_pads() {
        let sources = sources.clone();
        pad.add_probe(DATA, move |_, info| {
            let mut sources = sources.lock().unwrap_or_else(PoisonError::into_inner);
            let now = born.elapsed();
            pass_if(all(info, |packet| {
                let mut start = [0; sources::HEADER];
                sources::sender(rtp::start(packet, &mut start)).is_some_and(|it| sources.admits(now, it))
            }))
        });
    }
}

impl Entry {
    fn packets(&self, info: &mut gst::PadProbeInfo<'_>, id: Option<u8>) -> gst::PadProbeReturn {
        let now = self.born.elapsed();
        let (mut blanks, mut at) = (Vec::new(), 0);
        let takes = all(info, |packet| {
            let verdict =
                packet.map_readable().map_or(Verdict::Refuse, |it| self.state().judge(now, &it, id));
            let takes = verdict != Verdict::Refuse;
            if let Verdict::Blank(range) = verdict {
                blanks.push((at, range));
            }
            at += 1;
            takes
        });
        if !takes {
            return DROP;
        }
        for (at, range) in blanks {
            let packet = match &mut info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => Some(buffer.make_mut()),
                Some(gst::PadProbeData::BufferList(list)) => list.make_mut().get_mut(at),
                _ => None,
            };
            let mapped = packet.and_then(|packet| packet.map_writable().ok());
            // What cannot be changed must not pass.
            let Some(mut packet) = mapped else { return DROP };
            let Some(bytes) = packet.get_mut(range) else { return DROP };
            bytes.fill(0);
        }
        gst::PadProbeReturn::Ok
    }

    fn reports(&self, info: &gst::PadProbeInfo<'_>) -> gst::PadProbeReturn {
        let now = self.born.elapsed();
        pass_if(all(info, |compound| {
            let Ok(compound) = compound.map_readable() else { return false };
            let named = reports::sources(&compound);
            named.is_some_and(|named| self.state().sources.admits_all(now, named))
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn judge(&mut self, now: Duration, packet: &[u8], id: Option<u8>) -> Verdict {
        let Some(named) = sources::of_packet(packet) else { return Verdict::Refuse };
        if !self.sources.admits_all(now, named) {
            return Verdict::Refuse;
        }
        // Before the ID is known, it may be any.
        for (found, range) in
            rtp::short_extensions(packet).filter(|(found, _)| id.is_none_or(|id| id == *found))
        {
            let number = packet.get(range.clone()).and_then(|bytes| bytes.try_into().ok());
            let Some(number) = number.map(u16::from_be_bytes) else { continue };
            if !self.numbers.admits(now, found, number) {
                return Verdict::Blank(range.start.saturating_sub(1)..range.end);
            }
        }
        Verdict::Take
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet with transport-wide number and mid.
    fn packet(ssrc: u32, number: u16) -> Vec<u8> {
        let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 2];
        packet.extend(ssrc.to_be_bytes());
        packet.extend([0xbe, 0xde, 0, 2, 0x30, b'0', 0, 0x51]);
        packet.extend(number.to_be_bytes());
        packet.extend([0, 0, 1, 2, 3, 4]);
        packet
    }

    #[test]
    fn numbers_that_jump_too_often_are_blanked_and_the_packet_passes() {
        let mut state = State::default();
        let verdicts: Vec<_> =
            (0..100).map(|n| state.judge(Duration::ZERO, &packet(7, n * 20), Some(5))).collect();
        assert!(verdicts[..20].iter().all(|it| *it == Verdict::Take));
        assert_eq!(verdicts.last(), Some(&Verdict::Blank(19..22)));
        assert_eq!(
            state.judge(Duration::ZERO, &packet(7, 60_000), Some(3)),
            Verdict::Take,
            "it is another one"
        );
    }

    #[test]
    fn a_packet_without_a_whole_header_is_refused() {
        let mut state = State::default();
        assert_eq!(state.judge(Duration::ZERO, &[0x80; 11], Some(5)), Verdict::Refuse);
        assert_eq!(state.judge(Duration::ZERO, &[0x8f; 40], Some(5)), Verdict::Refuse);
    }
}
