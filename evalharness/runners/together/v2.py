"""Together's v2 endpoints: an endpoint of a project, one deployment of the tuned model under it, and all its traffic there.

Paths as in the SDK (together 3.1.1): /v2/projects/{project}/endpoints[/{endpoint}/deployments[/{deployment}]].
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from typing import Any

from evalharness.buying import NotThere
from evalharness.errors import ProviderError
from evalharness.prices import price
from evalharness.records import TrainedModel
from evalharness.runners.hosted import number
from evalharness.runners.together.jobs import step_of
from evalharness.runners.together.service import Json, Service
from evalharness.runners.together.serving import Look, name_for

_STATE = "DEPLOYMENT_STATE_"
LATE_S = 60.0
"""Seconds in which a service must know a deployment that it has just made: lists and reads follow with a delay."""


class V2:
    """Resources are called projects/{project}/endpoints/{endpoint}."""

    def __init__(self, service: Service) -> None:
        self._service, self._serve = service, service.options.serve
        self._made: dict[str, tuple[str, float]] = {}
        """The deployment made here for a resource, and when: nothing that the service lists may name it yet."""
        self._opened: dict[str, str] = {}
        """Likewise the endpoint made here for a key."""

    def owns(self, resource: str) -> bool:
        """Whether it is one of a project's endpoints."""
        return resource.startswith("projects/")

    @functools.cached_property
    def project(self) -> str:
        """The project that pays: the trainer's, TOGETHER_PROJECT_ID, the key's own, or the only one. Raises NotThere."""
        if chosen := self._serve.project_id or self._service.sdk.project_id:
            return chosen
        own = self._service.optional(lambda sdk: sdk.whoami()).get("project")
        if isinstance(own, dict) and own.get("id"):
            return str(own["id"])
        known = self._service.optional_items(lambda sdk: sdk.projects.list())
        if len(known) > 1:
            raise ProviderError(f"the key is for {len(known)} projects. Set serve.project_id or TOGETHER_PROJECT_ID")
        if not known:
            raise NotThere("the service names no project of this key. Set serve.project_id or TOGETHER_PROJECT_ID")
        return str(known[0]["id"])

    def find(self, key: str) -> str | None:
        """The endpoint with the key's name."""
        found = self._service.items(lambda sdk: sdk.endpoints.list(project_id=self.project))
        mine = (one for one in found if str(one.get("name")).rsplit("/", 1)[-1] == name_for(key))
        listed = next((f"projects/{self.project}/endpoints/{one['id']}" for one in mine), None)
        return listed or next((one for one in [self._opened.get(key)] if one and self._is_open(one)), None)

    def open(self, model: TrainedModel, key: str) -> str:
        """The endpoint, then its deployment, then its traffic; whatever of it is there already is kept."""
        resource, chosen = self.find(key), self._config(model)
        if resource is None:
            made = self._service.buy(
                lambda sdk: sdk.endpoints.create(project_id=self.project, name=name_for(key)), lambda: _endpoint_in(self.find(key))
            )
            resource = self._opened[key] = f"projects/{self.project}/endpoints/{made}"
        try:
            self._deploy(resource, self._asked(model, key, chosen))
        except NotThere as error:  # from here on, something is open: no other API may be tried
            raise ProviderError(str(error)) from None
        return resource

    def _deploy(self, resource: str, asked: dict[str, Any]) -> None:
        project, endpoint = _parts(resource)
        deployment = self._deployment(resource)
        if deployment is None:
            deployment = self._service.buy(
                lambda sdk: sdk.endpoints.deployments.create(endpoint, project_id=project, **asked), lambda: self._deployment(resource)
            )
            self._made[resource] = deployment, time.monotonic()
        self._route(resource, deployment)

    def look(self, resource: str) -> Look:
        """Its deployment's state; requests name the endpoint if its traffic goes to the deployment, else the deployment."""
        above = self._endpoint(resource)
        deployments = self._deployments(resource, above)
        if not deployments:
            return Look("failed", detail="its deployment is gone")
        deployment = str(deployments[0]["id"])
        try:
            found = self._retrieve(resource, deployment)
        except NotThere:
            self._endpoint(resource)  # raises NotThere where all of it is gone
            late = time.monotonic() < self._made.get(resource, ("", -LATE_S))[1] + LATE_S
            return Look("waiting" if late else "failed", detail="its deployment is not listed yet" if late else "its deployment is gone")
        said = found.get("status") or found.get("state")
        status: Json = said if isinstance(said, dict) else {"state": said}
        state = str(status.get("state")).removeprefix(_STATE)
        routed = any(str(one.get("deploymentId")) == deployment for one in above.get("trafficSplit") or [])
        name = str((above if routed else found).get("name") or "")
        detail = ": ".join(str(part) for part in (state.lower(), status.get("message")) if part)
        return Look(_phase(state, status.get("readyReplicas")), name, detail, self._price(str(found.get("hardware") or "")))

    def start(self, resource: str) -> None:
        """Its replicas, again."""
        self._scale(resource, self._serve.min_replicas, self._serve.max_replicas)

    def remove(self, resource: str) -> str:
        """Take its traffic and replicas away, delete its deployments, then itself."""
        project, endpoint = _parts(resource)
        try:
            found = self._endpoint(resource)
            if found.get("trafficSplit"):
                self._traffic(resource, [])
            said = self._remove_deployments(resource)
            if not said:
                self._service.calls.optional(lambda: self._service.sdk.endpoints.delete(endpoint, project_id=project), None)
                self._endpoint(resource)  # gone, by now
                said = "it is still there, without deployments"
        except NotThere:
            said = self._listed_still(resource)
        except ProviderError as error:
            said = str(error)
        return said

    def _listed_still(self, resource: str) -> str:
        """One 404 is no proof while the list still names it."""
        project, endpoint = _parts(resource)
        try:
            left = self._service.optional_items(lambda sdk: sdk.endpoints.list(project_id=project))
        except ProviderError as error:
            return str(error)
        return "it is still listed" if any(str(one.get("id")) == endpoint for one in left) else ""

    def hourly(self, model: TrainedModel) -> float | None:
        """The price of the hardware that would be chosen, for all replicas that may run."""
        if (own := price("together", "", self._service.options.prices).usd_per_hour) is not None:
            return own * self._serve.max_replicas
        self.find("")  # raises NotThere where there is no such API
        return self._price(self._serve.hardware or _hardware(self._config(model)))

    def _remove_deployments(self, resource: str) -> str:
        """What is in the way; empty if they are gone."""
        project, endpoint = _parts(resource)
        deployments = self._deployments(resource)
        if any((one.get("autoscaling") or {}).get("maxReplicas") != 0 for one in deployments):
            self._scale(resource, 0, 0)
        for found in deployments:
            try:
                delete = functools.partial(self._service.sdk.endpoints.deployments.delete, str(found["id"]))
                self._service.calls.optional(functools.partial(delete, endpoint_id=endpoint, project_id=project), None)
            except ProviderError as error:  # it has not stopped yet
                return str(error)
        left = any(self._is_there(resource, str(one["id"])) for one in self._deployments(resource))
        return "its deployments are still there" if left else ""

    def _endpoint(self, resource: str) -> Json:
        project, endpoint = _parts(resource)
        return self._service.read(lambda sdk: sdk.endpoints.retrieve(endpoint, project_id=project), "id")

    def _deployments(self, resource: str, above: Json | None = None) -> list[Json]:
        """What the list below the endpoint, itself, its traffic or a create has named: each may be behind the others."""
        project, endpoint = _parts(resource)
        listed = self._service.optional_items(lambda sdk: sdk.endpoints.deployments.list(endpoint, project_id=project))
        above = above or self._endpoint(resource)
        found: dict[str, Json] = {}
        for one in [*listed, *(above.get("deployments") or []), *_named(above), {"id": self._made.get(resource, ("", 0.0))[0]}]:
            if one.get("id"):
                found.setdefault(str(one["id"]), one)
        return list(found.values())

    def _deployment(self, resource: str) -> str | None:
        return next((str(one["id"]) for one in self._deployments(resource)), None)

    def _retrieve(self, resource: str, deployment: str) -> Json:
        project, endpoint = _parts(resource)
        return self._service.read(lambda sdk: sdk.endpoints.deployments.retrieve(deployment, endpoint_id=endpoint, project_id=project))

    def _is_open(self, resource: str) -> bool:
        try:
            return bool(self._endpoint(resource))
        except NotThere:
            return False

    def _is_there(self, resource: str, deployment: str) -> bool:
        try:
            return bool(self._retrieve(resource, deployment))
        except NotThere:  # a list may name for a while what is gone
            return False

    def _scale(self, resource: str, least: int, most: int) -> None:
        project, endpoint = _parts(resource)
        size: Any = {"min_replicas": least, "max_replicas": most}
        for found in self._deployments(resource):
            update = functools.partial(self._service.sdk.endpoints.deployments.update, str(found["id"]), endpoint_id=endpoint)
            self._service.calls.optional(functools.partial(update, project_id=project, autoscaling=size, update_mask="autoscaling"), None)

    def _route(self, resource: str, deployment: str) -> None:
        split = self._endpoint(resource).get("trafficSplit") or []
        if not any(str(one.get("deploymentId")) == deployment for one in split):
            self._traffic(resource, [{"deployment_id": deployment, "weight": 1.0}])

    def _traffic(self, resource: str, split: list[Any]) -> None:
        """Where requests to the endpoint go; without it, a deployment can still be asked by its own name."""
        project, endpoint = _parts(resource)
        update = functools.partial(self._service.sdk.endpoints.update, endpoint, project_id=project)
        self._service.calls.optional(lambda: update(traffic_split=split, update_mask="trafficSplit"), None)

    def _asked(self, model: TrainedModel, key: str, config: Json) -> dict[str, Any]:
        size = {"min_replicas": self._serve.min_replicas, "max_replicas": self._serve.max_replicas}
        asked = {
            "name": name_for(key),
            "model": self._path(model),
            "autoscaling": size,
            "inactive_timeout": self._serve.inactive_timeout,
        }
        chosen = self._serve.config or (f"projects/{config['projectId']}/configs/{config['id']}" if config.get("projectId") else None)
        return {**asked, "config": chosen} if chosen else asked

    def _path(self, model: TrainedModel) -> str:
        """The model's resource name; its plain name where the service does not say its object."""
        object_id, revision = self._object(model)
        if not object_id:
            return model.model.removeprefix("together/")
        path = f"projects/{self.project}/models/{object_id}"
        return f"{path}/revisions/{revision}" if revision else path

    def _object(self, model: TrainedModel) -> tuple[str, str]:
        """The model's object and revision: the job's, a checkpoint's, or what the project calls by its name; empty if nothing does."""
        if (step := step_of(model)) is not None:
            job = str(model.facts.get("job"))
            saved = self._service.optional_items(lambda sdk: sdk.fine_tuning.list_checkpoints(job))
            found = next((one for one in saved if number(one.get("step")) == step), {})
            return str(found.get("object_id") or ""), str(found.get("object_revision_id") or "")
        if known := model.facts.get("model_object"):
            return str(known), str(model.facts.get("model_revision") or "")
        name = model.model.removeprefix("together/")
        listed = self._service.optional_items(lambda sdk: sdk.models.list(project_id=self.project))
        named = (one for one in listed if name in (one.get("name"), str(one.get("name")).rsplit("/", 1)[-1]))
        return next((str(one["id"]) for one in named), ""), ""

    def _config(self, model: TrainedModel) -> Json:
        """The configuration to deploy with: on the wished hardware, else the cheapest. Empty where the service lists none."""
        if self._serve.config or not (object_id := self._object(model)[0]):
            return {}
        found = self._service.optional(lambda sdk: sdk.models.retrieve(object_id, project_id=self.project))
        base = str(found.get("baseModelId") or object_id)
        configs = self._service.optional_items(lambda sdk: sdk.models.configs.list(project_id=self.project, reference_model_id=base))
        wished = self._serve.hardware
        fit = [one for one in configs if wished is None or _same(_hardware(one), wished)]
        if configs and not fit:
            known = ", ".join(sorted({_hardware(one) for one in configs}))
            raise ProviderError(f"this model cannot be served on serve.hardware {wished!r}; it can on {known}")
        return min(fit, key=lambda one: self._price(_hardware(one)) or float("inf"), default={})

    def _price(self, hardware: str) -> float | None:
        """Dollars an hour for all replicas that may run."""
        if (own := price("together", "", self._service.options.prices).usd_per_hour) is not None:
            return own * self._serve.max_replicas
        for one in self._catalog:
            if hardware and (_same(str(one.get("name")), hardware) or one.get("id") == hardware):
                cents = number(one.get("priceCentsPerHour"))
                return None if cents is None else cents * self._serve.max_replicas / 100
        return None

    @functools.cached_property
    def _catalog(self) -> list[Json]:
        return self._service.optional_items(lambda sdk: sdk.endpoints.hardware.list())


def _parts(resource: str) -> tuple[str, str]:
    """The project and the endpoint."""
    parts = resource.split("/")
    return parts[1], parts[3]


def _named(endpoint: Json) -> Iterator[Json]:
    """The deployments that its traffic goes to."""
    return ({"id": one.get("deploymentId")} for one in endpoint.get("trafficSplit") or [])


def _endpoint_in(resource: str | None) -> str | None:
    return _parts(resource)[1] if resource else None


def _phase(state: str, ready: object) -> Any:
    """Some replicas are enough to answer. A state that nobody knows is waited for."""
    if state == "READY" or (state in ("DEGRADED", "SCALING") and (number(ready) or 0) >= 1):
        return "ready"
    return {"FAILED": "failed", "STOPPED": "stopped"}.get(state, "waiting")


def _hardware(config: Json) -> str:
    """The name of a configuration's hardware, as the price list has it: 1xnvidia-h100-80gb."""
    selectors = {str(one.get("key")): str(one.get("value")) for one in config.get("selectors") or []}
    count, kind = selectors.get("accelerator_count"), selectors.get("accelerator_type")
    return f"{count}x{kind}" if count and kind else ""


def _same(one: str, other: str) -> bool:
    return one.lower().replace("nvidia-", "") == other.lower().replace("nvidia-", "")
