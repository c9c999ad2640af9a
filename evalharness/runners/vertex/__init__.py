"""Fine-tuning of Gemini by Vertex AI's tuning jobs, through google-genai; training files through google-cloud-storage.

    submit   upload what is not in the bucket yet (objects are named by their content), then create once, SDK retries off
    find     the job whose label holds the intent key; the only way out of any doubt after a create
    serve    nothing to open: a tuned model answers at its endpoint, which costs by the token

In YAML: `runner: vertex`, `base: gemini-2.5-flash`, `params: {bucket: gs://my-bucket, epoch_count: 3}`. Project, location and
credentials come from options or the environment (see `evalharness.google`). The service takes no seed: trainings of several seeds
differ by its own chance. Its losses are kept in an experiment that the tuning API does not show; steps and checkpoints it does show.

>>> VertexRunner(VertexOptions(bucket="gs://my-bucket")).find(job)                                     # doctest: +SKIP
Handle(training_id='…', provider_id='projects/…/locations/us-central1/tuningJobs/…')
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from pydantic import Field

from evalharness import google, protocols
from evalharness.buying import LOOKS_S, Calls, Denied, NotThere, asked_wait, status_of, whole
from evalharness.errors import ConfigError, MissingExtra, Problem, ProviderError
from evalharness.prices import price
from evalharness.records import FINAL, Endpoint, Handle, Job, Status, TrainedModel
from evalharness.runners import hosted
from evalharness.runners.vertex import jobs, rows
from evalharness.runners.vertex.bucket import Bucket

if TYPE_CHECKING:
    from google import genai

log = logging.getLogger("evalh")

SIZES = {1: "ONE", 2: "TWO", 4: "FOUR", 8: "EIGHT", 16: "SIXTEEN", 32: "THIRTY_TWO"}
USUAL_EPOCHS = 20
"""What is assumed where the service is left to choose, which it does by the number of rows: on the dear side, for budgets to hold."""
_NAME = "the runner 'vertex'"
_AGAIN = 4
"""So often a read is tried after the first time."""
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
T = TypeVar("T")


class VertexOptions(protocols.Options):
    """Where the service is, and the settings of its supervised tuning."""

    bucket: str = ""
    """The Cloud Storage bucket for training files, with a folder if you like; GOOGLE_CLOUD_STORAGE_BUCKET if left out."""
    project: str | None = None
    """The Google Cloud project; GOOGLE_CLOUD_PROJECT if left out."""
    location: str | None = None
    """The region that trains and keeps the model; GOOGLE_CLOUD_LOCATION, or us-central1, if left out."""
    base_url: str | None = None
    """The API's address; GOOGLE_VERTEX_BASE_URL, or the region's own, if left out."""
    storage_url: str | None = None
    """Cloud Storage's address; STORAGE_EMULATOR_HOST, or Google's own, if left out."""
    api_key_env: str | None = None
    """The environment variable that holds an access token; GOOGLE_OAUTH_ACCESS_TOKEN if left out, then application default credentials."""
    display_name: str = Field(default="", max_length=100)
    """A word for the tuned model's name; the candidate's label if left out."""
    epoch_count: int | None = Field(default=None, ge=1)
    """Passes over the training rows; the service's choice if left out."""
    learning_rate_multiplier: float | None = Field(default=None, gt=0)
    """Times the service's own learning rate."""
    adapter_size: Literal[1, 2, 4, 8, 16, 32] | None = None
    """Rank of the adapter; which ones a model takes is the service's to say."""
    export_last_checkpoint_only: bool = False
    """Keep no model of the epochs before the last."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Seconds for one call; uploads take ten times as long."""
    prices: dict[str, float] = Field(default_factory=dict)
    """Your prices over the price book, e.g. {usd_per_million_training_tokens: 5}; the trainer file's `prices:`."""


class VertexRunner:
    """Tuning jobs of Vertex AI."""

    Options: ClassVar[type[protocols.Options]] = VertexOptions
    local: ClassVar[bool] = False
    looks_s: ClassVar[tuple[float, ...]] = LOOKS_S
    pause_s: ClassVar[float] = 0.5
    """First pause before a read is tried again."""

    def __init__(self, options: VertexOptions) -> None:
        self.options = options
        self._price = functools.partial(price, "vertex", own=options.prices)
        self._price("")  # the user's own prices are checked before anything is bought
        self._told: set[str] = set()

    def identity(self, base: str) -> dict[str, object]:
        """The service, the base model and the hyperparameters; the address only where the trainer names one."""
        where = {"base_url": self.options.base_url} if self.options.base_url else {}
        return {"provider": "vertex", "base": base, "hyperparameters": self._hyperparameters(), **where}

    def check(self, job: Job) -> list[str]:
        """What the service would refuse or drop, and whether project, bucket and base are there. Spends nothing."""
        problems = rows.broken("train", job.train) + (rows.broken("dev", job.dev) if job.dev else [])
        try:
            return problems + self._check_bucket() + self._check_base(job.base)
        except ConfigError as error:
            return [*problems, str(error)]

    def submit(self, job: Job) -> Handle:
        """Upload, then create the job once. Raises ProviderError; whether a job exists is then for `find` to say."""
        config: dict[str, Any] = {
            "tuned_model_display_name": hosted.suffix(self.options.display_name or job.label, job.key, 128),
            "labels": {jobs.LABEL: jobs.label(job.key)},
            "export_last_checkpoint_only": self.options.export_last_checkpoint_only or None,
            **self._hyperparameters(),
        }
        data = {"gcs_uri": self._upload(job, "train")}
        if job.dev:
            config["validation_dataset"] = {"gcs_uri": self._upload(job, "dev")}

        def create() -> str:
            return str(whole(self._sdk.tunings.tune(base_model=job.base, training_dataset=data, config=config), "name").name)

        return Handle(job.training_id, self._calls.buy(create, lambda: self._find(job)))

    def find(self, job: Job) -> Handle | None:
        """The job made for this intent; one that has not failed, if there are several."""
        found = self._find(job)
        return Handle(job.training_id, found) if found else None

    def _find(self, job: Job) -> str | None:
        """By the service's own filter; where that finds nothing, or is not known, among all jobs: not found must mean not there."""
        mine = [found for found in self._listed(f'labels.{jobs.LABEL}="{jobs.label(job.key)}"') if jobs.is_for(found, job)]
        mine = mine or [found for found in self._listed(None) if jobs.is_for(found, job)]
        mine.sort(key=lambda found: jobs.state(found) in ("failed", "cancelled"))
        return str(mine[0].name) if mine else None

    def _listed(self, only: str | None) -> list[Any]:
        config = {"page_size": 100, **({"filter": only} if only else {})}

        def pages() -> list[Any]:
            page, found = self._again(lambda: self._sdk.tunings.list(config=config)), []  # type: ignore[arg-type]
            while True:
                if _is_empty(page):
                    raise ValueError("an empty answer is no list")
                found += [job for job in page.page if job.name]
                if not page.config.get("page_token"):
                    return found
                self._again(page.next_page)

        try:
            return self._calls.read(pages)
        except ProviderError:
            if only is None:
                raise
            return []  # a filter that is not understood finds nothing: the whole list decides

    def poll(self, handle: Handle) -> Status:
        """The job's state and steps so far, and the model once it is done. Spends nothing."""
        name = jobs.resource(handle.provider_id)
        found = self._calls.read(lambda: whole(self._again(lambda: self._sdk.tunings.get(name=name)), "name"))
        state, total, tokens = jobs.state(found), jobs.number(jobs.stats(found), "tuning_step_count"), self._tokens(found)
        model = self._model(found, tokens) if state == "succeeded" else None
        return Status(
            state,
            detail=jobs.detail(found),
            step=total if model else jobs.number(found.tuning_job_metadata, "completed_step_count"),
            total_steps=total,
            points=jobs.points(found) if model else (),
            model=model,
            tokens=tokens,
            cost_usd=self._price(str(found.base_model)).of_training(tokens) if tokens is not None and model else None,
            seconds=(found.end_time - found.start_time).total_seconds() if found.start_time and found.end_time else None,
            error=jobs.reason(found) if state in ("failed", "cancelled") else None,
            again=not jobs.is_hopeless(found),
        )

    def cancel(self, handle: Handle) -> None:
        """Stop the job; nothing if it is over."""
        try:
            self._sdk.tunings.cancel(name=jobs.resource(handle.provider_id))
        except self._calls.errors as error:
            if self.poll(handle).state not in FINAL:
                raise ProviderError(f"job {handle.provider_id} could not be cancelled: {self._calls.said(error)}") from None

    def estimate(self, job: Job) -> float | None:
        """Tokens counted from the rows, times the passes (20 if the service is to choose), times the price of the base."""
        return self._price(job.base).of_training(hosted.tokens(job.train) * (self.options.epoch_count or USUAL_EPOCHS))

    def hourly(self, model: TrainedModel) -> float | None:
        """Nothing stays open: a tuned Gemini's endpoint costs by the token."""
        return 0.0

    def served(self, key: str) -> Endpoint | None:
        """Nothing stays open."""
        return None

    def serve(self, model: TrainedModel, key: str) -> Endpoint:
        """The tuned model's endpoint, asked where it was trained, at its base's price."""
        asked_there = {"base_url", "api_key_env"} & self.options.model_fields_set
        options: dict[str, object] = {name: getattr(self.options, name) for name in sorted(asked_there)}
        if base := model.facts.get("base_model"):
            options["tuned_from"] = base
        if self.options.prices:
            options["prices"] = dict(self.options.prices)
        return Endpoint(model.model, options=options)

    def priced_as(self, base: str) -> str:
        """The model whose price a model tuned from this base will have."""
        return f"vertex/{base}"

    def release(self, endpoint: Endpoint) -> None:
        """Nothing runs, so nothing is released."""

    def _hyperparameters(self) -> dict[str, object]:
        size = f"ADAPTER_SIZE_{SIZES[self.options.adapter_size]}" if self.options.adapter_size else None
        settings = {
            "epoch_count": self.options.epoch_count,
            "learning_rate_multiplier": self.options.learning_rate_multiplier,
            "adapter_size": size,
        }
        return {key: value for key, value in settings.items() if value is not None}

    def _check_bucket(self) -> list[str]:
        if not self._place:
            return ["bucket: training files need a Cloud Storage bucket. Set bucket, or GOOGLE_CLOUD_STORAGE_BUCKET"]
        try:
            self._calls.read(lambda: self._bucket.holds("evalh-check", 0))
        except (Denied, NotThere) as error:
            return [f"bucket {self._place!r}: {error}"]
        except ProviderError as error:  # no fault of the trainer's: what else the suite asks for can go on
            log.warning("bucket %r could not be checked: %s", self._place, error)
        return []

    def _check_base(self, base: str) -> list[str]:
        """Counts a word's tokens, which costs nothing, to see that the base is there and the credentials are good."""
        if self._location == "global":
            return ["location: tuning happens in a region. Set location, e.g. us-central1"]
        if base.startswith("projects/"):  # a model that was tuned before, to be tuned on
            return []
        try:
            self._again(lambda: self._sdk.models.count_tokens(model=base, contents="Hi"))
        except self._calls.errors as error:
            said = self._calls.said(error)
            if _is_about_the_question(status_of(error), said, base):
                return []
            if self._calls.refused(error):
                return [f"base {base!r}: {said}"]
            log.warning("base %r could not be checked: %s", base, said)
        return []

    def _upload(self, job: Job, split: Literal["train", "dev"]) -> str:
        """The address of the object with these rows: found by its name, else uploaded. An upload is free, a lost one is found."""
        if not self._place:
            raise ConfigError([Problem("", "bucket", "training files need a Cloud Storage bucket", "Set bucket")])
        path = Path(job.workdir) / f"{split}.jsonl"
        name = rows.write(getattr(job, split), path)
        uri, size = self._bucket.uri(name), path.stat().st_size

        def there() -> str | None:
            return uri if self._calls.read(lambda: self._bucket.holds(name, size)) else None

        def upload() -> str:
            self._bucket.put(name, path)
            return uri

        return there() or self._calls.upload(upload, there)

    def _model(self, found: Any, tokens: int | None) -> TrainedModel:
        """The tuned model with its checkpoints; rows that the service dropped are told, once."""
        if (told := jobs.dropped(found)) and told not in self._told:
            self._told.add(told)
            log.warning("%s", told)
        endpoint, stats = jobs.endpoint(found), jobs.stats(found)
        facts: dict[str, float | int | str | None] = {
            **jobs.settings(found),
            "base_model": found.base_model,
            "tuned_model": found.tuned_model.model,
            "experiment": found.experiment,
            "rows": jobs.number(stats, "tuning_dataset_example_count"),
            "truncated_rows": jobs.number(stats, "total_truncated_example_count"),
            "trained_tokens": tokens,
        }
        others = [str(one.endpoint) for one in jobs.checkpoints(found) if one.endpoint and one.endpoint != endpoint]
        return TrainedModel(
            f"vertex/{endpoint}",
            None,
            {"provider": "vertex", "model": endpoint},
            {key: value for key, value in facts.items() if value is not None},
            tuple(f"vertex/{other}" for other in dict.fromkeys(others)),
        )

    def _tokens(self, found: Any) -> int | None:
        """Trained tokens of all epochs: the service counts those of one."""
        once = jobs.number(jobs.stats(found), "total_billable_token_count")
        epochs = jobs.settings(found).get("epoch_count") or self.options.epoch_count
        return once * epochs if once is not None and isinstance(epochs, int) else None

    @property
    def _location(self) -> str:
        return google.location(self.options.location, "us-central1")

    @property
    def _place(self) -> str:
        return self.options.bucket or os.environ.get("GOOGLE_CLOUD_STORAGE_BUCKET", "")

    def _again(self, read: Callable[[], T]) -> T:
        """What `read` returns, tried again where that may help; the SDK's own retries leave lost connections out."""
        for turn in range(_AGAIN):
            try:
                return read()
            except self._calls.errors as error:
                wait = _after(error)
                if wait is None:
                    raise
                time.sleep(max(wait, self.pause_s * 2**turn))
        return read()

    @functools.cached_property
    def _bucket(self) -> Bucket:
        url = google.storage_address(self.options.storage_url)
        emulated = google.is_here(url) or bool(os.environ.get("STORAGE_EMULATOR_HOST"))
        signed = google.credentials(self.options.api_key_env, _NAME, anonymous=emulated)
        project = google.project(self.options.project, _NAME)
        return Bucket(self._place, google.nobody(signed), project, url, self.options.timeout_s, self.pause_s)

    @functools.cached_property
    def _calls(self) -> Calls:
        return Calls(_sdk_errors(), google.token(self.options.api_key_env), self.looks_s)

    @functools.cached_property
    def _sdk(self) -> genai.Client:
        """The SDK's client, which sends everything once; reads are tried again here."""
        url, version = google.versioned(google.address(self._location, self.options.base_url))
        made: genai.Client = _package().Client(
            vertexai=True,
            credentials=google.credentials(self.options.api_key_env, _NAME, anonymous=google.is_here(url)),
            project=google.project(self.options.project, _NAME),
            location=self._location,
            http_options={
                "base_url": url,
                "api_version": version,
                "timeout": int(1000 * self.options.timeout_s),
                "retry_options": {"attempts": 1},
            },
        )
        return made


def _lost_connections() -> tuple[type[Exception], ...]:
    """What google-genai raises, over whichever of its two HTTP clients is installed, when no answer came."""
    clients = [importlib.import_module(name) for name in ("httpx", "httpx2") if importlib.util.find_spec(name)]
    return tuple(client.HTTPError for client in clients)


def _sdk_errors() -> tuple[type[Exception], ...]:
    genai = _package()
    try:
        import requests
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "vertex", _NAME) from error
    return (genai.errors.APIError, GoogleAPIError, GoogleAuthError, requests.RequestException, *_lost_connections())


def _is_about_the_question(status: int | None, said: str, base: str) -> bool:
    """The service does not know how to count tokens, which says nothing of the base; a missing base is named in the answer."""
    return status in (405, 501) or (status in (400, 404) and (base not in said or "countTokens" in said))


def _after(error: Exception) -> float | None:
    """Seconds before the same read may be tried again; None if that would not help."""
    if not isinstance(error, _lost_connections()) and status_of(error) not in _PASSING:
        return None
    return asked_wait(error) or 0.0


def _is_empty(page: Any) -> bool:
    """No body at all came, which the SDK takes for a list without jobs."""
    headers = getattr(page.sdk_http_response, "headers", None) or {}
    return bool(headers.get("content-length") == "0")


def _package() -> Any:
    try:
        from google import genai
    except ModuleNotFoundError as error:
        raise MissingExtra("google-genai", "vertex", _NAME) from error
    # New states and the SDK's notes on itself are no defects of a run.
    warnings.filterwarnings("ignore", module=r"google\.genai")
    warnings.filterwarnings("ignore", message="The SDK's tuning implementation is experimental")
    return genai
