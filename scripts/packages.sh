# The Debian packages that callbin needs: the only list, for `make setup` and its error messages.
# shellcheck shell=sh disable=SC2034

# To compile: a C linker, pkg-config and GStreamer's headers.
BUILD_PACKAGES="build-essential pkg-config libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstreamer-plugins-bad1.0-dev libnice-dev"

# To run the client: the plugins it uses, and sinks for a display and a sound card.
RUN_PACKAGES="gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-nice gstreamer1.0-x gstreamer1.0-alsa gstreamer1.0-pulseaudio"

# To run the tests: the other encoders and decoders, real browsers, Node.js for the page's unit tests and
# npm for the tools that check it, a virtual display, tools for certificates, network namespaces and changed clocks, an RTSP server, and Redis.
TEST_PACKAGES="gstreamer1.0-plugins-ugly gstreamer1.0-libav coturn chromium chromium-headless-shell firefox-esr nodejs npm xvfb iproute2 openssl procps curl libfaketime python3-gi gir1.2-gst-rtsp-server-1.0 redis-server"

# To run several servers as one (make demo NODES=3).
CLUSTER_PACKAGES="redis-server nginx-light"

# To test other WebRTC stacks with the client (make interop): a second browser, GStreamer's command line as codec for stacks
# without one, and Python's installer of packages.
INTEROP_PACKAGES="gstreamer1.0-tools python3-venv"
# For GStreamer's example clients in Python and C.
EXAMPLES_PACKAGES="python3-gst-1.0 gir1.2-gst-plugins-bad-1.0 python3-websockets libsoup-3.0-dev libjson-glib-dev libnice-dev"

# To compare the media node with another media server (make bench-media).
BENCH_MEDIA_PACKAGES="janus util-linux"

# To compare with others (make compare), and for GStreamer's signalling server.
COMPARE_PACKAGES="curl util-linux"
COMPARE_EXAMPLES_PACKAGES="python3-websockets libsoup-3.0-dev libjson-glib-dev libssl-dev"
