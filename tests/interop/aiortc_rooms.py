"""An aiortc peer in a JSON room (docs/protocols/rooms.md): it offers if a member is there, and answers one that joins later. Its
reports, and its command `say`, are those of aiortc_peer.py.

    aiortc_rooms.py URL ROOM USERNAME
"""

import asyncio
import json
import sys

import websockets
from aiortc_peer import Peer, report


class Member(Peer):
    async def send(self, signal):
        await self.socket.send(json.dumps({"type": "sdp", **signal}))

    async def hear(self):
        async for frame in self.socket:
            message = json.loads(frame)
            match message["type"]:
                case "room":
                    report("registered")
                    if message["members"]:
                        self.later(self.offer())
                case "sdp":
                    self.later(self.take({"sdp": message["sdp"]}))
                case "ice_candidate":
                    self.later(self.take({"ice": message.get("candidate")}))
                case "error":
                    report("error", error=frame)
        report("closed")


async def main(url, room, username):
    async with websockets.connect(f"{url}ws/rooms/{room}/?username={username}&notices=1") as socket:
        member = Member(socket)
        member.later(member.hear())
        member.later(member.tell())
        await member.obey()
        await member.pc.close()


asyncio.run(main(*sys.argv[1:]))
