"""A WHIP and WHEP server on aiortc: takes one stream at /whip, gives a blue picture and a tone at /whep.

Prints its port. GET /seen says what came: the number of frames, and the mean colour of the last one. Every request needs
the token in TOKEN, if there is one.
"""

import asyncio
import fractions
import os
import secrets

import av
import numpy
from aiohttp import web
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, VideoStreamTrack

sessions = {}
seen = {"frames": 0, "color": [0, 0, 0], "sounds": 0, "patches": 0, "deletes": 0}


class Blue(VideoStreamTrack):
    async def recv(self):
        pts, time_base = await self.next_timestamp()
        picture = numpy.zeros((120, 160, 3), dtype=numpy.uint8)
        picture[:, :, 2] = 255
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = pts, fractions.Fraction(time_base)
        return frame


async def watch(track):
    try:
        while True:
            frame = await track.recv()
            if track.kind == "audio":
                seen["sounds"] += 1
                continue
            seen["frames"] += 1
            if seen["frames"] % 10 == 0:
                mean = frame.to_ndarray(format="rgb24").mean(axis=(0, 1))
                seen["color"] = [int(part) for part in mean]
    except MediaStreamError:
        pass


async def start(request):
    connection = RTCPeerConnection()
    connection.on("track", lambda track: asyncio.ensure_future(watch(track)))
    offer = RTCSessionDescription(sdp=await request.text(), type="offer")
    if request.path == "/whep":
        connection.addTrack(Blue())
        connection.addTrack(AudioStreamTrack())
    await connection.setRemoteDescription(offer)
    await connection.setLocalDescription(await connection.createAnswer())
    name = secrets.token_hex(8)
    sessions[name] = connection
    headers = {"Location": f"/session/{name}", "ETag": f'"{name}"'}
    text = connection.localDescription.sdp
    return web.Response(status=201, text=text, content_type="application/sdp", headers=headers)


async def patch(request):
    seen["patches"] += 1
    return web.Response(status=405)


async def delete(request):
    seen["deletes"] += 1
    connection = sessions.pop(request.match_info["name"], None)
    if connection is None:
        return web.Response(status=404)
    await connection.close()
    return web.Response()


@web.middleware
async def check(request, handler):
    token = os.environ.get("TOKEN")
    if token and request.path != "/seen" and request.headers.get("Authorization") != f"Bearer {token}":
        return web.Response(status=401)
    return await handler(request)


async def main():
    app = web.Application(middlewares=[check])
    app.router.add_post("/whip", start)
    app.router.add_post("/whep", start)
    app.router.add_patch("/session/{name}", patch)
    app.router.add_delete("/session/{name}", delete)
    app.router.add_get("/seen", lambda request: asyncio.sleep(0, web.json_response(seen)))
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
