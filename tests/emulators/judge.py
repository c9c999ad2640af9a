"""A judge with known faults, on loopback: position and style bias, garbage and refusals, each by hash of what it reads.

What it judges says what it is worth: answers like `q=0.50 style=1 ...`. Its preference for an answer over another is
0.5 + (q - other's q) / 2 + style bias, and more by the position bias for the one that stands first; alone, an answer
passes with chance q + style bias. The draw belongs to the pair, not to its order, so the two orders differ by nothing
but the position bias.

`python -m tests.emulators.judge --log calls.txt` prints its port and serves until it is killed; the log has a line a call.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.emulators.chat import NOW, Chat

FENCED = re.compile(r"<<<(QUESTION|REFERENCE|ANSWER(?: [AB])?) (\w+)\n(.*?)\n\2 \1>>>", re.DOTALL)
QUALITY, STYLE = re.compile(r"\bq=([\d.]+)"), re.compile(r"\bstyle=([\d.]+)")
GARBAGE = ("Well, both have merits.", '{"reason": "ok"', '{"reason": "good", "score": 7, "winner": "C"}')
REFUSAL = "I'm sorry, I can't help with judging that."


@dataclass
class Faults:
    """Shares of all calls, and biases as differences in probability."""

    position: float = 0.0
    style: float = 0.0
    garbage: float = 0.0
    refusals: float = 0.0
    fails_on: str = ""
    """Answers that hold this are never judged: it talks about them instead, every time."""
    seed: int = 0

    def draw(self, *words: object) -> float:
        """A number in [0, 1) that the words decide."""
        return int(hashlib.sha256(repr((self.seed, *words)).encode()).hexdigest()[:12], 16) / 16**12


@dataclass
class Script:
    """What the judge says to a request, and what it was asked so far."""

    faults: Faults = field(default_factory=Faults)
    calls: Counter[str] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    log: Path | None = None
    connections: set[asyncio.Transport] = field(default_factory=set)

    def __call__(self, asked: dict[str, Any]) -> tuple[str | None, str | None]:
        """(text, refusal)."""
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:24]
        self.calls[key] += 1
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(key + "\n")
        else:
            self.bodies.append(asked)
        shown = {title: text for title, _, text in FENCED.findall(asked["messages"][-1]["content"])}
        chance = self.faults.draw("luck", asked["messages"][-1]["content"], asked.get("seed"))
        answers = [text for title, text in shown.items() if title.startswith("ANSWER")]
        if (self.faults.fails_on and any(self.faults.fails_on in each for each in answers)) or chance < self.faults.garbage:
            self.said["garbage"] += 1
            return GARBAGE[int(1000 * self.faults.draw("kind", answers)) % len(GARBAGE)], None
        if chance < self.faults.garbage + self.faults.refusals:
            self.said["refusal"] += 1
            return None, REFUSAL
        self.said["verdict"] += 1
        return (self._pair(*answers) if len(answers) == 2 else self._alone(answers[0], asked)), None

    def _pair(self, a: str, b: str) -> str:
        first, second = sorted((a, b))
        wins = preference(first, second, self.faults.style) + (self.faults.position if a == first else -self.faults.position)
        best = first if self.faults.draw("pair", first, second) < wins else second
        return json.dumps({"reason": f"It is better because {quality(best)} says so.", "winner": "A" if best == a else "B"})

    def _alone(self, answer: str, asked: dict[str, Any]) -> str:
        chance = quality(answer) + self.faults.style * style(answer)
        passed = self.faults.draw("alone", answer) < chance
        enum = asked["response_format"]["json_schema"]["schema"]["properties"]["score"]["enum"] if "response_format" in asked else None
        return json.dumps({"reason": "As the rubric says.", "score": (enum or ["fail", "pass"])[-1 if passed else 0]})


def quality(text: str) -> float:
    """What an answer says it is worth, 0.5 if it says nothing."""
    found = QUALITY.search(text)
    return float(found[1]) if found else 0.5


def style(text: str) -> float:
    """How pleasing an answer says it is."""
    found = STYLE.search(text)
    return float(found[1]) if found else 0.0


def preference(text: str, other: str, bias: float = 0.0) -> float:
    """How often an unbiased judge (or one that likes style) prefers the one text, in the middle of both orders."""
    return 0.5 + (quality(text) - quality(other)) / 2 + bias * (style(text) - style(other))


class ScriptedChat(Chat):
    """One connection."""

    def __init__(self, script: Script, latency_s: float) -> None:
        super().__init__(latency_s, 0.0, random.Random(0))
        self.script = script

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.script.connections.add(self.transport)

    def connection_lost(self, error: Exception | None) -> None:
        """The client has gone."""
        self.script.connections.discard(self.transport)

    def answer(self, asked: dict[str, Any], kind: str, gemini: bool) -> None:
        text, refusal = self.script(asked)
        message = {"role": "assistant", "content": text, "refusal": refusal}
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        choices = [{"index": 0, "finish_reason": "stop", "message": message, "logprobs": None}]
        whole = {"id": "c", "object": "chat.completion", "created": NOW, "model": asked["model"], "choices": choices, "usage": usage}
        self.write(b"200", json.dumps(whole).encode())


class JudgeService:
    """The judge in a thread of its own; `url` is what a model takes for its base_url."""

    def __init__(self, faults: Faults | None = None, latency_s: float = 0.0) -> None:
        self.script, self.latency_s, self.url = Script(faults or Faults()), latency_s, ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(start(self.script, self.latency_s), self._loop).result(30)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        for transport in list(self.script.connections):
            transport.abort()
        await asyncio.sleep(0.01)  # for the connections to be told


async def start(script: Script, latency_s: float) -> asyncio.Server:
    """Listen on a free port of 127.0.0.1."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: ScriptedChat(script, latency_s), "127.0.0.1", 0, backlog=1024)


async def serve(script: Script, latency_s: float) -> None:
    """Serve until cancelled; prints {"port": ...}."""
    server = await start(script, latency_s)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--garbage", type=float, default=0.0)
    parser.add_argument("--refusals", type=float, default=0.0)
    chosen = parser.parse_args()
    asyncio.run(serve(Script(Faults(garbage=chosen.garbage, refusals=chosen.refusals), log=chosen.log), chosen.latency))
