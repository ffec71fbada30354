//! The elements of an encoder, tuned for low delay.

use std::time::Duration;

use gst::prelude::*;

use super::{
    codec::{Encoder, Format, Rate, Row, Value},
    keyframes,
};
use crate::{
    cli::Media,
    exit::Failure,
    media::{make, set_if_there},
    sdp::Kind,
};

/// Bit rate of the Opus encoder, in bit/s.
pub const AUDIO_BITRATE: u32 = 32_000;

/// The elements of an encoder, in order.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) elements: Vec<gst::Element>,
    /// The element that encodes.
    pub(super) encoder: gst::Element,
    pub(super) rate: Rate,
}

impl Chain {
    /// Makes the elements of `encoder` for `format`.
    pub(super) fn make(format: Format, encoder: &Encoder, media: &Media) -> Result<Self, Failure> {
        let row = format.row();
        let mut elements = Vec::new();
        if let Some(convert) = encoder.convert {
            elements.push(make(convert)?);
        }
        if row.kind == Kind::Audio {
            elements.push(capsfilter(&format!("audio/x-raw,rate={}", row.clock_rate))?);
        }
        let element = make(encoder.element.factory)?;
        encoder.settings.iter().for_each(|(name, value)| set_if_there(&element, name, &text(*value, media)));
        let bits = if row.kind == Kind::Audio { AUDIO_BITRATE } else { media.bitrate.saturating_mul(1000) };
        set_bitrate(&element, encoder.rate, bits);
        if row.kind == Kind::Video {
            keyframes::limit(&element, Duration::from_millis(u64::from(media.keyframe_interval)));
        }
        elements.push(element.clone());
        elements.extend(behind(row, encoder)?);
        Ok(Self { elements, encoder: element, rate: encoder.rate })
    }
}

/// What follows the encoder: the profile that descriptions name, and the stream format that payloaders take.
fn behind(row: &Row, encoder: &Encoder) -> Result<Vec<gst::Element>, Failure> {
    let mut elements = Vec::new();
    if row.format == Format::H264 {
        elements.push(capsfilter("video/x-h264,profile={(string)constrained-baseline,(string)baseline}")?);
    }
    if let Some(parser) = row.parser.filter(|_| encoder.is_hardware || row.format != Format::H264) {
        // Hardware and x265enc have stream formats of their own.
        let parser = make(parser.factory)?;
        set_if_there(&parser, "config-interval", "-1");
        elements.push(parser);
    }
    elements.push(capsfilter(row.caps)?);
    Ok(elements)
}

fn capsfilter(caps: &str) -> Result<gst::Element, Failure> {
    let filter = make("capsfilter")?;
    filter.set_property("caps", caps.parse::<gst::Caps>().map_err(Failure::internal)?);
    Ok(filter)
}

/// Changes the bit rate of an encoder, also while it runs.
pub(super) fn set_bitrate(encoder: &gst::Element, rate: Rate, bits_per_second: u32) {
    match rate {
        Rate::Bits(name) => set_if_there(encoder, name, &bits_per_second.to_string()),
        Rate::Kilobits(name) => set_if_there(encoder, name, &(bits_per_second / 1000).max(1).to_string()),
        Rate::Control(name) => {
            let controls = format!("controls,{name}={bits_per_second},repeat_sequence_header=1");
            set_if_there(encoder, "extra-controls", &controls);
        }
        Rate::Fixed => {}
    }
}

fn text(value: Value, media: &Media) -> String {
    let pixels = u32::from(media.size.width) * u32::from(media.size.height);
    let fps = u32::from(media.fps);
    match value {
        Value::Is(text) => text.into(),
        Value::Group => (fps * 10).to_string(),
        // A second thread is worthwhile only for large pictures.
        Value::Threads => if pixels > 640 * 480 { "2" } else { "1" }.into(),
        Value::KeyFrame => (fps * 10).max(300).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        media::{encode::codec::TABLE, target::tests::media},
        plugins::has,
    };

    /// All values of the table that can be set here: GStreamer only warns about one that it cannot read.
    #[test]
    fn every_setting_of_an_encoder_that_is_here_takes_effect() {
        gst::init().unwrap();
        let media = media(&["--fps", "20", "--size", "320x240"]);
        for (row, encoder) in TABLE.iter().flat_map(|row| row.encoders.iter().map(move |it| (row, it))) {
            if !has(encoder.element.factory) {
                continue;
            }
            let chain = Chain::make(row.format, encoder, &media).unwrap();
            for (name, value) in encoder.settings {
                let wanted = text(*value, &media);
                let spec = chain.encoder.find_property(name);
                let spec = spec.unwrap_or_else(|| panic!("{} has no {name}", encoder.element.factory));
                let wanted = gst::glib::Value::deserialize(&wanted, spec.value_type())
                    .unwrap_or_else(|_| panic!("{name} of {} is not {wanted}", encoder.element.factory));
                let is = chain.encoder.property_value(name);
                assert_eq!(is.serialize().unwrap(), wanted.serialize().unwrap(), "{name}");
            }
        }
    }

    #[test]
    fn a_bit_rate_is_given_in_the_encoders_unit() {
        gst::init().unwrap();
        let media = media(&["--bitrate", "700"]);
        for (row, encoder) in TABLE.iter().flat_map(|row| row.encoders.iter().map(move |it| (row, it))) {
            let (name, unit) = match encoder.rate {
                Rate::Bits(name) => (name, 1),
                Rate::Kilobits(name) => (name, 1000),
                Rate::Control(_) | Rate::Fixed => continue,
            };
            if !has(encoder.element.factory) {
                continue;
            }
            let chain = Chain::make(row.format, encoder, &media).unwrap();
            let is =
                || chain.encoder.property_value(name).serialize().unwrap().parse::<u32>().unwrap() * unit;
            assert_eq!(is(), if row.kind == Kind::Audio { AUDIO_BITRATE } else { 700_000 }, "{encoder:?}");
            set_bitrate(&chain.encoder, chain.rate, 96_000);
            assert_eq!(is(), 96_000, "{encoder:?}");
        }
    }
}
