//! `callbin codecs`: what this machine encodes and decodes, and with which elements.

use serde::Serialize;

use super::{
    codec::{Row, TABLE},
    trial,
};
use crate::{cli::Media, plugins::has, sdp::Kind};

/// One codec.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Entry {
    codec: &'static str,
    kind: &'static str,
    /// `None`: it is not encoded here.
    encode: Option<Encodes>,
    /// The decoder's element; `None`: it is not decoded here.
    decode: Option<&'static str>,
    /// Encoders that are installed, but made no picture.
    broken: Vec<&'static str>,
    /// What is missing, with the Debian package.
    missing: Vec<String>,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
struct Encodes {
    element: &'static str,
    hardware: bool,
    /// Whether it has encoded a picture just now. Encoders of sound are not tried.
    tried: bool,
}

/// The table or, with `json`, an array.
pub fn codecs(json: bool) -> Result<String, String> {
    gst::init().map_err(|error| error.to_string())?;
    let media = Media::usual().map_err(|error| error.to_string())?;
    let entries = TABLE.iter().map(|row| {
        let works = |encoder| row.kind == Kind::Audio || trial::works(row.format, encoder, &media);
        entry(row, &has, &works)
    });
    let entries: Vec<Entry> = entries.collect();
    if json {
        serde_json::to_string_pretty(&entries).map_err(|error| error.to_string())
    } else {
        Ok(table(&entries))
    }
}

fn entry(
    row: &'static Row,
    has: &dyn Fn(&str) -> bool,
    works: &dyn Fn(&'static super::codec::Encoder) -> bool,
) -> Entry {
    let missing_for =
        |sends, receives| row.format.check(sends, receives, has).err().into_iter().flat_map(|it| it.elements);
    let mut missing: Vec<String> = missing_for(true, false)
        .chain(missing_for(false, true))
        .map(|it| format!("{} ({})", it.factory, it.package))
        .collect();
    missing.dedup();
    let mut broken = Vec::new();
    let installed =
        row.encoders.iter().filter(|it| has(it.element.factory) && missing_for(true, false).next().is_none());
    let mut working = installed.filter(|it| {
        let works = works(it);
        broken.extend((!works).then_some(it.element.factory));
        works
    });
    let encode = working.next().map(|it| Encodes {
        element: it.element.factory,
        hardware: it.is_hardware,
        tried: row.kind == Kind::Video,
    });
    drop(working);
    let decoder = row.decoders.iter().map(|it| it.factory).find(|it| has(it));
    let decode = decoder.filter(|_| missing_for(false, true).next().is_none());
    Entry { codec: row.name, kind: row.kind.name(), encode, decode, broken, missing }
}

fn table(entries: &[Entry]) -> String {
    let mut out = format!("{:<6} {:<6} {:<28} {:<12} {}\n", "codec", "kind", "encoder", "decoder", "missing");
    for it in entries {
        let how = |it: &Encodes| match (it.hardware, it.tried) {
            (true, _) => format!("{} (hardware)", it.element),
            (false, true) => format!("{} (software)", it.element),
            (false, false) => it.element.to_owned(),
        };
        let encode = it.encode.as_ref().map_or_else(|| "-".into(), how);
        let broken = it.broken.iter().map(|element| format!("{element} is broken"));
        let notes: Vec<String> = broken.chain(it.missing.iter().cloned()).collect();
        let line = format!(
            "{:<6} {:<6} {encode:<28} {:<12} {}",
            it.codec,
            it.kind,
            it.decode.unwrap_or("-"),
            notes.join(", ")
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::encode::codec::Format;

    #[test]
    fn a_broken_driver_and_a_missing_element_are_named() {
        let all = |_: &str| true;
        let no_hardware = |encoder: &'static super::super::codec::Encoder| !encoder.is_hardware;
        let h264 = entry(Format::H264.row(), &all, &no_hardware);
        assert_eq!(h264.encode, Some(Encodes { element: "x264enc", hardware: false, tried: true }));
        assert!(h264.broken.contains(&"vah264enc") && h264.missing.is_empty());
        let jetson = entry(Format::H264.row(), &all, &|_| true);
        assert_eq!(jetson.encode, Some(Encodes { element: "nvv4l2h264enc", hardware: true, tried: true }));
        assert!(jetson.broken.is_empty(), "what follows is not tried");

        let debian = |element: &str| !element.starts_with("rtpav1");
        let av1 = entry(Format::Av1.row(), &debian, &no_hardware);
        assert_eq!((&av1.encode, av1.decode), (&None, None));
        assert!(table(&[av1]).contains("rtpav1pay (gst-plugins-rs"));
        let opus = entry(Format::Opus.row(), &all, &|_| true);
        assert_eq!(table(&[opus]).lines().last(), Some("opus   audio  opusenc                      opusdec"));
    }
}
