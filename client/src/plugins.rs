//! The GStreamer elements that the client needs. They are checked at start, so that one message names all missing
//! elements and their packages.

use gst::prelude::*;

use crate::exit::{ExitCode, Failure};

/// A Debian package and its elements in use.
pub type Package = (&'static str, &'static [&'static str]);

const CALL: &[Package] = &[
    ("libgstreamer1.0-0", &["capsfilter", "fakesink", "fdsink", "queue"]),
    (
        "gstreamer1.0-plugins-base",
        &["appsrc", "appsink", "videotestsrc", "audiotestsrc", "opusenc", "opusdec"],
    ),
    (
        "gstreamer1.0-plugins-good",
        &[
            "vp8enc",
            "vp8dec",
            "rtpbin",
            "rtpvp8pay",
            "rtpvp8depay",
            "rtpopuspay",
            "rtpopusdepay",
            "rtprtxsend",
            "rtprtxreceive",
            "rtphdrexttwcc",
            "rtphdrextmid",
        ],
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
    let missing = missing(wanted.iter(), |element| gst::ElementFactory::find(element).is_some());
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

/// Loads the plugins of all elements of a call. Otherwise the first peer loads them, one after the other; above all
/// libsrtp, which tests its ciphers first (with NSS, as in Debian, that takes tens of milliseconds).
pub fn load() {
    for element in CALL.iter().flat_map(|(_, elements)| *elements) {
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

    #[test]
    fn names_every_missing_element_with_its_package() {
        let gone = ["vp8enc", "nicesrc", "nicesink"];
        let missing = missing(CALL.iter(), |element| !gone.contains(&element));
        assert_eq!(
            missing,
            [
                (vec!["vp8enc"], "gstreamer1.0-plugins-good"),
                (vec!["nicesrc", "nicesink"], "gstreamer1.0-nice")
            ]
        );
    }
}
