"""An aiortc peer, driven by the lines it reads: see README.md beside this file.

    aiortc_peer.py URL UID
"""

import asyncio
import fractions
import json
import sys
import time

import av
import numpy
import websockets
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

GREEN = (0, 200, 0)
SIZE = (320, 240)
FPS = 15
RATE = 48000
PITCH = 1000
SAMPLES = RATE // 50


def report(kind, **more):
    print(json.dumps({"is": kind, **more}), flush=True)


class Paced(MediaStreamTrack):
    """Makes a frame each `step` seconds."""

    def __init__(self, kind, step):
        self.kind = kind
        super().__init__()
        self.step, self.start, self.count = step, time.monotonic(), 0

    async def recv(self):
        await asyncio.sleep(max(0, self.start + self.count * self.step - time.monotonic()))
        frame = self.make(self.count)
        self.count += 1
        return frame


class Picture(Paced):
    def __init__(self):
        super().__init__("video", 1 / FPS)

    def make(self, count):
        image = numpy.full((SIZE[1], SIZE[0], 3), GREEN, dtype=numpy.uint8)
        left = count * 8 % SIZE[0]
        image[:16, left : left + 16] = 255  # something that moves
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = count * 90000 // FPS, fractions.Fraction(1, 90000)
        return frame


class Tone(Paced):
    def __init__(self):
        super().__init__("audio", SAMPLES / RATE)

    def make(self, count):
        at = numpy.arange(count * SAMPLES, (count + 1) * SAMPLES)
        wave = (numpy.sin(at * (2 * numpy.pi * PITCH / RATE)) * 12000).astype(numpy.int16)
        frame = av.AudioFrame.from_ndarray(wave.reshape(1, -1), format="s16", layout="mono")
        frame.pts, frame.sample_rate, frame.time_base = count * SAMPLES, RATE, fractions.Fraction(1, RATE)
        return frame


TRACKS = {"video": Picture, "audio": Tone}


class Peer:
    def __init__(self, socket):
        self.socket = socket
        self.media = {"audio": "sendrecv", "video": "sendrecv", "data": True}
        self.stats = {"video": {"frames": 0, "color": None}, "audio": {"frames": 0, "level": 0.0}}
        self.channel = None
        self.setup = ("", "")
        self.tasks = set()
        self.turn = asyncio.Lock()  # one negotiation step at a time
        self.pc = RTCPeerConnection()
        self.pc.on("track", lambda track: self.later(self.consume(track)))
        self.pc.on("datachannel", self.adopt)
        self.pc.on("connectionstatechange", lambda: report("state", state=self.pc.connectionState))

    def later(self, work):
        task = asyncio.ensure_future(self.guard(work))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def guard(self, work):
        try:
            await work
        except Exception as error:  # anything at all is for the runner to read
            report("error", error=f"{type(error).__name__}: {error}")

    def adopt(self, channel):
        self.channel = channel
        channel.on("message", lambda text: report("text", text=text))

    async def consume(self, track):
        stats = self.stats[track.kind]
        while True:
            try:
                frame = await track.recv()
            except Exception:  # the track ended
                return
            stats["frames"] += 1
            if track.kind == "audio":
                samples = frame.to_ndarray().astype(numpy.float64) / 32768
                stats["level"] = round(float(numpy.sqrt((samples**2).mean())), 4)
            elif stats["frames"] % 5 == 1:
                mean = frame.to_ndarray(format="rgb24").reshape(-1, 3).mean(axis=0)
                stats["color"] = [int(part) for part in mean]

    async def say(self, text):
        while self.channel is None or self.channel.readyState != "open":
            await asyncio.sleep(0.02)
        self.channel.send(text)

    def prepare(self):
        """Has the transceivers as `media` says."""
        if self.media.get("data") and self.channel is None:
            self.adopt(self.pc.createDataChannel("chat"))
        for kind, make in TRACKS.items():
            wanted = self.media.get(kind)
            found = next((t for t in self.pc.getTransceivers() if t.kind == kind), None)
            if found is None and wanted is None:
                continue
            found = found or self.pc.addTransceiver(kind, direction=wanted)
            # What is stopped is offered as before: aiortc rejects no m-line, it can only make it inactive.
            found.direction = "inactive" if wanted in (None, "stopped") else wanted
            if "send" in found.direction and found.sender.track is None:
                found.sender.replaceTrack(make())

    async def describe(self, description):
        if description.type == "answer":
            description.sdp = self.in_role(description.sdp)
        await self.pc.setLocalDescription(description)
        ours = self.pc.localDescription
        sdp = self.in_role(ours.sdp)
        report("sdp", whose="ours", type=ours.type, sdp=sdp)
        await self.send({"sdp": {"type": ours.type, "sdp": sdp}})

    def in_role(self, sdp):
        """The DTLS role that aiortc does not choose by itself, so that all four of role and setup occur."""
        usual, other = self.setup
        return sdp.replace(f"a=setup:{usual}\r\n", f"a=setup:{other}\r\n")

    async def send(self, signal):
        await self.socket.send(json.dumps(signal))

    async def offer(self):
        async with self.turn:
            self.prepare()
            await self.describe(await self.pc.createOffer())

    async def take(self, signal):
        async with self.turn:
            if "sdp" in signal:
                theirs = RTCSessionDescription(**signal["sdp"])
                report("sdp", whose="theirs", type=theirs.type, sdp=theirs.sdp)
                await self.pc.setRemoteDescription(theirs)
                if theirs.type == "offer":
                    for kind, make in TRACKS.items():
                        for transceiver in self.pc.getTransceivers():
                            if transceiver.kind == kind and transceiver.sender.track is None:
                                transceiver.sender.replaceTrack(make())
                                transceiver.direction = self.media[kind]
                    await self.describe(await self.pc.createAnswer())
                report("negotiated")
            elif signal.get("ice") and signal["ice"]["candidate"]:
                candidate = candidate_from_sdp(signal["ice"]["candidate"].removeprefix("candidate:"))
                candidate.sdpMid = signal["ice"].get("sdpMid")
                candidate.sdpMLineIndex = signal["ice"].get("sdpMLineIndex")
                await self.pc.addIceCandidate(candidate)

    async def hear(self):
        async for frame in self.socket:
            if frame == "HELLO":
                report("registered")
            elif frame == "OFFER_REQUEST":
                self.setup = ("actpass", "active")
                self.later(self.offer())
            elif frame == "SESSION_OK" and self.offers:
                self.later(self.offer())
            elif frame == "SESSION_OK":
                self.setup = ("active", "passive")
                await self.socket.send("OFFER_REQUEST")
            elif frame.startswith("ERROR"):
                report("error", error=frame)
            else:
                self.later(self.take(json.loads(frame)))
        report("closed")

    async def obey(self):
        lines = asyncio.StreamReader(limit=1 << 20)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
        )
        while line := await lines.readline():
            command = json.loads(line)
            if command["do"] == "call":
                self.media, self.offers = command["media"], command["offer"]
                await self.socket.send(f"SESSION {command['peer']}")
            elif command["do"] == "offer":
                self.media = command["media"]
                self.later(self.offer())
            elif command["do"] == "say":
                self.later(self.say(command["text"]))

    async def tell(self):
        while True:
            await asyncio.sleep(0.25)
            report("stats", **self.stats)


async def main(url, uid):
    async with websockets.connect(url) as socket:
        peer = Peer(socket)
        await socket.send(f"HELLO {uid}")
        peer.later(peer.hear())
        peer.later(peer.tell())
        await peer.obey()
        await peer.pc.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
