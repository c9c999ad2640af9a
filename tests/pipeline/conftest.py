"""A workspace whose models and runner are a few lines of Python, so that every path of the pipeline runs in milliseconds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from evalharness.pipeline import Event, Plan, Result, execute, make_plan, training
from evalharness.reading import load_suite
from evalharness.store import Store

DOUBLES = '''
"""Plug-ins of the tests: an answering model that can fail, and a runner that keeps its state in files."""
import json
from pathlib import Path
from typing import ClassVar

from evalharness.errors import ProviderError
from evalharness.protocols import Options
from evalharness.records import Endpoint, Handle, Reply, Status, TrainedModel, Point

LOG = Path(__file__).parent / "log.txt"


def note(*words):
    with LOG.open("a") as file:
        file.write(" ".join(map(str, words)) + "\\n")


class EchoOptions(Options):
    shorthand: ClassVar = "name"
    name: str = "echo"
    fail: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    crash: bool = False
    hosted: bool = False
    usd: float | None = 0.001


class Echo:
    Options = EchoOptions

    def __init__(self, options):
        self.options, self.local = options, not options.hosted

    @property
    def pool(self):
        return self.options.name

    def identity(self):
        return {"name": self.options.name}

    def bind(self, samples):
        note("bind", len(samples))

    def estimate(self, request):
        return self.options.usd

    async def generate(self, requests):
        note("generate", len(requests))
        if self.options.crash:
            raise RuntimeError("the model is broken")
        for request in requests:
            question = request.messages[-1].content
            if question in self.options.silent:
                continue
            if question in self.options.fail and not (LOG.parent / "mended").exists():
                yield Reply(request.output_id, None, "error", error="no luck")
            else:
                answer = question.upper() if request.adapter or self.options.name == "upper" else question
                yield Reply(request.output_id, answer, "stop", 3, 1, 0.01, self.options.usd)
                yield Reply(request.output_id, "twice", "stop")

    async def close(self):
        note("close")


class FileRunnerOptions(Options):
    learn: bool = True
    local: bool = True
    device: str = "cpu"
    problem: str = ""


class FileRunner:
    Options = FileRunnerOptions
    looks_s = (0.0, 0.01, 0.01)

    def __init__(self, options):
        self.options, self.local = options, options.local

    def identity(self, base):
        return {"base": base, "learn": self.options.learn}

    def check(self, job):
        return [self.options.problem] if self.options.problem else []

    def submit(self, job):
        note("submit", job.label)
        folder = Path(job.workdir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / job.key).write_text("1")
        return Handle(job.training_id, str(folder / job.key))

    def find(self, job):
        path, unlisted = Path(job.workdir) / job.key, LOG.parent / "unlisted"
        note("find")
        if unlisted.exists() and (left := int(unlisted.read_text())):
            unlisted.write_text(str(left - 1))
            return None
        return Handle(job.training_id, str(path)) if path.exists() else None

    def poll(self, handle):
        path = Path(handle.provider_id)
        step = int(path.read_text())
        points = tuple(Point(n, train_loss=1 / n) for n in range(1, step + 1))
        if step < 3:
            path.write_text(str(step + 1))
            return Status("running", step=step, total_steps=3, points=points)
        if not self.options.learn:
            return Status("failed", step=step, points=points, error="the loss is nan", again=(LOG.parent / "mended").exists())
        kept = ("doubles.py:Echo/first", "doubles.py:Echo/upper")
        model = TrainedModel("doubles.py:Echo/tuned", str(path.parent), {"adapter": "a1"}, {"trained_parameters": 7}, kept)
        return Status("succeeded", step=3, total_steps=3, points=points, model=model, tokens=12, cost_usd=0.5, seconds=1.0)

    def cancel(self, handle):
        note("cancel")

    def estimate(self, job):
        return 0.5

    def hourly(self, model):
        return 2.0

    def served(self, key):
        unserved = LOG.parent / "unserved"
        if unserved.exists() and (left := int(unserved.read_text())):
            unserved.write_text(str(left - 1))
            return None
        return Endpoint("", resource_id="r1") if (LOG.parent / f"open-{key}").exists() else None

    def serve(self, model, key):
        if (LOG.parent / "broken").exists():
            raise ProviderError("it did not start")
        if not self.local:
            note("serve")
            (LOG.parent / f"open-{key}").write_text("")
        if (LOG.parent / "half").exists():
            raise ProviderError("it broke when it was open")
        return Endpoint(model.model, model.adapter, None if self.local else "r1", {"hosted": not self.local}, 2.0)

    def release(self, endpoint):
        stuck = LOG.parent / "stuck"
        if stuck.exists() and (left := int(stuck.read_text() or 99)):
            stuck.write_text(str(left - 1))
            raise ProviderError("it cannot be released")
        note("release")
        for path in LOG.parent.glob("open-*"):
            path.unlink()
'''

SUITE = """
data: {train: data/train.jsonl, dev: data/dev.jsonl, test: data/test.jsonl}
baselines:
  plain: {model: doubles.py:Echo/echo}
  loud: {model: doubles.py:Echo/upper, prompt: "Say it: {{ input }}"}
candidates:
  tuned: {train: files}
metrics: [exact_match, bleu]
gate: {against: plain, rules: [{metric: exact_match, margin: 0.02}]}
"""


class Workspace:
    """A folder with a suite, and short ways to run it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(root / "results" / "evalh.duckdb")
        self.events: list[Event] = []

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def suite(self, text: str = SUITE, *changes: tuple[str, str]) -> Path:
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        return self.write("suites/toy.yaml", text)

    def plan(self) -> Plan:
        return make_plan(load_suite(self.root / "suites" / "toy.yaml"), self.store, self.root / "results")

    def run(self, *, may_train: bool = True) -> Result:
        return asyncio.run(execute(self.plan(), self.store, self.events.append, may_train=may_train))

    def log(self) -> list[str]:
        path = self.root / "log.txt"
        return path.read_text().splitlines() if path.exists() else []

    def outputs(self, label: str) -> dict[str, str | None]:
        """What the newest run's arm answered, by sample position."""
        run = self.store.latest_run()
        assert run is not None
        part = next(part for part in self.store.run_arms(run.run_id) if part.arm.label == label)
        return {output.sample_id: output.reply.text for output in self.store.outputs(part.arm.arm_id, part.dataset_id)}


def rows(words: list[str], answer: Callable[[str], str]) -> str:
    return "".join(json.dumps({"input": word, "target": answer(word)}) + "\n" for word in words)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(training, "FIRST_POLL_S", 0.01)
    made = Workspace(tmp_path)
    made.write("doubles.py", DOUBLES)
    made.write("trainers/files.yaml", "runner: doubles.py:FileRunner\nbase: small\n")
    made.write("data/train.jsonl", rows([f"train {i}" for i in range(12)], str.upper))
    made.write("data/dev.jsonl", rows([f"dev {i}" for i in range(4)], str.upper))
    made.write("data/test.jsonl", rows([f"test {i}" for i in range(10)], str.upper))
    made.suite()
    return made
