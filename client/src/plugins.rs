//! The GStreamer elements that the client needs. They are checked at start, so that one message names all missing
//! elements and their packages.

use gst::prelude::*;

use crate::{
    cli::Media,
    exit::{ExitCode, Failure},
    media::encode::{
        codec::{Element, Format, Formats, TABLE},
        trial,
    },
    sdp::Kind,
};

/// A Debian package and its elements in use.
pub type Package = (&'static str, &'static [&'static str]);

const CALL: &[Package] = &[
    ("libgstreamer1.0-0", &["capsfilter", "fakesink", "fdsink", "funnel", "queue"]),
    (
        "gstreamer1.0-plugins-base",
        &["appsrc", "appsink", "videotestsrc", "audiotestsrc", "videoconvert", "videoscale", "audioresample"],
    ),
    (
        "gstreamer1.0-plugins-good",
        &["rtpbin", "rtprtxsend", "rtprtxreceive", "rtphdrexttwcc", "rtphdrextmid"],
    ),
    (
        "gstreamer1.0-plugins-bad",
        &["webrtcbin", "dtlsdec", "dtlsenc", "srtpdec", "srtpenc", "sctpdec", "sctpenc"],
    ),
    ("gstreamer1.0-nice", &["nicesrc", "nicesink"]),
];

const VIEW: &[Package] = &[
    (
        "gstreamer1.0-plugins-base",
        &["compositor", "audiomixer", "videoconvertscale", "audioconvert", "audioresample"],
    ),
    ("gstreamer1.0-plugins-good", &["autovideosink", "autoaudiosink"]),
];

/// Fails if elements are missing, and names each and its package.
pub fn check(view: bool) -> Result<(), Failure> {
    let wanted: Vec<Package> = CALL.iter().chain(if view { VIEW } else { &[] }).copied().collect();
    check_all(&wanted)
}

/// Fails if elements of these packages are missing, and names each and its package.
pub fn check_all(wanted: &[Package]) -> Result<(), Failure> {
    let missing = missing(wanted.iter(), has);
    if missing.is_empty() {
        return Ok(());
    }
    let (elements, packages): (Vec<_>, Vec<_>) = missing.into_iter().unzip();
    let mut names = packages;
    names.dedup();
    let message = format!(
        "GStreamer lacks {}: on Debian or Ubuntu: apt install {}",
        elements.concat().join(", "),
        names.join(" ")
    );
    Err(Failure::new(ExitCode::MissingPlugin, message))
}

/// Whether GStreamer has this element.
pub fn has(element: &str) -> bool {
    gst::ElementFactory::find(element).is_some()
}

/// The codecs of `--codecs` in their order, each of which must be usable here; without the flag all that are usable. A
/// kind that the flag does not name keeps its default.
pub fn codecs(media: &Media) -> Result<Formats, Failure> {
    let mut formats = Vec::new();
    for (kind, (sends, receives)) in [(Kind::Video, media.video()), (Kind::Audio, media.audio())] {
        if !sends && !receives {
            continue;
        }
        let usable = |format: Format| check_codec(format, sends, receives, media);
        let named = media.codecs.iter().copied().filter(|it| it.kind() == kind).collect::<Vec<_>>();
        if !named.is_empty() {
            named.iter().try_for_each(|format| usable(*format))?;
            formats.extend(named);
            continue;
        }
        let all = TABLE.iter().map(|row| row.format).filter(|it| it.kind() == kind);
        let before = formats.len();
        formats.extend(all.clone().filter(|format| usable(*format).is_ok()));
        if formats.len() == before {
            all.take(1).try_for_each(usable)?;
        }
    }
    Ok(formats.into_iter().collect())
}

fn check_codec(format: Format, sends: bool, receives: bool, media: &Media) -> Result<(), Failure> {
    let missing = |words: String| Failure::new(ExitCode::MissingPlugin, words);
    format.check(sends, receives, &has).map_err(|lacking| missing(lacking.to_string()))?;
    // Without software, the hardware has to work.
    let mut software = format.row().encoders.iter().filter(|it| !it.is_hardware);
    if sends && !software.clone().any(|it| has(it.element.factory)) && trial::best(format, media).is_none() {
        let Element { factory, package } =
            software.next_back().map_or(format.row().payloader, |it| it.element);
        return Err(missing(format!(
            "{format}: the hardware encoder does not work: {factory} (Debian: {package}) would do"
        )));
    }
    Ok(())
}

/// Loads the plugins of all elements of a call. Otherwise the first peer loads them, one after the other; above all
/// libsrtp, which tests its ciphers first (with NSS, as in Debian, that takes tens of milliseconds).
pub fn load(formats: Formats) {
    let first = [Kind::Video, Kind::Audio].into_iter().filter_map(|kind| formats.of(kind).next());
    let of_codec = |format: Format| {
        let row = format.row();
        let decoders = row.decoders.iter().map(|it| it.factory).find(|it| has(it));
        [row.payloader.factory, row.depayloader.factory].into_iter().chain(decoders)
    };
    let call = CALL.iter().flat_map(|(_, elements)| elements.iter().copied());
    for element in call.chain(first.flat_map(of_codec)) {
        let _ = gst::ElementFactory::find(element).map(|factory| factory.load());
    }
}

fn missing<'a>(
    wanted: impl Iterator<Item = &'a Package>,
    is_there: impl Fn(&str) -> bool,
) -> Vec<(Vec<&'static str>, &'static str)> {
    wanted
        .map(|(package, elements)| {
            let lacking = elements.iter().copied().filter(|element| !is_there(element));
            (lacking.collect::<Vec<_>>(), *package)
        })
        .filter(|(elements, _)| !elements.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The elements that the code of every call makes by name.
    #[test]
    fn a_call_needs_no_element_that_is_not_checked() {
        let code = [
            include_str!("app.rs"),
            include_str!("media/encode/encoder.rs"),
            include_str!("media/encode/mod.rs"),
            include_str!("media/input/mod.rs"),
            include_str!("media/input/test.rs"),
            include_str!("media/receive.rs"),
            include_str!("peer/mod.rs"),
            include_str!("record/own.rs"),
        ];
        let known: Vec<&str> = CALL.iter().flat_map(|(_, elements)| elements.iter().copied()).collect();
        let (mut all, mut unknown) = (0, Vec::new());
        for code in code {
            let code = code.split("#[cfg(test)]").next().unwrap();
            let made = code.split("make(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
            for element in made {
                all += 1;
                unknown.extend(Some(element).filter(|it| !known.contains(it)));
            }
        }
        assert!(all > 8 && unknown.is_empty(), "{unknown:?} of {all}");
    }

    #[test]
    fn names_every_missing_element_with_its_package() {
        let gone = ["rtpbin", "nicesrc", "nicesink"];
        let missing = missing(CALL.iter(), |element| !gone.contains(&element));
        assert_eq!(
            missing,
            [
                (vec!["rtpbin"], "gstreamer1.0-plugins-good"),
                (vec!["nicesrc", "nicesink"], "gstreamer1.0-nice")
            ]
        );
    }
}
