"""A chat server that costs almost nothing, for benches: answers as the OpenAI and Gemini emulators would, after a set time; some fail.

`python -m tests.emulators.chat --latency 0.05 --faults 0.05` prints its port and serves until it is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from typing import Any

NOW = 1_790_000_000
KINDS = ("429", "500", "reset", "cut", "no body", "no choice", "no text")


class Chat(asyncio.Protocol):
    """One connection; `share` of all requests fail, each kind equally often."""

    def __init__(self, latency_s: float, share: float, chance: random.Random) -> None:
        self.latency_s, self.share, self.chance = latency_s, share, chance
        self.came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.came += data
        head, found, body = self.came.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) >= length:
            self.came = body[length:]
            kind = self.chance.choice(KINDS) if self.chance.random() < self.share else ""
            asked, gemini = json.loads(body[:length]), b":generateContent" in head.split(b"\r\n", 1)[0]
            asyncio.get_running_loop().call_later(self.latency_s, self.answer, asked, kind, gemini)

    def answer(self, asked: dict[str, object], kind: str, gemini: bool) -> None:
        """Write the answer, or what a fault makes of it."""
        whole = _gemini(asked, kind) if gemini else _openai(asked, kind)
        body = b"" if kind == "no body" else json.dumps(whole).encode()
        if kind == "reset":
            self.transport.abort()
        elif kind in ("429", "500"):
            self.write(
                kind.encode(), b'{"error": {"message": "try again", "type": "x", "param": null, "code": null}}', b"retry-after: 1\r\n"
            )
        else:
            self.write(b"200", body[: len(body) // 2] if kind == "cut" else body)

    def write(self, status: bytes, body: bytes, headers: bytes = b"") -> None:
        """One HTTP response."""
        if not self.transport.is_closing():
            kind = b"content-type: application/json\r\n"
            self.transport.write(b"HTTP/1.1 %b x\r\n%b%bcontent-length: %d\r\n\r\n%b" % (status, kind, headers, len(body), body))


def _openai(asked: dict[str, Any], kind: str) -> dict[str, Any]:
    text = "" if kind == "no text" else f"{asked['model']} heard: {asked['messages'][-1]['content']}"
    message = {"role": "assistant", "content": text, "refusal": None}
    choices = [] if kind == "no choice" else [{"index": 0, "finish_reason": "stop", "message": message, "logprobs": None}]
    usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
    return {"id": "c", "object": "chat.completion", "created": NOW, "model": asked["model"], "choices": choices, "usage": usage}


def _gemini(asked: dict[str, Any], kind: str) -> dict[str, Any]:
    text = "" if kind == "no text" else f"gemini-x heard: {asked['contents'][-1]['parts'][0]['text']}"
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP", "index": 0}
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 9, "totalTokenCount": 18}
    return {"candidates": [] if kind == "no choice" else [candidate], "usageMetadata": usage, "modelVersion": "gemini-x"}


async def serve(latency_s: float, share: float, seed: int = 0) -> None:
    """Serve on a free port of 127.0.0.1 until cancelled; prints {"port": ...}."""
    chance = random.Random(seed)
    server = await asyncio.get_running_loop().create_server(lambda: Chat(latency_s, share, chance), "127.0.0.1", 0, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--faults", type=float, default=0.0)
    chosen = parser.parse_args()
    asyncio.run(serve(chosen.latency, chosen.faults))
