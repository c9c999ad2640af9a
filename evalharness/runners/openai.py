"""Fine-tuning by OpenAI's files and jobs API, through its official SDK; other services that speak it by `base_url`.

    submit   upload what is not there yet (files are named by their content), then create once, SDK retries off
    find     the job whose metadata or name holds the intent key; the only way out of any doubt after a create
    serve    nothing to open: a tuned model answers under its name as long as its base does

In YAML: `runner: openai`, `base: gpt-4.1-mini-2025-04-14`, `params: {n_epochs: 3}`.

>>> OpenAIRunner(OpenAIOptions(n_epochs=3)).find(job)                                                 # doctest: +SKIP
Handle(training_id='…', provider_id='ftjob-…')
"""

from __future__ import annotations

import datetime
import functools
import logging
import os
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from evalharness import protocols
from evalharness.buying import LOOKS_S, Calls, Denied, NotThere, pages, plain, whole
from evalharness.errors import ConfigError, MissingExtra, ProviderError
from evalharness.ids import digest
from evalharness.prices import price
from evalharness.records import FINAL, Endpoint, Handle, Job, Point, State, Status, TrainedModel
from evalharness.runners import hosted

if TYPE_CHECKING:
    import openai

log = logging.getLogger("evalh")
Json = dict[str, Any]

LIMITS = hosted.Limits(min_rows=10, max_bytes=512 * 10**6, roles=frozenset({"system", "developer", "user", "assistant", "tool"}))
"""developers.openai.com, guide to supervised fine-tuning (at least 10 examples) and the API description of 2026-08-21 (512 MB a file)."""
DEV_LIMITS = hosted.Limits(max_bytes=LIMITS.max_bytes, roles=LIMITS.roles)
STATES: dict[str, State] = {
    "validating_files": "queued",
    "queued": "queued",
    "running": "running",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
}
_KEY = "evalh_key"


class OpenAIOptions(protocols.Options):
    """Where the service is, and the settings of its supervised method."""

    base_url: str | None = None
    """The API's address; OPENAI_BASE_URL, or OpenAI's own, if left out."""
    api_key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the key."""
    api_version: str | None = None
    """Azure OpenAI's, e.g. 2025-04-01-preview: it is sent with every call, and the key as Azure wants it (`api-key`)."""
    suffix: str = Field(default="", max_length=40)
    """A word for the tuned model's name; the candidate's label if left out."""
    n_epochs: Annotated[int, Field(ge=1, le=50)] | Literal["auto"] | None = None
    """Passes over the training rows; the service's choice if left out."""
    batch_size: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] | None = None
    """Rows per step."""
    learning_rate_multiplier: Annotated[float, Field(gt=0)] | Literal["auto"] | None = None
    """Times the service's own learning rate."""
    shutdown: Literal["warn", "refuse"] = "warn"
    """What to do about a base model whose end is announced, which ends the tuned model too."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Seconds for one call; uploads take ten times as long."""
    prices: dict[str, float] = Field(default_factory=dict)
    """Your prices over the price book, e.g. {usd_per_million_training_tokens: 25}; the trainer file's `prices:`."""


class OpenAIRunner:
    """Fine-tuning jobs of OpenAI, or of whoever speaks its protocol."""

    Options: ClassVar[type[protocols.Options]] = OpenAIOptions
    local: ClassVar[bool] = False
    looks_s: ClassVar[tuple[float, ...]] = LOOKS_S
    strict: ClassVar[bool] = False
    """Let the SDK refuse answers that differ from its types; off, because new fields and states must not stop a run."""

    def __init__(self, options: OpenAIOptions) -> None:
        self.options = options
        self._price = functools.partial(price, "openai", own=options.prices)
        self._price("")  # the user's own prices are checked before anything is bought
        self._points: dict[str, dict[str, Point]] = {}
        self._newest_first: set[str] = set()

    def identity(self, base: str) -> dict[str, object]:
        """The service, the base model and the hyperparameters; the address only where the trainer names one."""
        where = {"base_url": self.options.base_url} if self.options.base_url else {}
        return {"provider": "openai", "base": base, "hyperparameters": self._hyperparameters(), **where}

    def check(self, job: Job) -> list[str]:
        """What the service would refuse, and whether the base model is there and stays. Spends nothing."""
        problems = hosted.broken_rows("train", job.train, LIMITS) + hosted.broken_rows("dev", job.dev, DEV_LIMITS)
        try:
            return problems + self._check_base(job.base)
        except ConfigError as error:
            return [*problems, str(error)]

    def submit(self, job: Job) -> Handle:
        """Upload, then create the job once. Raises ProviderError; whether a job exists is then for `find` to say."""
        asked: dict[str, Any] = {
            "model": job.base,
            "training_file": self._upload(job, "train"),
            "method": {"type": "supervised", "supervised": {"hyperparameters": self._hyperparameters()}},
            "seed": job.seed % 2**31,
            "suffix": hosted.suffix(self.options.suffix or job.label, job.key, 64),
            "metadata": {_KEY: job.key},
        }
        if job.dev:
            asked["validation_file"] = self._upload(job, "dev")
        once, key = self._sdk.with_options(max_retries=0).fine_tuning.jobs, {"Idempotency-Key": job.key}
        made = self._calls.buy(lambda: whole(once.create(**asked, extra_headers=key), "id").id, lambda: self._find(job))
        return Handle(job.training_id, made)

    def find(self, job: Job) -> Handle | None:
        """The job made for this intent; one that has not failed, if there are several."""
        found = self._find(job)
        return Handle(job.training_id, found) if found else None

    def _find(self, job: Job) -> str | None:
        listed = self._sdk.fine_tuning.jobs.list
        jobs = self._calls.read(lambda: [plain(found) for found in pages(listed(limit=100, metadata={_KEY: job.key}))])
        mine = [found for found in jobs if found.get("id") and _is_for(found, job)]
        mine.sort(key=lambda found: found.get("status") in ("failed", "cancelled"))
        return str(mine[0]["id"]) if mine else None

    def poll(self, handle: Handle) -> Status:
        """The job's state, losses so far, and the model once it is done. Spends nothing."""
        found = self._calls.read(lambda: plain(self._sdk.fine_tuning.jobs.retrieve(handle.provider_id), "status"))
        state = STATES.get(str(found["status"]), "running")
        if state == "succeeded" and not found.get("fine_tuned_model"):
            state = "running"  # the name comes a moment after the state
        no_events: tuple[tuple[Point, ...], int | None] = (), None
        points, total = self._calls.optional(lambda: self._events(handle.provider_id), no_events)
        model = None
        if state == "succeeded":
            points, model = self._finished(found, points)
        said = hosted.number(found.get("trained_tokens"))
        tokens = None if said is None else int(said)
        began, ended = hosted.moment(found.get("created_at")), hosted.moment(found.get("finished_at"))
        return Status(
            state,
            detail=_detail(found),
            step=points[-1].step if points else None,
            total_steps=total,
            points=points,
            model=model,
            tokens=tokens,
            cost_usd=None if tokens is None else self._price(str(found.get("model"))).of_training(tokens),
            seconds=ended - began if ended is not None and began is not None else None,
            error=_reason(found) if state in ("failed", "cancelled") else None,
            again=not _error(found).get("param"),  # a parameter or file that was refused is refused again
        )

    def cancel(self, handle: Handle) -> None:
        """Stop the job; nothing if it is over."""
        try:
            self._sdk.fine_tuning.jobs.cancel(handle.provider_id)
        except self._calls.errors as error:
            if self.poll(handle).state not in FINAL:
                raise ProviderError(f"job {handle.provider_id} could not be cancelled: {self._calls.said(error)}") from None

    def estimate(self, job: Job) -> float | None:
        """Tokens counted from the rows, times the passes (3 where the service chooses), times the price of the base."""
        passes = self.options.n_epochs if isinstance(self.options.n_epochs, int) else hosted.USUAL_EPOCHS
        return self._price(job.base).of_training(hosted.tokens(job.train) * passes)

    def hourly(self, model: TrainedModel) -> float | None:
        """Nothing stays open: a tuned model costs by the token."""
        return 0.0

    def served(self, key: str) -> Endpoint | None:
        """Nothing stays open."""
        return None

    def serve(self, model: TrainedModel, key: str) -> Endpoint:
        """The tuned model's name, asked where it was trained."""
        asked_there = {"base_url", "api_key_env", "api_version", "prices"} & self.options.model_fields_set
        return Endpoint(model.model, options={name: getattr(self.options, name) for name in sorted(asked_there)})

    def priced_as(self, base: str) -> str:
        """The model whose price a model tuned from this base will have."""
        return f"openai/ft:{base}"

    def release(self, endpoint: Endpoint) -> None:
        """Nothing runs, so nothing is released."""

    def _hyperparameters(self) -> dict[str, object]:
        settings = {key: getattr(self.options, key) for key in ("n_epochs", "batch_size", "learning_rate_multiplier")}
        return {key: value for key, value in settings.items() if value is not None}

    def _check_base(self, base: str) -> list[str]:
        try:
            found = self._calls.read(lambda: plain(self._sdk.models.retrieve(base)))
        except (Denied, NotThere) as error:
            return [f"base {base!r}: {error}"]
        except ProviderError as error:  # no fault of the trainer's: what else the suite asks for can go on
            log.warning("base %r could not be checked: %s", base, error)
            return []
        ends = _day(found.get("shutdown_date"))
        if not ends:
            return []
        gone = ends <= datetime.date.today().isoformat()
        said = f"base {base!r}: {'was shut down' if gone else 'will be shut down'} on {ends}, and models tuned from it with it"
        if gone or self.options.shutdown == "refuse":
            return [f"{said}. Choose another base{'' if gone else ', or set shutdown: warn'}"]
        log.warning("%s", said)
        return []

    def _upload(self, job: Job, split: Literal["train", "dev"]) -> str:
        """The id of the file with these rows: found by its name, else uploaded. An upload costs nothing, a lost one is found."""
        path = Path(job.workdir) / f"{split}.jsonl"
        name = hosted.write_rows(getattr(job, split), path)

        def there() -> Json | None:
            files = self._calls.read(lambda: [plain(file) for file in pages(self._sdk.files.list(purpose="fine-tune"))])
            same = (file for file in files if file.get("filename") == name and hosted.number(file.get("bytes")) == path.stat().st_size)
            return next((file for file in same if file.get("status") not in ("error", "deleted") and file.get("id")), None)

        def upload() -> Json:
            once = self._sdk.with_options(max_retries=0, timeout=10 * self.options.timeout_s)
            with path.open("rb") as content:
                return plain(once.files.create(file=(name, content), purpose="fine-tune"), "id")

        file = there() or self._calls.upload(upload, there)
        self._calls.settle(file.get("status"), lambda: plain(self._sdk.files.retrieve(str(file["id"]))).get("status"))
        return str(file["id"])

    def _events(self, job_id: str) -> tuple[tuple[Point, ...], int | None]:
        """All points logged so far, and the number of steps if it was said.

        OpenAI lists the newest first, so that known ones end the reading; who lists them otherwise is read to the end.
        """
        known, fresh, total, times = self._points.get(job_id, {}), {}, None, list[float | None]()
        for event in map(plain, pages(self._sdk.fine_tuning.jobs.list_events(job_id, limit=100))):
            data, message = event.get("data") if isinstance(event.get("data"), dict) else {}, str(event.get("message") or "")
            said, steps = hosted.point_said(message)
            total = total or int(hosted.number((data or {}).get("total_steps")) or steps or 0) or None
            times.append(hosted.moment(event.get("created_at")))
            name = str(event.get("id") or digest(event))
            if name in known and job_id in self._newest_first:
                break
            if (point := hosted.point({**said, **(data or {})})) is not None:
                fresh[name] = point
        if _falls(times):
            self._newest_first.add(job_id)
        self._points[job_id] = {**fresh, **{name: point for name, point in known.items() if name not in fresh}}
        return hosted.merged(reversed(self._points[job_id].values())), total

    def _finished(self, found: Json, points: tuple[Point, ...]) -> tuple[tuple[Point, ...], TrainedModel]:
        """The tuned model with its checkpoints, and the points with the result file's."""
        jobs, files = self._sdk.fine_tuning.jobs, self._sdk.files
        for file in found.get("result_files") or []:
            content = self._calls.optional(functools.partial(_content, files, str(file)), b"")
            points = hosted.merged([*hosted.csv_points(content), *points])
        none = list[Json]()
        saved = self._calls.optional(lambda: [plain(one) for one in pages(jobs.checkpoints.list(found["id"], limit=100))], none)
        saved.sort(key=lambda one: hosted.number(one.get("step_number")) or 0)
        tuned, names = str(found["fine_tuned_model"]), [one.get("fine_tuned_model_checkpoint") for one in saved]
        settings = found.get("hyperparameters") if isinstance(found.get("hyperparameters"), dict) else {}
        facts: dict[str, float | int | str | None] = {k: v for k, v in (settings or {}).items() if isinstance(v, int | float | str)}
        base = self._calls.optional(lambda: plain(self._sdk.models.retrieve(str(found.get("model")))), Json())
        if ends := base.get("shutdown_date"):
            facts["shutdown_date"] = _day(ends)  # a tuned model ends with its base
        return points, TrainedModel(
            f"openai/{tuned}",
            None,
            {"provider": "openai", "model": tuned},
            {**facts, "trained_tokens": found.get("trained_tokens")},
            tuple(f"openai/{name}" for name in names if name and name != tuned),
        )

    @functools.cached_property
    def _calls(self) -> Calls:
        return Calls((_package().APIError,), hosted.api_key(self.options.api_key_env, "openai"), self.looks_s)

    @functools.cached_property
    def _sdk(self) -> openai.OpenAI:
        """The SDK's client. Its retries are for reads; creates switch them off."""
        key, version = hosted.api_key(self.options.api_key_env, "openai"), self.options.api_version
        azure = {"default_headers": {"api-key": key}, "default_query": {"api-version": version}} if version else {}
        made: openai.OpenAI = _package().OpenAI(
            api_key=key,
            **azure,
            base_url=self.options.base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1",
            max_retries=4,
            timeout=self.options.timeout_s,
            _strict_response_validation=self.strict,
        )
        weakref.finalize(self, made.close)  # the SDK's objects refer to each other, so nobody knows when they would be collected
        return made


def _package() -> Any:
    try:
        import openai
    except ModuleNotFoundError as error:
        raise MissingExtra("openai", "hosted", "the runner 'openai'") from error
    return openai


def _content(files: Any, file: str) -> bytes:
    found: bytes = files.content(file).content
    return found


def _is_for(found: Json, job: Job) -> bool:
    metadata = found.get("metadata")
    if isinstance(metadata, dict) and _KEY in metadata:
        return bool(metadata[_KEY] == job.key)
    # A service that keeps no metadata shows the suffix, at the latest in the tuned model's name.
    return any(job.key[:12] in str(found.get(field) or "") for field in ("user_provided_suffix", "suffix", "fine_tuned_model"))


def _error(found: Json) -> Json:
    error = found.get("error")
    return error if isinstance(error, dict) else {"message": error}


def _reason(found: Json) -> str:
    return " ".join(str(_error(found).get("message") or f"the job was {found['status']}").split())


def _detail(found: Json) -> str:
    said = str(found["status"])
    detail = said.replace("_", " ") + ("" if said in STATES else " (a state evalh does not know)")
    if (ends := hosted.moment(found.get("estimated_finish"))) is not None:
        detail += f", done about {datetime.datetime.fromtimestamp(ends, datetime.UTC):%H:%M} UTC"
    return detail


def _day(said: object) -> str:
    """A date as 2027-01-14, out of one, a time stamp in seconds, or a text with it; empty for none."""
    seconds = hosted.moment(said)
    return str(said or "") if seconds is None else datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat()


def _falls(times: list[float | None]) -> bool:
    """The list is certainly one with the newest first."""
    known = [each for each in times if each is not None]
    return len(known) == len(times) > 1 and known[0] > known[-1] and known == sorted(known, reverse=True)
