//! A camera with RTSP: gst-rtsp-server, run by Python.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use crate::process::{Process, workspace};

/// A running camera, killed when dropped.
#[derive(Debug)]
pub struct Rtsp(#[expect(dead_code, reason = "it is there to be dropped")] Process);

impl Rtsp {
    /// Serves this pattern and a tone of 880 Hz at [`Rtsp::url`].
    pub fn start(port: u16, pattern: &str) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(workspace().join("tests/src/rtsp.py")).args([&port.to_string(), pattern]);
        command.stdout(Stdio::piped());
        let mut camera = Process::spawn(&mut command);
        let mut line = String::new();
        let stdout = camera.child().stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says when it is ready");
        assert_eq!(line.trim(), "ready", "the camera does not start");
        Self(camera)
    }

    /// The address of the camera at this port.
    pub fn url(port: u16) -> String {
        format!("rtsp://user:hush@127.0.0.1:{port}/cam")
    }
}
