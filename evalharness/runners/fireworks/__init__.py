"""Fine-tuning by Fireworks' datasets and jobs API, through its official SDK; scored on a deployment of its own.

    submit   fill the datasets that are not there yet (they are named by their content), then create once, SDK retries off
    find     the job whose id the intent key decides: there is one or there is none
    serve    a deployment named by the key: of the tuned model (live-merge), or of its base with the adapter loaded (addon)

Jobs take no seed: trainings that differ in it alone differ by chance. In YAML: `runner: fireworks`,
`base: llama-v3p1-8b-instruct`, `params: {epochs: 3, lora_rank: 16}`.

>>> FireworksRunner(FireworksOptions(epochs=3)).find(job)                                             # doctest: +SKIP
Handle(training_id='…', provider_id='accounts/…/supervisedFineTuningJobs/evalh-…')
"""

from __future__ import annotations

import functools
import logging
import time
from typing import TYPE_CHECKING, Any, ClassVar

from evalharness import protocols
from evalharness.buying import LOOKS_S, Denied, NotThere
from evalharness.errors import ConfigError, ProviderError, Refused
from evalharness.prices import price
from evalharness.records import FINAL, Endpoint, Handle, Job, Status, TrainedModel
from evalharness.runners import hosted
from evalharness.runners.fireworks import datasets, jobs
from evalharness.runners.fireworks.options import DEV_LIMITS, LIMITS, RANKS, FireworksOptions, ServeOptions
from evalharness.runners.fireworks.service import Json, Service, is_no_route, last
from evalharness.runners.fireworks.serving import FIRST_PAUSE_S, Deployments, Served

if TYPE_CHECKING:
    from fireworks import Fireworks

__all__ = ["FireworksOptions", "FireworksRunner", "ServeOptions"]

log = logging.getLogger("evalh")

_SIZES = ((16e9, "up to 16B"), (80e9, "up to 80B"), (300e9, "up to 300B"), (float("inf"), "over 300B"))
"""Tuning is priced by the base's parameters: names in the price book, after "lora " or "full "."""


class FireworksRunner:
    """Supervised fine-tuning jobs of Fireworks, or of whoever speaks its protocol."""

    Options: ClassVar[type[protocols.Options]] = FireworksOptions
    local: ClassVar[bool] = False
    looks_s: ClassVar[tuple[float, ...]] = LOOKS_S
    pause_s: ClassVar[float] = FIRST_PAUSE_S
    strict: ClassVar[bool] = False
    """Let the SDK refuse answers that differ from its types; off, because new fields and states must not stop a run."""

    def __init__(self, options: FireworksOptions) -> None:
        self.options = options
        price("fireworks", "", options.prices)  # the user's own prices are checked before anything is bought

    def identity(self, base: str) -> dict[str, object]:
        """The service, the base model and the settings; the address only where the trainer names one."""
        where = {"base_url": self.options.base_url} if self.options.base_url else {}
        return {"provider": "fireworks", "base": _full(base), "settings": self.options.settings(), **where}

    def check(self, job: Job) -> list[str]:
        """What the service would refuse, and whether it tunes the base, with these settings. Spends nothing, uploads nothing."""
        problems = hosted.broken_rows("train", job.train, LIMITS) + hosted.broken_rows("dev", job.dev, DEV_LIMITS)
        rank = self.options.lora_rank
        if rank and not RANKS[0] <= rank <= RANKS[1]:
            problems.append(f"lora_rank is {rank}, and the service takes {RANKS[0]} to {RANKS[1]}, or 0 to train all parameters")
        if self.options.eval_auto_carveout and job.dev:
            problems.append("eval_auto_carveout is for trainings without dev rows. Leave it out")
        try:
            _ = self._service.account  # a key for none or for several is told before anything is bought
            return problems + self._check_base(job.base)
        except (ConfigError, Denied) as error:
            return [*problems, str(error)]
        except ProviderError as error:  # no fault of the trainer's: the others of the suite can go on
            log.warning("base %r could not be checked: %s", job.base, error)
            return problems

    def submit(self, job: Job) -> Handle:
        """Fill the datasets, then create the job once. Raises ProviderError; whether a job exists is then for `find` to say."""
        asked = self._asked(job)
        name = self._name(job)

        def create(sdk: Fireworks) -> object:
            account = self._service.account
            return sdk.supervised_fine_tuning_jobs.create(account_id=account, supervised_fine_tuning_job_id=last(name), **asked)

        return Handle(job.training_id, self._service.buy(create, name, lambda: self._found(job)))

    def find(self, job: Job) -> Handle | None:
        """The job with the id that this intent decides. Raises Refused if somebody has made one of other rows by that id."""
        name = self._found(job)
        return None if name is None else Handle(job.training_id, name)

    def poll(self, handle: Handle) -> Status:
        """The job's state, losses so far, and the model once it is done. Spends nothing."""
        found = self._look(handle.provider_id)
        if found is None:
            raise NotThere(f"the service has no job {handle.provider_id}")
        state, model = jobs.state(found), None
        if state == "succeeded":
            state, model = self._finished(found, handle)
        points = self._points(found)
        return Status(
            state,
            detail=jobs.detail(found),
            step=points[-1].step if points else None,
            points=points,
            model=model,
            tokens=jobs.tokens(found),
            cost_usd=self._cost(found) if state == "succeeded" else None,
            seconds=jobs.seconds(found),
            error=jobs.reason(found) if state in ("failed", "cancelled") else None,
            again=not jobs.is_hopeless(found),
        )

    def cancel(self, handle: Handle) -> None:
        """Stop the job; nothing if it is over."""
        account, job = self._parts(handle.provider_id)
        try:
            self._service.sdk.supervised_fine_tuning_jobs.cancel(job, account_id=account, body={})
        except self._service.calls.errors as error:
            if self.poll(handle).state not in FINAL:
                raise ProviderError(f"job {handle.provider_id} could not be cancelled: {self._service.calls.said(error)}") from None

    def estimate(self, job: Job) -> float | None:
        """The service's own estimate for the uploaded rows (`estimate_by: service`), unless you name a price; else tokens counted here."""
        own = price("fireworks", "", self.options.prices)
        counted = hosted.tokens(job.train) * (self.options.epochs or hosted.USUAL_EPOCHS)
        if own.usd_per_million_training_tokens is not None:
            return own.of_training(counted)
        if self.options.estimate_by == "service":
            try:
                said = jobs.dollars(self._estimate(job).get("estimatedCost"))
            except (ProviderError, ConfigError) as error:
                log.info("%s: the service does not say what it will cost: %s", job.label, error)
            else:
                if said is not None:
                    return said
        size = self._size(job.base)
        return price("fireworks", size).of_training(counted) if size else None

    def hourly(self, model: TrainedModel) -> float | None:
        """The price of the accelerators named by `serve`, for all replicas that may run."""
        return self._deployments.hourly()

    def served(self, key: str) -> Endpoint | None:
        """The deployment named by this key, ready or not."""
        found = self._deployments.served(key)
        return None if found is None else self._endpoint(found)

    def serve(self, model: TrainedModel, key: str) -> Endpoint:
        """The tuned model on the deployment of this key, once it answers."""
        return self._endpoint(self._deployments.serve(model, key))

    def release(self, endpoint: Endpoint) -> None:
        """Delete its deployment; gone already is fine. Raises ProviderError if it may still run."""
        if endpoint.resource_id is not None:
            self._deployments.release(endpoint.resource_id)

    def _name(self, job: Job) -> str:
        return f"accounts/{self._service.account}/supervisedFineTuningJobs/{jobs.named(job.key)}"

    def _found(self, job: Job) -> str | None:
        """The name of the intent's job, if the service has it."""
        name = self._name(job)
        if (found := self._look(name)) is None:
            return None
        rows = last(str(found.get("dataset") or ""))
        if rows and rows != datasets.named(job, "train"):
            raise Refused(f"{name} is there already, and was trained on other rows ({rows}). Delete it, or rename the candidate's trainer")
        return name

    def _parts(self, name: str) -> tuple[str, str]:
        """A job's account and id; an id alone is of this account."""
        account = name.split("/")[1] if name.startswith("accounts/") else self._service.account
        return account, last(name)

    def _look(self, name: str) -> Json | None:
        account, job = self._parts(name)
        try:
            return self._service.read(lambda sdk: sdk.supervised_fine_tuning_jobs.get(job, account_id=account))
        except NotThere:
            return None

    def _asked(self, job: Job) -> dict[str, Any]:
        settings = self.options.settings()
        asked: dict[str, Any] = {"base_model": _full(job.base), "dataset": datasets.upload(self._service, job, "train")}
        if job.dev:
            asked["evaluation_dataset"] = datasets.upload(self._service, job, "dev")
        if "lr_scheduler" in settings:  # the SDK has no parameter for it yet
            asked["extra_body"] = {"lrScheduler": settings.pop("lr_scheduler")}
        return {**asked, **settings, "display_name": hosted.suffix(job.label, job.key, 60)}

    def _check_base(self, base: str) -> list[str]:
        try:
            found = self._model(base)
        except NotThere as error:
            return [] if is_no_route(error) else [f"base {base!r}: {error}"]  # a service that lists no models may still tune it
        full = self.options.lora_rank == 0
        flags = [found.get(name) for name in (("supervisedFullParameterTunable",) if full else ("supervisedLoraTunable", "tunable"))]
        if False in flags and True not in flags:
            how = "with all its parameters. Set lora_rank: 8, or choose another base" if full else "here. Choose another base"
            return [f"base {base!r} cannot be tuned {how}"]
        most, wished = found.get("trainingContextLength"), self.options.max_context_length
        if isinstance(most, int) and wished is not None and 0 < most < wished:
            return [f"max_context_length is {wished}, and the service trains this base on at most {most} tokens a row"]
        return []

    def _model(self, name: str) -> Json:
        account, model = self._parts(_full(name))
        return self._service.read(lambda sdk: sdk.models.get(model, account_id=account))

    def _estimate(self, job: Job) -> Json:
        asked = {"dataset": datasets.upload(self._service, job, "train"), "baseModel": _full(job.base)}
        known = {"epochs": self.options.epochs, "loraRank": self.options.lora_rank}
        body = {**asked, **{name: value for name, value in known.items() if value is not None}}
        path = f"/v1/accounts/{self._service.account}/supervisedFineTuningJobs:estimateCost"
        return self._service.optional(lambda sdk: sdk.post(path, cast_to=object, body=body))

    def _size(self, base: str) -> str:
        """The price book's name for tuning a base; empty where the service does not say how large it is."""
        try:
            details = self._model(base).get("baseModelDetails")
        except (ProviderError, ConfigError) as error:
            log.info("%s: the service does not say how large it is: %s", base, error)
            return ""
        parameters = hosted.number(details.get("parameterCount")) if isinstance(details, dict) else None
        size = next((name for most, name in _SIZES if parameters and parameters <= most), "")
        return f"{'full' if self.options.lora_rank == 0 else 'lora'} {size}" if size else ""

    def _cost(self, found: Json) -> float | None:
        """Your own price of the tokens that were trained on, where both are known; else what the service says that the job costs."""
        own = price("fireworks", "", self.options.prices).of_training(jobs.tokens(found) or 0) if jobs.tokens(found) else None
        return own if own is not None else jobs.dollars(found.get("estimatedCost"))

    def _finished(self, found: Json, handle: Handle) -> tuple[Any, TrainedModel | None]:
        """The state of a job that is done, and its model: it is written a moment later, and may have gone with an archived job."""
        account, _ = self._parts(handle.provider_id)
        name = jobs.output({"name": handle.provider_id, **found}, account)
        try:
            if self._shown_model(name).get("state") == "UPLOADING":
                return "running", None
        except NotThere as error:
            if jobs.word(found) == jobs.ARCHIVED and not is_no_route(error):
                return "cancelled", None
        identity = {"provider": "fireworks", "model": name}
        return "succeeded", TrainedModel(f"fireworks/{name}", None, identity, jobs.facts(found), self._checkpoints(handle))

    def _shown_model(self, name: str) -> Json:
        """A model that a job has just made: it may be shown a moment after the job says that it is done. Raises NotThere."""
        for pause in self.looks_s:
            time.sleep(pause)
            try:
                return self._model(name)
            except NotThere as error:
                absent = error
                if is_no_route(error):
                    break
        raise absent

    def _checkpoints(self, handle: Handle) -> tuple[str, ...]:
        """Those saved on the way, where the trainer wants some; the earliest first."""
        if self.options.sampler_checkpoint_save_interval_steps is None:
            return ()
        account, job = self._parts(handle.provider_id)
        path = f"/v1/accounts/{account}/supervisedFineTuningJobs/{job}/checkpoints"
        none: list[Json] = []
        saved = self._service.calls.optional(lambda: self._service.items(path, "checkpoints"), none)
        saved = [one for one in saved if one.get("name") and one.get("promotable") is not False]
        saved.sort(key=lambda one: (str(one.get("createTime") or ""), str(one["name"])))
        return tuple(f"fireworks/{path.removeprefix('/v1/')}/{last(str(one['name']))}" for one in saved)

    def _points(self, found: Json) -> tuple[Any, ...]:
        """The losses in the job's metrics file, if it has one yet. They are told, never needed: without them the job goes on."""
        url = str(found.get("metricsFileSignedUrl") or "")
        if not url:
            return ()
        try:
            return jobs.points(self._service.calls.read(lambda: self._service.fetch(url)))
        except ProviderError as error:
            log.info("%s: its metrics cannot be read: %s", last(str(found.get("name"))), error)
            return ()

    def _endpoint(self, found: Served) -> Endpoint:
        options = {"api_key_env": self.options.api_key_env} if "api_key_env" in self.options.model_fields_set else {}
        if self.options.base_url:
            options["base_url"] = f"{self._service.address}/inference/v1"
        return Endpoint(f"fireworks/{found.model}", resource_id=found.resource, options=options, usd_per_hour=found.usd_per_hour)

    @functools.cached_property
    def _service(self) -> Service:
        return Service(self.options, looks_s=self.looks_s, strict=self.strict)

    @functools.cached_property
    def _deployments(self) -> Deployments:
        return Deployments(self._service, self.pause_s)


def _full(base: str) -> str:
    """A model's full name; one word is a model of Fireworks' own."""
    return base if "/" in base else f"accounts/fireworks/models/{base}"
