"""Fine-tuning by Together's files and jobs API, through its official SDK; scored on hardware of its own, by the token, or here.

    submit   upload what is not there yet and let the service check it, then create once, SDK retries off
    find     the job whose suffix holds the intent key; the only way out of any doubt after a create
    serve    a dedicated endpoint named by the key (v2, or v1 where there is no v2), serverless, or the adapter on this machine

In YAML: `runner: together`, `base: meta-llama/Meta-Llama-3.1-8B-Instruct-Reference`, `params: {n_epochs: 3, lora_r: 16}`.

>>> TogetherRunner(TogetherOptions(n_epochs=3)).find(job)                                             # doctest: +SKIP
Handle(training_id='…', provider_id='ft-…')
"""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any, ClassVar

from evalharness import protocols
from evalharness.buying import LOOKS_S, Denied, NotThere
from evalharness.errors import ConfigError, ProviderError
from evalharness.ids import file_digest
from evalharness.prices import price
from evalharness.records import FINAL, Endpoint, Handle, Job, Status, TrainedModel
from evalharness.runners import hosted
from evalharness.runners.together import adapter, files, jobs
from evalharness.runners.together.options import LIMITS, ServeOptions, TogetherOptions, beyond
from evalharness.runners.together.service import Json, Service
from evalharness.runners.together.serving import FIRST_PAUSE_S, Api, Dedicated
from evalharness.runners.together.v1 import V1
from evalharness.runners.together.v2 import V2

__all__ = ["ServeOptions", "TogetherOptions", "TogetherRunner"]

log = logging.getLogger("evalh")


class TogetherRunner:
    """Fine-tuning jobs of Together, or of whoever speaks its protocol."""

    Options: ClassVar[type[protocols.Options]] = TogetherOptions
    local: ClassVar[bool] = False
    looks_s: ClassVar[tuple[float, ...]] = LOOKS_S
    pause_s: ClassVar[float] = FIRST_PAUSE_S
    strict: ClassVar[bool] = False
    """Let the SDK refuse answers that differ from its types; off, because new fields and states must not stop a run."""

    def __init__(self, options: TogetherOptions) -> None:
        self.options = options
        self._price = functools.partial(price, "together", own=options.prices)
        self._price("")  # the user's own prices are checked before anything is bought

    def identity(self, base: str) -> dict[str, object]:
        """The service, the base model and the settings; the address only where the trainer names one."""
        where = {"base_url": self.options.base_url} if self.options.base_url else {}
        return {"provider": "together", "base": base, "settings": self.options.settings(), **where}

    def check(self, job: Job) -> list[str]:
        """What the service would refuse, and whether it trains the base, with these settings. Spends nothing, uploads nothing."""
        problems = hosted.broken_rows("train", job.train, LIMITS)
        problems += hosted.broken_rows("dev", job.dev, LIMITS) if job.dev else []
        if self.options.early_stopping_enabled and not job.dev:
            problems.append("early_stopping_enabled needs dev rows to look at")
        try:
            return problems + self._check_base(job)
        except ConfigError as error:
            return [*problems, str(error)]
        except Denied as error:
            return [*problems, f"base {job.base!r}: {error}"]
        except ProviderError as error:  # no fault of the trainer's: the others of the suite can go on
            log.warning("base %r could not be checked: %s", job.base, error)
            return problems

    def submit(self, job: Job) -> Handle:
        """Upload, then create the job once. Raises ProviderError; whether a job exists is then for `find` to say."""
        from together.types import FineTuningCancelResponse  # the type of a job in short, which a create answers

        asked = self._asked(job, files.upload(self._service, job, "train"))
        if job.dev:
            asked["validation_file"] = files.upload(self._service, job, "dev")
        # Not fine_tuning.create: it asks for limits and a price first, and fails where a service has neither.
        made = self._service.buy(
            lambda sdk: sdk.post("/v1/fine-tunes", cast_to=FineTuningCancelResponse, body=asked), lambda: self._find(job)
        )
        return Handle(job.training_id, made)

    def find(self, job: Job) -> Handle | None:
        """The job made for this intent; one that has not failed, if there are several."""
        found = self._find(job)
        return Handle(job.training_id, found) if found else None

    def poll(self, handle: Handle) -> Status:
        """The job's state, losses so far, and the model once it is done. Spends nothing."""
        service, job = self._service, handle.provider_id
        found = service.read(lambda sdk: sdk.fine_tuning.retrieve(job), "status")
        events = service.optional_items(lambda sdk: sdk.fine_tuning.list_events(job)) or found.get("events") or []
        metrics = service.optional(lambda sdk: sdk.fine_tuning.list_metrics(job)).get("metrics") or []
        model = self._model(found) if jobs.state(found) == "succeeded" else None
        tokens = hosted.number(found.get("token_count"))
        cost = None if not tokens else self._price(str(found.get("model"))).of_training(int(tokens))
        return jobs.status(found, events, metrics, model, cost)

    def cancel(self, handle: Handle) -> None:
        """Stop the job; nothing if it is over."""
        try:
            self._service.sdk.fine_tuning.cancel(handle.provider_id)
        except self._service.calls.errors as error:
            if self.poll(handle).state not in FINAL:
                raise ProviderError(f"job {handle.provider_id} could not be cancelled: {self._service.calls.said(error)}") from None

    def estimate(self, job: Job) -> float | None:
        """What the service says the uploaded rows will cost (`estimate_by: service`); else tokens counted here, times the base's price."""
        if self.options.estimate_by == "service":
            try:
                said = self._estimate(job)
            except (ProviderError, ConfigError) as error:
                log.info("%s: the service does not say what it will cost: %s", job.label, error)
            else:
                if said is not None:
                    return said
        passes = self.options.n_epochs or 1
        return self._price(job.base).of_training(hosted.tokens(job.train) * passes + hosted.tokens(job.dev) * self.options.evals(job))

    def hourly(self, model: TrainedModel) -> float | None:
        """The price of the hardware it would be served on; 0.0 where none is rented."""
        try:
            return self._dedicated.hourly(model) if self.options.serve.where == "endpoint" else 0.0
        except (ProviderError, ConfigError) as error:
            log.info("the service does not say what an hour costs: %s", error)
            return None

    def served(self, key: str) -> Endpoint | None:
        """The endpoint named by this key, ready or not."""
        if self.options.serve.where != "endpoint" or (found := self._dedicated.find(key)) is None:
            return None
        now = found[0].look(found[1])
        return self._endpoint(now.model, found[1], now.usd_per_hour)

    def serve(self, model: TrainedModel, key: str) -> Endpoint:
        """The endpoint of this key, once it answers; the model's name if it is served by the token; a local base wearing the adapter."""
        if self.options.serve.where == "serverless":
            return self._endpoint(model.model.removeprefix("together/"), None, None)
        if self.options.serve.where == "local":
            folder = self._adapter(str(model.facts.get("job") or ""), jobs.step_of(model))
            base = self.options.serve.base or adapter.base_of(folder) or str(model.facts.get("base") or "")
            return Endpoint(f"local/{base}", adapter=str(folder), usd_per_hour=0.0)
        resource, now = self._dedicated.serve(model, key)
        return self._endpoint(now.model, resource, now.usd_per_hour)

    def priced_as(self, base: str) -> str | None:
        """The model whose price a model tuned from this base will have, where it is paid for by the token; local where nothing is."""
        return {"serverless": f"together/{base}", "local": f"local/{base}"}.get(self.options.serve.where)

    def release(self, endpoint: Endpoint) -> None:
        """Delete its endpoint; gone already is fine. Raises ProviderError if it may still run."""
        if endpoint.resource_id is not None:
            self._dedicated.release(endpoint.resource_id)

    def _asked(self, job: Job, training_file: str) -> dict[str, Any]:
        method = {"method": "sft", "train_on_inputs": "auto"}
        asked: dict[str, Any] = {
            "model": job.base,
            "training_file": training_file,
            "training_method": method,
            **self.options.settings(),
            "suffix": hosted.suffix(self.options.suffix or job.label, job.key, 40),
            "random_seed": job.seed % 2**31,
        }
        return {**asked, "n_evals": self.options.evals(job)} if job.dev else asked

    def _find(self, job: Job) -> str | None:
        found = [one for one in self._service.items(lambda sdk: sdk.fine_tuning.list()) if one.get("id")]
        mine = [one for one in found if jobs.is_for(self._named(one), job.key)]
        mine.sort(key=lambda one: jobs.state(one) in ("failed", "cancelled"))
        return str(mine[0]["id"]) if mine else None

    def _named(self, job: Json) -> Json:
        """The job with what it is called, which not every list shows."""
        shown = any(job.get(field) for field in ("suffix", "user_provided_suffix", "model_output_name", "output_name"))
        return job if shown else self._service.optional(lambda sdk: sdk.fine_tuning.retrieve(str(job["id"])))

    def _check_base(self, job: Job) -> list[str]:
        try:
            limits = self._service.read(lambda sdk: sdk.fine_tuning.model_limits(model_name=job.base))
        except NotThere as error:
            known = self._service.optional(lambda sdk: sdk.get("/v1/fine-tunes/models/supported", cast_to=object)).get("models")
            unknown = isinstance(known, list) and job.base not in known  # a service without limits may still train it
            return [f"base {job.base!r}: {error}"] if unknown else []
        if self.options.serve.where == "endpoint" and not self._dedicated.takes(job.base):
            log.warning("base %r: Together trains it, and offers no hardware to serve it on. Set serve: {where: local}", job.base)
        return beyond(self.options, limits, job)

    def _estimate(self, job: Job) -> float | None:
        asked: dict[str, Any] = {"n_epochs": self.options.n_epochs or 1, "n_evals": self.options.evals(job)}
        if "training_type" in (settings := self.options.settings()):
            asked["training_type"] = settings["training_type"]
        train = files.upload(self._service, job, "train")
        if job.dev:
            asked["validation_file"] = files.upload(self._service, job, "dev")
        said = self._service.optional(lambda sdk: sdk.fine_tuning.estimate_price(training_file=train, model=job.base, **asked))
        if said.get("allowed_to_proceed") is False:
            log.warning("%s: Together says that this job exceeds the account's credit (limit: %s USD)", job.label, said.get("user_limit"))
        return None if said.get("estimation_available") is False else hosted.number(said.get("estimated_total_price"))

    def _model(self, found: Json) -> TrainedModel:
        """The tuned model with its checkpoints and, if it is to answer on this machine, its adapter."""
        name, job = jobs.name_of(found), str(found["id"])
        saved = self._service.optional_items(lambda sdk: sdk.fine_tuning.list_checkpoints(job))
        folder = self._adapter(job) if self.options.serve.where == "local" else None
        identity = {"provider": "together", "model": name}
        if folder is not None:
            identity["adapter"] = file_digest(folder / adapter.CONFIG, folder / adapter.WEIGHTS)
        return TrainedModel(f"together/{name}", str(folder) if folder else None, identity, jobs.facts(found), jobs.checkpoints(saved, name))

    def _adapter(self, job: str, step: int | None = None) -> Path:
        name = job if step is None else f"{job}-step-{step}"
        return adapter.download(self._service, job, Path(self.options.serve.folder) / name, step)

    def _endpoint(self, name: str, resource: str | None, usd_per_hour: float | None) -> Endpoint:
        asked_there = {"base_url", "api_key_env"} & self.options.model_fields_set
        options = {field: getattr(self.options, field) for field in sorted(asked_there)}
        if self.options.base_url:
            options["base_url"] = f"{self._service.address}/v1"
        if self.options.prices and resource is None:
            options["prices"] = dict(self.options.prices)
        return Endpoint(f"together/{name}", resource_id=resource, options=options, usd_per_hour=usd_per_hour)

    @functools.cached_property
    def _service(self) -> Service:
        return Service(self.options, looks_s=self.looks_s, strict=self.strict)

    @functools.cached_property
    def _dedicated(self) -> Dedicated:
        kinds: dict[str, tuple[Api, ...]] = {"v2": (V2(self._service),), "v1": (V1(self._service),)}
        return Dedicated(self._service, kinds.get(self.options.serve.api, kinds["v2"] + kinds["v1"]), self.pause_s)
