//! Looks at start whether the sinks that the user names can be made: later, in the middle of a call, they would only be
//! a window or sound that is lost.

use callbin_protocol::printable;
use gst::{glib, prelude::*};

use super::Sinks;
use crate::exit::{ExitCode, Failure};

/// Makes each sink once, without starting it.
pub fn check_sinks(sinks: &Sinks) -> Result<(), Failure> {
    for (flag, sink) in [("--video-sink", &sinks.video), ("--audio-sink", &sinks.audio)] {
        if let Some(sink) = sink {
            check(sink)
                .map_err(|(code, why)| Failure::new(code, format!("{flag} {}: {why}", printable(sink))))?;
        }
    }
    Ok(())
}

fn check(sink: &str) -> Result<(), (ExitCode, String)> {
    let bin =
        gst::parse::bin_from_description(sink, true).map_err(|error| (code(&error), error.to_string()))?;
    let takes_something = bin.sink_pads().len() == 1;
    takes_something
        .then_some(())
        .ok_or((ExitCode::Usage, "this is no sink: nothing can be given to it".into()))
}

fn code(error: &glib::Error) -> ExitCode {
    match error.kind::<gst::ParseError>() {
        Some(gst::ParseError::NoSuchElement) => ExitCode::MissingPlugin,
        _ => ExitCode::Usage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_that_cannot_be_made_is_an_error_with_its_flag() {
        gst::init().unwrap();
        let checked = |video: &str, audio: &str| {
            let some = |sink: &str| (!sink.is_empty()).then(|| sink.to_owned());
            check_sinks(&Sinks { video: some(video), audio: some(audio) })
        };
        assert_eq!(checked("", ""), Ok(()));
        assert_eq!(checked("fakesink sync=false", "audioconvert ! queue ! fakesink"), Ok(()));
        for (video, audio, code, words) in [
            ("nosuch", "", ExitCode::MissingPlugin, "--video-sink nosuch: no element"),
            ("", "queue ! nosuch", ExitCode::MissingPlugin, "--audio-sink"),
            ("fakesink nosuch=1", "", ExitCode::Usage, "no property"),
            ("fakesink !", "", ExitCode::Usage, "--video-sink"),
            ("videotestsrc", "", ExitCode::Usage, "no sink"),
            ("", "audiotestsrc ! fakesink", ExitCode::Usage, "no sink"),
        ] {
            let failure = checked(video, audio).unwrap_err();
            assert!(failure.code == code && failure.message.contains(words), "{failure:?}");
        }
    }
}
