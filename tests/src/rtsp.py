#!/usr/bin/env python3
"""A camera with RTSP: rtsp_server.py PORT PATTERN prints "ready" and serves a picture and a tone at /cam."""
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
port, pattern = sys.argv[1:]
server = GstRtspServer.RTSPServer(service=port, address="127.0.0.1")
factory = GstRtspServer.RTSPMediaFactory(shared=True)
factory.set_launch(
    f"( videotestsrc is-live=true pattern={pattern} ! video/x-raw,width=640,height=480,framerate=30/1"
    " ! openh264enc bitrate=800000 gop-size=30 ! h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96"
    " audiotestsrc is-live=true freq=880 volume=0.25 samplesperbuffer=960 ! audio/x-raw,rate=48000,channels=1"
    " ! opusenc ! rtpopuspay name=pay1 pt=97 )"
)
server.get_mount_points().add_factory("/cam", factory)
if not server.attach(None):
    sys.exit("the port is taken")
print("ready", flush=True)
GLib.MainLoop().run()
