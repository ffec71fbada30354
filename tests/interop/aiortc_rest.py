"""An aiortc peer that calls by plain HTTP (docs/protocols/rest.md), and reports like the one in aiortc_peer.py.

    aiortc_rest.py URL PEER [curl]

With "curl", that program makes the requests.
"""

import asyncio
import json
import subprocess
import sys
import urllib.request

from aiortc import RTCSessionDescription
from aiortc_peer import Peer, report


def request(method, url, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=60) as response:
        text = response.read()
        return json.loads(text) if text else None


def by_curl(method, url, body=None):
    command = ["curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "60", "--request", method, url]
    if body is not None:
        command += ["--data-binary", "@-"]
    data = None if body is None else json.dumps(body).encode()
    done = subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout) if done.stdout else None


async def main(url, callee, program=None):
    send = by_curl if program == "curl" else request
    peer = Peer(None)
    peer.later(peer.tell())
    peer.media["data"] = False
    peer.prepare()
    await peer.pc.setLocalDescription(await peer.pc.createOffer())
    ours = peer.pc.localDescription
    offer = {"type": ours.type, "sdp": ours.sdp}
    call = await asyncio.to_thread(send, "POST", f"{url}offer/{callee}?wait=20", offer)
    if "sdp" not in call:
        call |= await asyncio.to_thread(send, "GET", f"{url}answer/{call['call']}")
    await peer.pc.setRemoteDescription(RTCSessionDescription(type="answer", sdp=call["sdp"]))
    report("negotiated")
    after = 0
    while True:
        news = await asyncio.to_thread(send, "GET", f"{url}ice/{call['call']}?after={after}&wait=20")
        for candidate in (news or {}).get("candidates", []):
            await peer.take({"ice": candidate})
        after = (news or {}).get("next", after)


asyncio.run(main(*sys.argv[1:]))
