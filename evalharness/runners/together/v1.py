"""Together's v1 dedicated endpoints, for services without v2: one resource, found by its display name.

Paths as in the published description (2026-04-28): /v1/endpoints[/{id}] and /v1/hardware. The SDK has them no longer.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from evalharness.buying import NotThere
from evalharness.errors import ProviderError
from evalharness.prices import price
from evalharness.records import TrainedModel
from evalharness.runners.hosted import number
from evalharness.runners.together.service import Json, Service
from evalharness.runners.together.serving import Look, name_for

if TYPE_CHECKING:
    from together import Together

_PHASES = {"STARTED": "ready", "STOPPED": "stopped", "ERROR": "failed", "FAILED": "failed"}
_GOING = frozenset({"STOPPING", "STOPPED", "DELETING", "DELETED"})


class V1:
    """Resources are called as the service calls them: endpoint-…"""

    def __init__(self, service: Service) -> None:
        self._service, self._serve = service, service.options.serve
        self._opened: dict[str, str] = {}
        """The endpoint made here for a key, which the service may not list yet."""

    def owns(self, resource: str) -> bool:
        """Whether it is none of a project."""
        return not resource.startswith("projects/")

    def find(self, key: str) -> str | None:
        """The endpoint with the key in its display name, which only some services list."""
        for one in self._list():
            if "display_name" not in one:
                one = self._service.optional(functools.partial(_get, str(one["id"])))
            if name_for(key) in (one.get("display_name"), one.get("name")):
                return str(one["id"])
        made = self._opened.get(key)
        return made if made and self._service.optional(functools.partial(_get, made)) else None

    def open(self, model: TrainedModel, key: str) -> str:
        """One create."""
        asked = {
            "display_name": name_for(key),
            "model": model.model.removeprefix("together/"),
            "hardware": self._serve.hardware or str(self._cheapest(model)["id"]),
            "autoscaling": {"min_replicas": self._serve.min_replicas, "max_replicas": self._serve.max_replicas},
            "inactive_timeout": self._serve.inactive_timeout,
        }
        made = self._service.buy(lambda sdk: sdk.post("/v1/endpoints", cast_to=object, body=asked), lambda: self.find(key))
        self._opened[key] = made
        return made

    def look(self, resource: str) -> Look:
        """Its state; a state that nobody knows is waited for."""
        found = self._service.read(functools.partial(_get, resource), "state")
        state = str(found["state"]).upper()
        hardware = [one for one in self._hardware(None) if one.get("id") == found.get("hardware")]
        phase: Any = _PHASES.get(state, "waiting")
        return Look(phase, str(found.get("name") or found.get("model") or ""), state.lower(), self._price(hardware))

    def start(self, resource: str) -> None:
        """Its wished state."""
        self._service.read(lambda sdk: sdk.patch(f"/v1/endpoints/{resource}", cast_to=object, body={"state": "STARTED"}))

    def remove(self, resource: str) -> str:
        """Delete it, and look whether that was heard."""
        try:
            self._service.calls.read(lambda: self._service.sdk.delete(f"/v1/endpoints/{resource}", cast_to=object))
            state = str(self._service.read(functools.partial(_get, resource), "state")["state"]).upper()
        except NotThere:
            return self._listed_still(resource)
        except ProviderError as error:
            return str(error)
        return "" if state in _GOING else f"it is still {state.lower()}"

    def _listed_still(self, resource: str) -> str:
        """One 404 is no proof while the list still names it."""
        try:
            left = self._list()
        except NotThere:
            return ""
        except ProviderError as error:
            return str(error)
        known = [str(one.get("state")).upper() for one in left if str(one["id"]) == resource]
        return "" if all(state in _GOING for state in known) else "it is still listed"

    def hourly(self, model: TrainedModel) -> float | None:
        """The price of the hardware that would be chosen, for all replicas that may run."""
        self._list()  # raises NotThere where there is no such API
        fit = [one for one in self._fitting(model) if self._serve.hardware in (None, one.get("id"))]
        return self._price(fit)

    def _list(self) -> list[Json]:
        wanted: Any = {"params": {"type": "dedicated", "mine": "true"}}
        found = self._service.items(lambda sdk: sdk.get("/v1/endpoints", cast_to=object, options=wanted))
        return [one for one in found if one.get("id")]

    def _hardware(self, model: str | None) -> list[Json]:
        wanted: Any = {"params": {"model": model}} if model else {}
        return self._service.optional_items(lambda sdk: sdk.get("/v1/hardware", cast_to=object, options=wanted))

    def _fitting(self, model: TrainedModel) -> list[Json]:
        """Hardware that takes the model and is free, cheapest first; what takes its base, where the tuned name is not known."""
        names = [model.model.removeprefix("together/"), str(model.facts.get("base") or "")]
        found = next((known for name in names if name and (known := self._hardware(name))), [])
        free = [one for one in found if (one.get("availability") or {}).get("status") not in ("unavailable", "insufficient")]
        return sorted(free, key=lambda one: _cents(one) or float("inf"))

    def _cheapest(self, model: TrainedModel) -> Json:
        found = self._fitting(model)
        if not found:
            raise ProviderError("the service names no free hardware for this model. Set serve.hardware")
        return found[0]

    def _price(self, cheapest: list[Json]) -> float | None:
        own = price("together", "", self._service.options.prices).usd_per_hour
        a_minute = _cents(cheapest[0]) if cheapest else None
        each = own if own is not None else None if a_minute is None else a_minute * 60 / 100
        return None if each is None else each * self._serve.max_replicas


def _get(resource: str, sdk: Together) -> object:
    return sdk.get(f"/v1/endpoints/{resource}", cast_to=object)


def _cents(hardware: Json) -> float | None:
    return number((hardware.get("pricing") or {}).get("cents_per_minute"))
