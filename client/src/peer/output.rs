//! One medium on its way to the peer: appsrc, payloader, and webrtcbin's pad.
//!
//! The codec is known only after the answer, but webrtcbin needs the pad's caps before its offer. So the pad gets caps at
//! once, and a payloader as soon as something is sent; another one if the codec changes. All have the same SSRC, which is
//! in our description.

use std::sync::Arc;

use gst::prelude::*;
use gst_webrtc::WebRTCRTPTransceiver;

use super::{extensions::Extensions, outflow::Outflow};
use crate::{
    agreement::Flow,
    exit::Failure,
    media::{
        encode::{self, codec::Format, feed::Feed},
        make,
        source::Source,
    },
    sdp::{Codec, EXTENSION_TWCC, Kind},
};

/// Sends one medium.
#[derive(Debug)]
pub(super) struct Output {
    pad: gst::Pad,
    transceiver: WebRTCRTPTransceiver,
    ssrc: u32,
    /// The codec with all extensions whose IDs webrtcbin knows.
    codec: Codec,
    chain: Option<Chain>,
    /// The mid and codec of what is sent, and our track.
    settled: Option<(String, Codec, Option<usize>)>,
    feed: Option<Feed>,
    /// Whether something is to be sent, and its encoder was not ready.
    waits: bool,
}

/// The elements in front of webrtcbin.
#[derive(Debug)]
struct Chain {
    format: Format,
    payload_type: u8,
    appsrc: gst_app::AppSrc,
    payloader: gst::Element,
    extensions: Extensions,
}

impl Output {
    /// Requests webrtcbin's pad for m-line `seat`; the track's name is its stream ID.
    pub(super) fn new(
        webrtcbin: &gst::Element,
        seat: usize,
        name: Option<&str>,
        codec: &Codec,
    ) -> Result<Self, Failure> {
        let ssrc = rand::random_range(1..=u32::MAX);
        let caps = with_ssrc(rtp_caps(codec), ssrc);
        let template = webrtcbin.pad_template("sink_%u");
        let pad = template
            .and_then(|template| webrtcbin.request_pad(&template, Some(&format!("sink_{seat}")), Some(&caps)))
            .ok_or_else(|| Failure::internal("webrtcbin gives no pad"))?;
        if let Some(name) = name.filter(|_| pad.has_property("msid")) {
            pad.set_property("msid", name);
        }
        let transceiver = pad.property::<WebRTCRTPTransceiver>("transceiver");
        transceiver.set_codec_preferences(Some(&rtp_caps(codec)));
        let codec = codec.clone();
        Ok(Self { pad, transceiver, ssrc, codec, chain: None, settled: None, feed: None, waits: false })
    }

    pub(super) fn transceiver(&self) -> &WebRTCRTPTransceiver {
        &self.transceiver
    }

    /// What is fed to the peer.
    pub(super) fn feed(&self) -> Option<&Feed> {
        self.feed.as_ref()
    }

    /// The codec of what is sent.
    pub(super) fn format(&self) -> Option<Format> {
        self.chain.as_ref().filter(|_| self.feed.is_some()).map(|chain| chain.format)
    }

    /// Gives the pad its caps, unless it has them already. The pipeline has to be running.
    pub(super) fn announce(&self) {
        if self.pad.current_caps().is_none() {
            self.pad.send_event(gst::event::StreamStart::new(&format!("callbin-{}", self.ssrc)));
            self.pad.send_event(gst::event::Caps::new(&with_ssrc(rtp_caps(&self.codec), self.ssrc)));
        }
    }

    /// Sends nothing more, until [`Output::send`].
    pub(super) fn stop(&mut self) {
        (self.feed, self.waits) = (None, false);
    }

    /// Sends as negotiated.
    pub(super) fn send(
        &mut self,
        pipeline: &gst::Pipeline,
        source: &Source,
        flow: &Flow,
        outflow: &Arc<Outflow>,
    ) -> Result<(), Failure> {
        let is_used =
            |it: &Chain| (it.format, it.payload_type) == (flow.codec.format, flow.codec.payload_type);
        if !self.chain.as_ref().is_some_and(is_used) {
            self.feed = None;
            self.settled = None;
            self.replace_chain(pipeline, source, &flow.codec, outflow)?;
        }
        let Some(chain) = &self.chain else { return Ok(()) };
        // Another m-line of the peer, with another mid, may have been placed on this seat.
        let terms = (flow.mid.clone(), flow.codec.clone(), flow.track);
        if self.settled.as_ref() != Some(&terms) {
            chain.extensions.settle(&flow.mid, &flow.codec);
            self.settled = Some(terms);
            self.feed = None;
        }
        if self.feed.is_none() { self.attach(source, outflow) } else { Ok(()) }
    }

    /// Begins to send what waits for its encoder.
    pub(super) fn go_on(&mut self, source: &Source, outflow: &Outflow) -> Result<(), Failure> {
        if self.waits { self.attach(source, outflow) } else { Ok(()) }
    }

    fn attach(&mut self, source: &Source, outflow: &Outflow) -> Result<(), Failure> {
        let Some((chain, (.., track))) = self.chain.as_ref().zip(self.settled.as_ref()) else {
            return Ok(());
        };
        self.feed = source.attach(chain.format, track.unwrap_or(0), &chain.appsrc, Some(outflow.share()))?;
        self.waits = self.feed.is_none();
        Ok(())
    }

    fn replace_chain(
        &mut self,
        pipeline: &gst::Pipeline,
        source: &Source,
        codec: &Codec,
        outflow: &Arc<Outflow>,
    ) -> Result<(), Failure> {
        if let Some(old) = self.chain.take() {
            old.remove(pipeline, &self.pad);
        }
        let codec = Codec { extensions: self.codec.extensions.clone(), ..codec.clone() };
        // The pad refuses caps of any other codec.
        self.transceiver.set_codec_preferences(Some(&rtp_caps(&codec)));
        self.chain = Some(Chain::add(pipeline, source, &self.pad, &codec, self.ssrc, outflow)?);
        Ok(())
    }
}

impl Chain {
    fn add(
        pipeline: &gst::Pipeline,
        source: &Source,
        pad: &gst::Pad,
        codec: &Codec,
        ssrc: u32,
        outflow: &Arc<Outflow>,
    ) -> Result<Self, Failure> {
        let caps = codec.format.row().caps.parse::<gst::Caps>().map_err(Failure::internal)?;
        let appsrc = gst_app::AppSrc::builder().caps(&caps).build();
        encode::configure(&appsrc);
        if codec.format.kind() == Kind::Video {
            let outflow = outflow.clone();
            encode::gap::watch(&appsrc, move || outflow.may_ask());
        }
        let payloader = payloader(codec)?;
        payloader.set_property("ssrc", ssrc);
        let extensions = Extensions::add(&payloader, codec, &source.timing)?;
        let chain = [appsrc.upcast_ref(), &payloader];
        pipeline.add_many(chain).map_err(Failure::internal)?;
        gst::Element::link_many(chain).map_err(Failure::internal)?;
        let src =
            payloader.static_pad("src").ok_or_else(|| Failure::internal("a payloader without a pad"))?;
        src.link(pad).map_err(Failure::internal)?;
        // The pipeline is running.
        chain
            .into_iter()
            .rev()
            .try_for_each(gst::Element::sync_state_with_parent)
            .map_err(Failure::internal)?;
        let (format, payload_type) = (codec.format, codec.payload_type);
        Ok(Self { format, payload_type, appsrc, payloader, extensions })
    }

    fn remove(self, pipeline: &gst::Pipeline, pad: &gst::Pad) {
        if let Some(src) = pad.peer() {
            let _ = src.unlink(pad);
        }
        for element in [self.appsrc.upcast_ref(), &self.payloader] {
            let _ = element.set_state(gst::State::Null);
            let _ = pipeline.remove(element);
        }
    }
}

/// The caps of a codec's packets, as webrtcbin describes them.
pub(super) fn rtp_caps(codec: &Codec) -> gst::Caps {
    let row = codec.format.row();
    let mut caps = gst::Caps::builder("application/x-rtp")
        .field("media", row.kind.name())
        .field("payload", i32::from(codec.payload_type))
        .field("encoding-name", row.encoding.to_ascii_uppercase())
        .field("clock-rate", i32::try_from(row.clock_rate).unwrap_or(i32::MAX));
    if let Some(channels) = row.channels {
        caps = caps.field("encoding-params", channels);
    }
    for (id, uri) in &codec.extensions {
        caps = caps.field(format!("extmap-{id}"), *uri);
    }
    if codec.extensions.iter().any(|(_, uri)| *uri == EXTENSION_TWCC) {
        caps = caps.field("rtcp-fb-transport-cc", true);
    }
    caps.build()
}

fn with_ssrc(mut caps: gst::Caps, ssrc: u32) -> gst::Caps {
    if let Some(structure) = caps.make_mut().structure_mut(0) {
        structure.set("ssrc", ssrc);
    }
    caps
}

fn payloader(codec: &Codec) -> Result<gst::Element, Failure> {
    let payloader = make(codec.format.row().payloader.factory)?;
    payloader.set_property("pt", u32::from(codec.payload_type));
    payloader.set_property("mtu", 1200u32);
    // The module `extensions` adds them.
    payloader.set_property("auto-header-extension", false);
    match codec.format {
        Format::Vp8 | Format::Vp9 => payloader.set_property_from_str("picture-id-mode", "15-bit"),
        Format::H264 | Format::H265 => {
            // With each key frame: a peer may join at any time.
            payloader.set_property("config-interval", -1i32);
            payloader.set_property_from_str("aggregate-mode", "zero-latency");
        }
        // One packet for each frame of 20 ms.
        Format::Pcmu | Format::Pcma => payloader.set_property("max-ptime", 20_000_000i64),
        Format::Av1 | Format::Opus => {}
    }
    Ok(payloader)
}
