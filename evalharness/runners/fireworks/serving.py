"""Deployments for scoring a tuned model: named by the intent key, made once, released always.

    live-merge   the tuned model is deployed itself
    addon        its base is deployed, and the tuned model's adapter is loaded onto it

A deployment that was deleted may keep its name for a while; so each key has a few names, used one after another.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalharness.buying import NotThere
from evalharness.errors import ProviderError
from evalharness.ids import digest
from evalharness.prices import price
from evalharness.records import TrainedModel
from evalharness.runners.fireworks.jobs import message, named, word
from evalharness.runners.fireworks.service import Json, Service, last, plain

if TYPE_CHECKING:
    from fireworks import Fireworks

log = logging.getLogger("evalh")

RELEASE_S = 300.0
"""Seconds in which the service must let go of what is released."""
WAKE_S = 300.0
"""Seconds that a deployment scaled to zero is given for its first replica; requests wake it, too."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
_NAMES = 3
_MISSES = 3
"""Looks in a row that do not show what was shown before, until it counts as gone."""
UNSEEN_S = 30.0
"""Seconds in which what is new must be shown: a service may know it a little later than it has said yes."""
_GOING = frozenset({"DELETING", "DELETED"})
_CHECKPOINTS = "/checkpoints/"


@dataclass(frozen=True, slots=True)
class Served:
    """An open deployment: its full name, the model name that requests use, and its price if it is known."""

    resource: str
    model: str
    usd_per_hour: float | None = None


class Deployments:
    """Those of one account."""

    def __init__(self, service: Service, pause_s: float = FIRST_PAUSE_S) -> None:
        self._service, self._serve, self._pause_s = service, service.options.serve, pause_s

    def find(self, key: str) -> Json | None:
        """The deployment made for this key that is not being deleted, whatever else its state."""
        for name in self._names(key):
            found = self._look(name)
            if found is not None and word(found) not in _GOING:
                return {**found, "name": name}
        return None

    def served(self, key: str) -> Served | None:
        """What is open for this key, ready or not."""
        found = self.find(key)
        return None if found is None else self._served(found, str(found.get("baseModel") or ""))

    def serve(self, model: TrainedModel, key: str) -> Served:
        """The deployment of this key once it answers. Raises ProviderError with nothing left open, or with what `find` finds."""
        tuned = self._tuned(model)
        found = self.find(key)
        name = str(found["name"]) if found else self._create(key, tuned if self._serve.mode == "live-merge" else self._base(model, tuned))
        try:
            ready = self._ready(name)
            if found is not None and ready.get("replicaCount") == 0:
                self._wake(name)
            if self._wears(ready, tuned):
                self._load(tuned, name)
        except _Failed as error:
            self.release(name)
            raise ProviderError(f"its deployment did not start, and is released: {error}") from None
        return self._served(ready, tuned)

    def release(self, resource: str) -> None:
        """Unload its adapters and delete it; returns once it is gone or certainly going. Raises ProviderError if it may still run."""
        end, pause, hard = time.monotonic() + RELEASE_S, self._pause_s, True
        while (found := self._look(resource)) is not None and word(found) not in _GOING:
            if found.get("enableAddons"):
                self._unload(resource)
            said = self._delete(resource, hard)
            if (found := self._look(resource)) is None or word(found) in _GOING:
                return
            if time.monotonic() > end:
                raise ProviderError(f"{resource} does not end, and may still run and cost money: {said or word(found).lower()}")
            hard = not hard
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE_S)

    def hourly(self) -> float | None:
        """Dollars an hour of what `serve` would make, all its replicas running."""
        return self._price(self._serve.accelerator_type, self._serve.accelerator_count)

    def _names(self, key: str) -> Iterator[str]:
        name = f"accounts/{self._service.account}/deployments/{named(key)}"
        yield from (name if number == 1 else f"{name}-{number}" for number in range(1, _NAMES + 1))

    def _look(self, resource: str) -> Json | None:
        account, deployment = _parts(resource)
        try:
            return self._service.read(lambda sdk: sdk.deployments.get(deployment, account_id=account))
        except NotThere:
            return None

    def _create(self, key: str, base: str) -> str:
        """A new deployment's name. One that was deleted may keep its name although nothing is shown by it: then the next name."""
        for name in self._names(key):
            if self._look(name) is not None:
                continue
            made = _Create(name, self._asked(base))
            try:
                return self._service.buy(made, name, lambda: str(found["name"]) if (found := self.find(key)) else None)
            except ProviderError:
                if not made.taken:
                    raise
        raise ProviderError(f"the deployments of {named(key)} are still being deleted. Run again later")

    def _asked(self, base: str) -> dict[str, Any]:
        chosen = self._serve
        asked: dict[str, Any] = {
            "base_model": base,
            "display_name": "evalh: scoring a tuned model",
            "min_replica_count": chosen.min_replicas,
            "max_replica_count": chosen.max_replicas,
            "autoscaling_policy": {"scale_to_zero_window": f"{chosen.scale_to_zero_window_s}s"},
        }
        if chosen.accelerator_type is not None:
            asked |= {"accelerator_type": chosen.accelerator_type, "accelerator_count": chosen.accelerator_count}
        else:
            asked["deployment_shape"] = chosen.deployment_shape or "default"
        if chosen.mode == "addon":
            asked["enable_addons"] = True
        if precision := chosen.precision or ("BF16" if chosen.mode == "addon" and chosen.accelerator_type else None):
            asked["precision"] = precision
        return asked

    def _ready(self, name: str) -> Json:
        """The deployment once it is ready. Raises _Failed."""
        for found in self._watched(lambda: self._look(name)):
            state = word(found or {})
            if found is None or state in _GOING:
                raise ProviderError(f"the deployment {last(name)} was deleted while it started")
            if state == "READY":
                return {**found, "name": name}
            if state == "FAILED":
                raise _Failed(_why(found))
        raise _Failed(f"it is still {state.lower() or 'not shown'}")

    def _watched(self, look: Callable[[], Json | None]) -> Iterator[Json | None]:
        """What a look shows, again and again until it should long be ready; None, once, if it is gone or never came."""
        began, pause, seen, misses = time.monotonic(), self._pause_s, False, 0
        while True:
            found, since = look(), time.monotonic() - began
            seen, misses = seen or found is not None, 0 if found is not None else misses + 1
            if found is not None or (misses >= _MISSES and (seen or since > UNSEEN_S)):
                yield found
            if since > self._serve.ready_timeout_s:
                return
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE_S)

    def _wake(self, name: str) -> None:
        """Bring back the replica that an idle deployment has lost, and wait for it a while."""
        account, deployment = _parts(name)
        count = max(1, self._serve.min_replicas)
        try:
            self._service.calls.read(lambda: self._service.sdk.deployments.scale(deployment, account_id=account, replica_count=count))
        except ProviderError as error:
            log.info("%s scaled to zero, and is woken by its first request: %s", last(name), error)
            return
        end, pause = time.monotonic() + WAKE_S, self._pause_s
        while time.monotonic() < end and (found := self._look(name) or {}).get("replicaCount") == 0 and found.get("desiredReplicaCount"):
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE_S)

    def _wears(self, found: Json, tuned: str) -> bool:
        """Whether the deployment is one of the base; what was opened before may be of the other mode."""
        deployed = last(str(found.get("baseModel") or ""))
        return deployed != last(tuned) if deployed else self._serve.mode == "addon"

    def _load(self, tuned: str, name: str) -> None:
        """Let the deployment wear the adapter; returns once it does. Raises _Failed."""
        found = self._loaded(tuned, name)
        try:
            adapter = _named(found) if found else self._put_on(tuned, name)
        except ProviderError as error:
            raise _Failed(str(error)) from None
        for found in self._watched(lambda: self._adapter(adapter) or self._loaded(tuned, name)):
            state = word(found or {"state": "UNDEPLOYING"})
            if state in ("", "UPDATING", "DEPLOYED"):
                return
            if state == "UNDEPLOYING":
                raise _Failed(f"its adapter: {_why(found or {})}")
        raise _Failed(f"its adapter: {_why(found or {})}")

    def _put_on(self, tuned: str, name: str) -> str:
        """Load the adapter, which costs nothing; what the service calls it there, which lists show a little later."""
        once = self._service.sdk.with_options(max_retries=0)

        def load() -> str:
            return _named(plain(once.lora.load(account_id=_parts(name)[0], model=tuned, deployment=name)))

        return self._service.calls.upload(load, lambda: _named(found) if (found := self._loaded(tuned, name)) else None)

    def _adapter(self, adapter: str) -> Json | None:
        account, loaded = _parts(adapter)
        return self._service.optional(lambda sdk: sdk.lora.get(loaded, account_id=account)) or None

    def _loaded(self, tuned: str, name: str) -> Json | None:
        """The adapter on the deployment, loaded or on its way."""
        return next((one for one in self._adapters(name) if last(str(one.get("model"))) == last(tuned)), None)

    def _adapters(self, name: str) -> list[Json]:
        found = self._service.items(f"/v1/accounts/{_parts(name)[0]}/deployedModels", "deployedModels")
        return [one for one in found if one.get("name") and last(str(one.get("deployment"))) == last(name)]

    def _unload(self, name: str) -> None:
        """Take the adapters off. One that stays is no harm: it goes with the deployment, and costs nothing."""
        try:
            for one in self._adapters(name):
                unload = functools.partial(self._service.sdk.lora.unload, last(str(one["name"])), account_id=_parts(name)[0])
                self._service.calls.optional(unload, None)
        except ProviderError as error:
            log.info("%s: its adapter stays loaded until it is deleted: %s", last(name), error)

    def _delete(self, name: str, hard: bool) -> str:
        """Ask for its end, at once and although it was just used; what is said against it, empty if nothing."""
        account, deployment = _parts(name)
        delete = functools.partial(self._service.sdk.deployments.delete, deployment, account_id=account, ignore_checks=True)
        try:
            self._service.calls.optional((lambda: delete(hard=True)) if hard else delete, None)
        except ProviderError as error:
            return str(error)
        return ""

    def _base(self, model: TrainedModel, tuned: str) -> str:
        """The model that the adapter was trained on. Raises ProviderError if nobody says."""
        if known := str(model.facts.get("base") or ""):
            return known
        details = self._model(tuned).get("peftDetails")
        if isinstance(details, dict) and details.get("baseModel"):
            return str(details["baseModel"])
        raise ProviderError(f"the base of {tuned} is not known, so that its adapter cannot be loaded. Set serve.mode: live-merge")

    def _model(self, name: str) -> Json:
        account, model = _parts(name)
        return self._service.optional(lambda sdk: sdk.models.get(model, account_id=account))

    def _tuned(self, model: TrainedModel) -> str:
        """The tuned model's full name; a checkpoint is made a model first."""
        name = model.model.removeprefix("fireworks/")
        return self._promoted(name, str(model.facts.get("base") or "")) if _CHECKPOINTS in name else name

    def _promoted(self, checkpoint: str, base: str) -> str:
        """The model made of a checkpoint, found by its name or made once. It costs nothing until it is deployed."""
        name = f"accounts/{_parts(checkpoint)[0]}/models/evalh-{digest([checkpoint])}"
        asked = {"output_model": name, "base_model": base, "async_promotion": True}

        def promote(sdk: Fireworks) -> object:
            return sdk.post(f"/v1/{checkpoint}:promote", cast_to=object, body=asked)

        if not self._model(name):
            self._service.buy(promote, name, lambda: name if self._model(name) else None)
        end, pause = time.monotonic() + self._serve.ready_timeout_s, self._pause_s
        while (found := self._model(name)).get("state") in (None, "UPLOADING"):
            if found and "state" not in found:
                break
            if time.monotonic() > end:
                raise ProviderError(f"the checkpoint {last(checkpoint)} is not a model yet. Run again: it is not promoted twice")
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE_S)
        return name

    def _served(self, found: Json, tuned: str) -> Served:
        resource = str(found["name"])
        count = found.get("acceleratorCount")
        paid = self._price(found.get("acceleratorType") or self._serve.accelerator_type, count or self._serve.accelerator_count)
        return Served(resource, f"{tuned}#{resource}", paid)

    def _price(self, accelerator: object, count: object) -> float | None:
        """Dollars an hour for all replicas that may run: the user's own price of one, or the book's of its accelerators."""
        if (own := price("fireworks", "", self._service.options.prices).usd_per_hour) is not None:
            return own * self._serve.max_replicas
        known = price("fireworks", str(accelerator)).usd_per_hour
        return known * count * self._serve.max_replicas if known is not None and isinstance(count, int) else None


class _Create:
    """One create of a deployment, and whether it was turned away because its name is taken."""

    def __init__(self, name: str, asked: dict[str, Any]) -> None:
        self._name, self._asked, self.taken = name, asked, False

    def __call__(self, sdk: Fireworks) -> object:
        import fireworks

        account, deployment = _parts(self._name)
        try:
            return sdk.deployments.create(account_id=account, deployment_id=deployment, **self._asked)
        except fireworks.ConflictError as error:
            self.taken = "exist" in str(error.body or error).lower()
            raise


class _Failed(Exception):
    """A deployment that will not answer."""


def _named(adapter: Json) -> str:
    """Its full name. Raises KeyError where half an answer has none."""
    return str(adapter["name"])


def _why(found: Json) -> str:
    """Why it does not answer, in the service's words or by its state."""
    state = word(found).lower().removeprefix("state_")
    return message(found) or (f"it is {state}" if state else "it is not shown")


def _parts(resource: str) -> tuple[str, str]:
    """The account, and the id at the end."""
    return resource.split("/")[1], last(resource)
