"""Fine-tuning by Hugging Face Jobs: our training script with TRL on a rented machine, data and result in private repositories.

    submit   rows to a data set named by their content, then one job; its output repository carries the intent key
    find     the job whose label, environment or command holds the intent key
    poll     losses from the log while it runs, then the adapter from its repository into the job's folder
    serve    here, by the local model, or on an Inference Endpoint

The token travels as a secret of the job, never in its environment, arguments or log.

>>> HfJobsRunner(HfJobsOptions(rank=8)).find(job)                                                     # doctest: +SKIP
Handle(training_id='…', provider_id='me/687fb701029421ae5549d998#results/trainings/…')
"""

from __future__ import annotations

import base64
import datetime
import functools
import gzip
import itertools
import logging
import math
import re
from pathlib import Path
from typing import Any, ClassVar

from evalharness import protocols
from evalharness.buying import LOOKS_S, NotThere
from evalharness.errors import ConfigError, ProviderError
from evalharness.ids import digest
from evalharness.prices import price
from evalharness.records import FINAL, Endpoint, Handle, Job, Point, State, Status, TrainedModel
from evalharness.runners import hosted
from evalharness.runners.huggingface.hub import HUB, Hub
from evalharness.runners.huggingface.options import AutoTrainOptions, HfJobsOptions
from evalharness.runners.huggingface.results import Unusable, fetch, fetch_base, points_in, said_at_the_end
from evalharness.runners.huggingface.serving import GONE_S, WAITS_S, Endpoints

log = logging.getLogger("evalh")

ALGORITHM = 1
"""Raise it when the script makes other adapters of equal jobs than before: trainings stored under the old number are then not reused."""
SCRIPT = Path(__file__).with_name("train.py")
STATES: dict[str, State] = {
    "SCHEDULING": "queued",
    "RUNNING": "running",
    "COMPLETED": "succeeded",
    "ERROR": "failed",
    "CANCELED": "cancelled",
    "CANCELLED": "cancelled",
    "DELETED": "cancelled",
}
_KEY, _KEY_ENV, _SCRIPT_ENV = "evalh_key", "EVALH_KEY", "EVALH_SCRIPT"
_START = f'cd "$(mktemp -d)" && printf %s "${_SCRIPT_ENV}" | base64 -d | gunzip > train.py && exec uv run train.py "$@"'
_LINES = 5000
"""Most log lines that are read at a poll; the result has the whole curve."""
_SHOWN = 5
_LATE_S = 60.0
"""A finished job's result may show this much later."""
_AN_HOUR = {"second": 3600, "minute": 60, "hour": 1}
_UNKNOWN = "a state evalh does not know"


class HfJobsRunner:
    """LoRA by TRL on Hugging Face Jobs."""

    Options: ClassVar[type[protocols.Options]] = HfJobsOptions
    local: ClassVar[bool] = False
    looks_s: ClassVar[tuple[float, ...]] = LOOKS_S
    waits_s: ClassVar[tuple[float, ...]] = WAITS_S
    gone_s: ClassVar[tuple[float, ...]] = GONE_S
    name: ClassVar[str] = "hf_jobs"

    def __init__(self, options: HfJobsOptions) -> None:
        self.options = options
        self._price = price("huggingface", options.flavor, options.prices)
        self._hub = Hub(options, self.looks_s, self.name)
        self._endpoints = Endpoints(self._hub, self.waits_s, self.gone_s)
        self._points: dict[str, tuple[tuple[Point, ...], int | None]] = {}
        self._repos: dict[str, str] = {}
        self._ended_at: dict[str, datetime.datetime] = {}

    def identity(self, base: str) -> dict[str, object]:
        """The base, the settings that matter, and the version of the training script."""
        where = {"base_url": self.options.base_url} if self.options.base_url else {}
        return {"provider": "huggingface", "base": base, "settings": self.options.identity(), "algorithm": ALGORITHM, **where}

    def check(self, job: Job) -> list[str]:
        """Rows that cannot be learned from, and whether token, base and machine are there. Spends nothing."""
        problems = hosted.broken_rows("train", job.train, hosted.Limits()) + hosted.broken_rows("dev", job.dev, hosted.Limits(min_rows=0))
        for split, chats in (("train", job.train), ("dev", job.dev)):
            problems += [f"{split} row {n}: has no turn before its answer" for n, chat in enumerate(chats, 1) if len(chat) == 1][:_SHOWN]
        try:
            return problems + self._check_account() + self._check_base(job.base) + self._check_machine()
        except (ConfigError, ProviderError) as error:
            return [*problems, str(error)]

    def submit(self, job: Job) -> Handle:
        """Send the rows, then create the job once. Raises ProviderError; whether a job exists is then for `find` to say."""
        files = {f"{split}.jsonl": b"".join(map(hosted.line, rows)) for split, rows in (("train", job.train), ("dev", job.dev)) if rows}
        space = self._hub.namespace
        rows = f"{space}/evalh-rows-{digest({name: content.decode() for name, content in files.items()})}"
        self._hub.ensure_files(rows, files)
        self._hub.ensure_repository(output_of(space, job.key), "model")
        made = self._hub.buy(lambda: self._create(job, rows), lambda: self._find(job))
        return self._handle(job, made)

    def find(self, job: Job) -> Handle | None:
        """The job made for this intent; one that has not failed, if there are several."""
        found = self._find(job)
        return self._handle(job, found) if found else None

    def poll(self, handle: Handle) -> Status:
        """The job's state, losses so far, and the model once it is done and here. Spends nothing."""
        space, job_id, workdir = _parts(handle)
        found = self._hub.read(lambda: self._hub.api.inspect_job(job_id=job_id, namespace=space))
        stage = str(getattr(found.status.stage, "value", found.status.stage)).upper()
        state = STATES.get(stage, "running")
        detail = stage.lower() if stage in STATES else f"{stage.lower()} ({_UNKNOWN})"
        seconds = _seconds(found)
        cost = None if seconds is None else self._cost(seconds)
        if state == "succeeded":
            repo = self._repos.get(handle.provider_id) or _output(found, space)
            return self._finished(found, repo, workdir, seconds, cost)
        lines = self._lines(space, job_id) if state in ("running", "failed") else []
        points, total = self._curve(handle, lines)
        step = points[-1].step if points else None
        status = Status(state, detail, step, total, points, None, None, cost, seconds)
        return status if state not in FINAL else _ended(status, found, lines)

    def cancel(self, handle: Handle) -> None:
        """Stop the job; nothing if it is over."""
        space, job_id, _ = _parts(handle)
        try:
            self._hub.read(lambda: self._hub.api.cancel_job(job_id=job_id, namespace=space))
        except ProviderError as error:
            try:
                over = self.poll(handle).state in FINAL
            except NotThere:
                over = True
            if not over:
                raise ProviderError(f"job {job_id} could not be cancelled: {error}") from None

    def estimate(self, job: Job) -> float | None:
        """The machine's price for as long as the job may run at most."""
        return self._cost(self.options.timeout_seconds)

    def hourly(self, model: TrainedModel) -> float | None:
        """Nothing if it is served here, else the endpoint's machine."""
        return 0.0 if self._here else self._endpoints.price

    def serve(self, model: TrainedModel, key: str) -> Endpoint:
        """The base with the adapter on, here; or an Inference Endpoint that answers as the adapter's repository."""
        if not self._here:
            return self._endpoints.open(model, key)
        revision = model.identity.get("base revision")
        if self.options.base_url:  # the local model would look for its base at the hub that the environment names
            return Endpoint(f"local/{fetch_base(self._hub, model.identity['base'], revision)}", model.adapter)
        return Endpoint(model.model, model.adapter, options={"revision": revision} if revision else {})

    def served(self, key: str) -> Endpoint | None:
        """The endpoint that is open for this key."""
        return None if self._here else self._endpoints.opened(key)

    def release(self, endpoint: Endpoint) -> None:
        """Delete the endpoint, if there is one."""
        if endpoint.resource_id is not None:
            self._endpoints.close(endpoint.resource_id)

    @property
    def _here(self) -> bool:
        return self.options.serve.where == "local"

    def _create(self, job: Job, rows: str) -> str:
        space = self._hub.namespace
        output = output_of(space, job.key)
        words = ["--model_name_or_path", job.base, "--dataset_name", rows, "--hub_model_id", output, "--push_to_hub"]
        words += ["--seed", str(job.seed % 2**31), *self.options.arguments()]
        script = base64.b64encode(gzip.compress(SCRIPT.read_bytes(), mtime=0)).decode()
        environment = {_KEY_ENV: job.key, _SCRIPT_ENV: script, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONUNBUFFERED": "1"}
        if self._hub.url != HUB:
            environment["HF_ENDPOINT"] = self._hub.url
        made = self._hub.api.run_job(
            image=self.options.image, command=["sh", "-c", _START, "train", *words], env=environment,
            secrets={"HF_TOKEN": self._hub.token}, flavor=self.options.flavor, timeout=self.options.timeout_seconds,
            name=f"evalh-{hosted.suffix(job.label, job.key, 60)}", labels={_KEY: job.key}, namespace=space,
        )  # fmt: skip
        return str(made.id)

    def _find(self, job: Job) -> str | None:
        space, wait = self._hub.namespace, self.options.timeout_s
        jobs = self._hub.read(lambda: list(self._hub.api.list_jobs(labels={_KEY: job.key}, namespace=space, timeout=wait)))
        mine = [found for found in jobs if _is_for(found, job.key, space)]
        mine.sort(key=lambda found: STATES.get(str(found.status.stage).upper()) in ("failed", "cancelled"))
        return str(mine[0].id) if mine else None

    def _handle(self, job: Job, job_id: str) -> Handle:
        """Names the folder, too: whoever polls must know where the adapter goes."""
        space = self._hub.namespace
        handle = Handle(job.training_id, f"{space}/{job_id}#{Path(job.workdir).absolute()}")
        self._repos[handle.provider_id] = output_of(space, job.key)
        return handle

    def _finished(self, found: Any, repo: str, workdir: Path, seconds: float | None, cost: float | None) -> Status:
        try:
            result = fetch(self._hub, repo, workdir)
        except Unusable as error:
            why = f"the job completed, and {repo} is of no use: {error}"
            return Status("failed", "completed", seconds=seconds, cost_usd=cost, error=why)
        if result is None and self._just_now(found):
            return Status("running", "its result is being written", seconds=seconds, cost_usd=cost)
        if result is None:
            why = f"the job completed, and {repo} holds no adapter in safetensors"
            return Status("failed", "completed", seconds=seconds, cost_usd=cost, error=why)
        model, points = result
        tokens, steps = (int(number) if (number := hosted.number(model.facts.get(name))) else None for name in ("tokens", "steps"))
        step = steps or (points[-1].step if points else None)
        return Status("succeeded", "completed", step, step, points, model, tokens, cost, seconds)

    def _just_now(self, found: Any) -> bool:
        """It ended within the last minute; where its end is not told, it was first seen ended then."""
        now = datetime.datetime.now(datetime.UTC)
        ended = found.finished_at or self._ended_at.setdefault(str(found.id), now)
        return bool((now - ended).total_seconds() < _LATE_S)

    def _lines(self, space: str, job_id: str) -> list[str]:
        """The log's last lines; none where it cannot be read, because nothing depends on it."""
        api = self._hub.api
        return self._hub.known_or(
            lambda: list(itertools.islice(api.fetch_job_logs(job_id=job_id, namespace=space, follow=False, tail=_LINES), 4 * _LINES)), []
        )

    def _curve(self, handle: Handle, lines: list[str]) -> tuple[tuple[Point, ...], int | None]:
        before, total = self._points.get(handle.provider_id, ((), None))
        points, said = points_in(lines)
        self._points[handle.provider_id] = hosted.merged([*before, *points]), said or total
        return self._points[handle.provider_id]

    @functools.cached_property
    def _machines(self) -> list[Any]:
        """The machines that the service lists; empty where it lists none."""
        return list(self._hub.known_or(self._hub.api.list_jobs_hardware, []))

    def _cost(self, seconds: float) -> float | None:
        """Dollars for a job of so many seconds: whole minutes are billed (huggingface.co/docs/hub/jobs-pricing)."""
        hourly = self._price.usd_per_hour
        if hourly is None:
            machine = next((one for one in self._machines if one.name == self.options.flavor), None)
            times = _AN_HOUR.get(str(machine.unit_label)) if machine is not None else None
            unit = hosted.number(machine.unit_cost_usd) if machine is not None else None
            hourly = None if times is None or unit is None else unit * times
        return None if hourly is None else math.ceil(seconds / 60) * hourly / 60

    def _check_account(self) -> list[str]:
        access = self._hub.account.get("auth") or {}
        role = (access.get("accessToken") or {}).get("role") if isinstance(access, dict) else None
        return [f"the token in {self.options.api_key_env} may only read. Make one that may write"] if role == "read" else []

    def _check_base(self, base: str) -> list[str]:
        try:
            info = self._hub.read(lambda: self._hub.api.model_info(base, revision=self.options.revision, timeout=self.options.timeout_s))
            if getattr(info, "gated", None):
                self._hub.read(lambda: self._hub.api.auth_check(base))
        except NotThere:
            return [f"base {base!r} is not on the Hub, or not for this token. Give owner/name of a chat model there"]
        except ProviderError as error:
            return [f"base {base!r}: {error}"]
        names = [file.rfilename for file in info.siblings or []]
        if names and not any(name.endswith(".safetensors") for name in names):
            return [f"base {base!r} has no safetensors weights. Choose one that has; pickled weights are not read"]
        return []

    def _check_machine(self) -> list[str]:
        known = {machine.name: machine for machine in self._machines}
        machine = known.get(self.options.flavor)
        if machine is None:
            return [f"flavor {self.options.flavor!r} is not listed. There are {', '.join(known)}"] if known else []
        count = hosted.number(getattr(machine.accelerator, "quantity", None)) or 0
        return [f"flavor {machine.name!r} has {count:g} GPUs, and the training uses one. Choose one with a single GPU"] if count > 1 else []


class AutoTrainRunner(HfJobsRunner):
    """The same under AutoTrain's name, for trainer files that say so."""

    Options: ClassVar[type[protocols.Options]] = AutoTrainOptions
    name: ClassVar[str] = "autotrain"

    def __init__(self, options: AutoTrainOptions) -> None:
        super().__init__(options)
        _notice()


@functools.cache
def _notice() -> None:
    """Said once a process."""
    log.warning("AutoTrain has had no commit since January 2025; runner: autotrain trains by Hugging Face Jobs with TRL (runner: hf_jobs)")


def output_of(namespace: str, key: str) -> str:
    """The model repository that a job writes to."""
    return f"{namespace}/evalh-{re.sub(r'[^A-Za-z0-9-]+', '-', key)}"


def _is_for(found: Any, key: str, namespace: str) -> bool:
    told = [(found.labels or {}).get(_KEY), (found.environment or {}).get(_KEY_ENV)]
    if any(told):
        return key in told
    return output_of(namespace, key) in [*(found.command or []), *(found.arguments or [])]


def _output(found: Any, namespace: str) -> str:
    """The job's output repository, by what the service still tells of it. Raises ProviderError if that is nothing."""
    key = (found.labels or {}).get(_KEY) or (found.environment or {}).get(_KEY_ENV)
    if key:
        return output_of(namespace, str(key))
    words = [str(word) for word in (*(found.command or []), *(found.arguments or []))]
    if "--hub_model_id" in words[:-1]:
        return words[words.index("--hub_model_id") + 1]
    raise ProviderError(f"the service does not tell which repository job {found.id} wrote to")


def _parts(handle: Handle) -> tuple[str, str, Path]:
    where, _, workdir = handle.provider_id.partition("#")
    space, _, job_id = where.rpartition("/")
    return space, job_id, Path(workdir)


def _seconds(found: Any) -> float | None:
    """Seconds that it has run."""
    told = getattr(found.durations, "running_secs", None)
    if told is not None:
        return float(told)
    return (found.finished_at - found.started_at).total_seconds() if found.finished_at and found.started_at else None


def _ended(status: Status, found: Any, lines: list[str]) -> Status:
    """The status of a job that failed or was stopped, with the reason."""
    said, again = said_at_the_end(lines)
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    error = said or found.status.message or last or f"the job was {status.detail}"
    return Status(
        status.state, status.detail, status.step, status.total_steps, status.points, None, None, status.cost_usd, status.seconds,
        str(error)[:400], again,
    )  # fmt: skip
