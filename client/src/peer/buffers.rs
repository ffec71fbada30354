//! The jitter buffers of a peer.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use gst::prelude::*;

use super::{playout::Buffer, rtpbin};

/// Most jitter buffers that are set: one for each stream of a peer.
const MOST: usize = 64;

/// Sets the jitter buffers of rtpbin, those of later streams, too.
///
/// It sets each of them. webrtcbin's property `latency` would do so, but rtpbin 1.22 then holds its own lock and needs that of
/// a session. A thread that begins a stream holds the session's and needs webrtcbin's, and a thread that reads statistics holds
/// webrtcbin's and needs rtpbin's: the three wait for each other for ever.
#[derive(Debug)]
pub(super) struct Buffers {
    rtpbin: Option<gst::Bin>,
    /// How long they wait for a missing packet, in milliseconds.
    latency: Arc<AtomicU32>,
}

impl Buffers {
    /// The buffers of a webrtcbin that has no streams yet. They wait for `latency` milliseconds.
    pub(super) fn new(webrtcbin: &gst::Element, latency: u32) -> Self {
        let latency = Arc::new(AtomicU32::new(latency));
        let rtpbin = rtpbin(webrtcbin);
        if let Some(rtpbin) = &rtpbin {
            let latency = latency.clone();
            rtpbin.connect("new-jitterbuffer", false, move |args| {
                if let Some(Ok(buffer)) = args.get(1).map(gst::glib::Value::get::<gst::Element>) {
                    buffer.set_property("latency", latency.load(Relaxed));
                }
                None
            });
        }
        Self { rtpbin, latency }
    }

    /// Sets all buffers.
    pub(super) fn set(&self, buffer: Buffer) {
        let is_new = self.latency.swap(buffer.latency, Relaxed) != buffer.latency;
        let all = self.rtpbin.iter().flat_map(|rtpbin| rtpbin.children());
        let is_buffer =
            |it: &gst::Element| it.factory().is_some_and(|factory| factory.name() == "rtpjitterbuffer");
        for element in all.filter(is_buffer).take(MOST) {
            if is_new {
                element.set_property("latency", buffer.latency);
            }
            element.set_property("rtx-retry-timeout", i32::try_from(buffer.retry).unwrap_or(i32::MAX));
        }
    }
}

/// Prepares a new jitter buffer. By itself GStreamer takes the spread of a frame's packets for jitter, and waits for
/// twice that before it requests one; and it stops requests early, although the last may still be in time. It also guesses when
/// the next packet should come, requests that one, and takes it for lost if a sender's pause is longer than the latency. Then the
/// packet is dropped when it comes, and the picture stands still until the next key frame.
pub(super) fn prepare(element: &gst::Element) {
    element.set_property("rtx-delay", 12i32);
    element.set_property("rtx-min-retry-timeout", 10i32);
    element.set_property("rtx-next-seqnum", false);
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::{Receiver, channel},
        thread,
        time::Duration,
    };

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// What is inside a webrtcbin: an rtpbin, its buffers, and its pad that takes the peer's packets.
    struct World {
        bin: gst::Bin,
        buffers: Arc<Buffers>,
        entry: gst::Pad,
    }

    impl World {
        fn new() -> Self {
            gst::init().unwrap();
            let bin = gst::Bin::new();
            bin.add(&gst::ElementFactory::make("rtpbin").name("rtpbin").build().unwrap()).unwrap();
            let buffers = Arc::new(Buffers::new(bin.upcast_ref(), 100));
            bin.set_state(gst::State::Playing).unwrap();
            let entry = buffers.rtpbin.as_ref().unwrap().request_pad_simple("recv_rtp_sink_0").unwrap();
            let caps = gst::Caps::builder("application/x-rtp").field("clock-rate", 90_000i32).build();
            entry.send_event(gst::event::StreamStart::new("packets"));
            entry.send_event(gst::event::Caps::new(&caps));
            entry.send_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
            Self { bin, buffers, entry }
        }

        /// The latencies of the buffers of streams that begin, once each has one.
        fn latencies(&self) -> Receiver<u32> {
            let (found, all) = channel();
            self.buffers.rtpbin.as_ref().unwrap().connect("new-jitterbuffer", false, move |args| {
                let buffer = args[1].get::<gst::Element>().unwrap();
                let _ = found.send(buffer.property("latency"));
                None
            });
            all
        }

        /// Two packets of this stream come: that is enough for it to begin.
        fn begin(&self, ssrc: u8) {
            for number in 1..=2 {
                let packet = [0x80, 96, 0, number, 0, 0, 0, 0, 0, 0, 0, ssrc, 0];
                let _ = self.entry.chain(gst::Buffer::from_slice(packet));
            }
        }
    }

    impl Drop for World {
        fn drop(&mut self) {
            let _ = self.bin.set_state(gst::State::Null);
        }
    }

    #[test]
    fn present_and_later_streams_wait_as_long() {
        let world = World::new();
        let latencies = world.latencies();
        world.begin(1);
        assert_eq!(latencies.recv_timeout(DEADLINE), Ok(100));
        world.buffers.set(Buffer { latency: 240, retry: 50 });
        let all = world.buffers.rtpbin.as_ref().unwrap().children();
        let present: Vec<u32> = all
            .iter()
            .filter(|it| it.has_property("rtx-retry-timeout"))
            .inspect(|it| assert_eq!(it.property::<i32>("rtx-retry-timeout"), 50))
            .map(|it| it.property("latency"))
            .collect();
        assert_eq!(present, [240]);
        world.begin(2);
        assert_eq!(latencies.recv_timeout(DEADLINE), Ok(240));
    }

    #[test]
    fn buffers_can_be_set_while_a_stream_begins() {
        let world = World::new();
        let (done, set) = channel();
        let (buffers, finished) = (world.buffers.clone(), Arc::new(std::sync::Mutex::new(set)));
        let (told, result) = channel();
        // Here rtpbin holds the lock of the session.
        world.buffers.rtpbin.as_ref().unwrap().connect("new-jitterbuffer", false, move |_| {
            let (buffers, done) = (buffers.clone(), done.clone());
            thread::spawn(move || {
                buffers.set(Buffer { latency: 300, retry: 50 });
                let _ = done.send(());
            });
            let _ = told.send(finished.lock().unwrap().recv_timeout(Duration::from_secs(5)).is_ok());
            None
        });
        world.begin(1);
        assert_eq!(result.recv_timeout(DEADLINE), Ok(true), "it waits for the lock of the session");
    }
}
