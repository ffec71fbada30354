"""A WHIP and WHEP server on aiortc for one session at a time, which reports like the peer in aiortc_peer.py.

    aiortc_whip.py

It prints {"is": "port", "port": …}. /whip takes a stream, /whep gives one; both want the token `hush`, and take no PATCH.
"""

import asyncio

from aiortc_peer import Peer, report

REASONS = {200: "OK", 201: "Created", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed"}
DIRECTIONS = {"/whip": "recvonly", "/whep": "sendonly"}


class Session(Peer):
    def __init__(self, direction):
        super().__init__(None)
        self.media = {"audio": direction, "video": direction}
        self.later(self.tell())

    async def send(self, signal):
        self.answer = signal["sdp"]["sdp"]


sessions = []


async def reply(method, path, headers, body):
    if headers.get("authorization") != "Bearer hush":
        return 401, {}, ""
    if method == "POST" and path in DIRECTIONS:
        session = Session(DIRECTIONS[path])
        sessions.append(session)
        await session.take({"sdp": {"type": "offer", "sdp": body}})
        place = {"location": f"session/{len(sessions)}", "etag": '"1"', "content-type": "application/sdp"}
        return 201, place, session.answer
    if method == "DELETE" and path.startswith("/session/"):
        await sessions[int(path.rpartition("/")[2]) - 1].pc.close()
        report("deleted")
        return 200, {}, ""
    return 405 if path.startswith("/session/") else 404, {}, ""


async def serve(reader, writer):
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    status, more, text = await reply(method, path, headers, body.decode())
    more |= {"content-length": str(len(text.encode())), "connection": "close"}
    lines = [f"HTTP/1.1 {status} {REASONS[status]}", *(f"{name}: {value}" for name, value in more.items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n" + text).encode())
    await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    report("port", port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
