//! RTP header extensions of sent packets (RFC 8285).
//!
//! The peer's IDs are used, and extensions that the peer does not support are not sent. They are transport-wide
//! sequence numbers, which the peer's feedback about loss and delay refers to, and the mid, by which the peer separates
//! the streams of a bundle. GStreamer 1.22 has no element for `abs-send-time`; peers that support transport-wide
//! sequence numbers do not need it.

use gst::prelude::*;
use gst_rtp::{RTPHeaderExtension, prelude::RTPHeaderExtensionExt};

use crate::{
    exit::Failure,
    media::make,
    sdp::{Codec, EXTENSION_MID, EXTENSION_TWCC},
};

/// The extensions of one payloader.
#[derive(Debug)]
pub(super) struct Extensions {
    payloader: gst::Element,
    all: Vec<(u8, &'static str, RTPHeaderExtension)>,
}

impl Extensions {
    /// Adds the extensions of `codec`. The answer may drop some, but webrtcbin has to know their IDs before.
    pub(super) fn add(payloader: &gst::Element, codec: &Codec) -> Result<Self, Failure> {
        let mut all = Vec::new();
        for (id, uri) in &codec.extensions {
            let factory = match *uri {
                EXTENSION_TWCC => "rtphdrexttwcc",
                EXTENSION_MID => "rtphdrextmid",
                _ => continue,
            };
            let extension = make(factory)?.downcast::<RTPHeaderExtension>();
            let extension = extension.map_err(|_| Failure::internal(format!("{factory} is no extension")))?;
            extension.set_id(u32::from(*id));
            payloader.emit_by_name::<()>("add-extension", &[&extension]);
            all.push((*id, *uri, extension));
        }
        Ok(Self { payloader: payloader.clone(), all })
    }

    /// Keeps only the extensions that the peer agreed to. Called before the first packet.
    pub(super) fn settle(&self, mid: &str, agreed: &Codec) {
        self.payloader.emit_by_name::<()>("clear-extensions", &[]);
        for (id, uri, extension) in &self.all {
            if !agreed.extensions.contains(&(*id, uri)) {
                continue;
            }
            if *uri == EXTENSION_MID {
                extension.set_property("mid", mid);
            }
            self.payloader.emit_by_name::<()>("add-extension", &[extension]);
        }
    }
}

#[cfg(test)]
mod tests {
    use gst_rtp::RTPBuffer;

    use super::*;

    /// The content of a packet's extensions, by their IDs 1 to 14.
    fn packet(offered: &Codec, agreed: &Codec) -> Vec<(u8, Vec<u8>)> {
        gst::init().unwrap();
        let payloader = make("rtpopuspay").unwrap();
        payloader.set_property("auto-header-extension", false);
        let extensions = Extensions::add(&payloader, offered).unwrap();
        extensions.settle("sound", agreed);
        let caps = gst::Caps::builder("audio/x-opus").field("channel-mapping-family", 0i32).build();
        let appsrc = gst_app::AppSrc::builder().caps(&caps).format(gst::Format::Time).build();
        let appsink = gst_app::AppSink::builder().sync(false).build();
        let pipeline = gst::Pipeline::new();
        let chain = [appsrc.upcast_ref(), &payloader, appsink.upcast_ref()];
        pipeline.add_many(chain).unwrap();
        gst::Element::link_many(chain).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let mut frame = gst::Buffer::from_slice([0u8; 20]);
        frame.get_mut().unwrap().set_pts(gst::ClockTime::ZERO);
        appsrc.push_buffer(frame).unwrap();
        let sample = appsink.try_pull_sample(gst::ClockTime::from_seconds(10)).expect("a packet in time");
        pipeline.set_state(gst::State::Null).unwrap();
        let packet = RTPBuffer::from_buffer_readable(sample.buffer().unwrap()).unwrap();
        let found = (1..=14)
            .filter_map(|id| packet.extension_onebyte_header(id, 0).map(|bytes| (id, bytes.to_vec())));
        found.collect()
    }

    #[test]
    fn packets_carry_what_was_agreed_under_its_numbers() {
        let both = Codec {
            payload_type: 111,
            extensions: vec![(3, EXTENSION_TWCC), (9, EXTENSION_MID)],
            ..Codec::default()
        };
        let found = packet(&both, &both);
        assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [3, 9]);
        assert_eq!(found.last().unwrap().1, b"sound");

        let only_mid = Codec { payload_type: 111, extensions: vec![(9, EXTENSION_MID)], ..Codec::default() };
        assert_eq!(packet(&both, &only_mid), [(9, b"sound".to_vec())]);
        let none = Codec { payload_type: 111, extensions: Vec::new(), ..Codec::default() };
        assert_eq!(packet(&both, &none), []);
        // RFC 8285 lets an answer drop an extension, not renumber it.
        let renumbered =
            Codec { payload_type: 111, extensions: vec![(4, EXTENSION_MID)], ..Codec::default() };
        assert_eq!(packet(&both, &renumbered), []);
    }
}
