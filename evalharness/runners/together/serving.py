"""Dedicated endpoints for scoring a tuned model: found by the intent key in their name, opened once, released always.

    find -> open (what is missing) -> look ... until it is ready -> remove

The v2 API belongs to projects and has deployments under endpoints; the v1 API has endpoints alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from evalharness.buying import Denied, NotThere
from evalharness.errors import ProviderError
from evalharness.records import TrainedModel
from evalharness.runners.together.service import Service

log = logging.getLogger("evalh")

RELEASE_S = 300.0
"""Seconds in which a service must let go of what is released."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0


def name_for(key: str) -> str:
    """The name of the endpoint opened for an intent key."""
    return f"evalh-{key}".lower()


@dataclass(frozen=True, slots=True)
class Look:
    """What an endpoint is doing. `model` is the name that requests use; empty as long as there is none."""

    phase: Literal["waiting", "ready", "stopped", "failed"]
    model: str = ""
    detail: str = ""
    usd_per_hour: float | None = None


class Api(Protocol):
    """One of the two endpoint APIs. All methods raise ProviderError, NotThere where the service does not have them."""

    def owns(self, resource: str) -> bool:
        """Whether it is a resource of this API."""
        ...

    def find(self, key: str) -> str | None:
        """The resource opened for this key, if there is one."""
        ...

    def open(self, model: TrainedModel, key: str) -> str:
        """Open what is not open yet for this key; its resource."""
        ...

    def look(self, resource: str) -> Look:
        """What it is doing now."""
        ...

    def start(self, resource: str) -> None:
        """Let what stopped by itself run again."""
        ...

    def remove(self, resource: str) -> str:
        """Ask for its end; empty once it is gone or certainly going, else what is in the way."""
        ...

    def hourly(self, model: TrainedModel) -> float | None:
        """Dollars an hour that `open` would cost; None if nobody says."""
        ...


class Dedicated:
    """What is served on hardware of its own, by whichever API the service has. `apis`: in order of preference."""

    def __init__(self, service: Service, apis: Sequence[Api], pause_s: float = FIRST_PAUSE_S) -> None:
        self._service, self._apis, self._pause_s = service, apis, pause_s

    def find(self, key: str) -> tuple[Api, str] | None:
        """What is open for this key and the API that has it. Raises ProviderError if nobody can say."""
        unknown: list[NotThere] = []
        for api in self._apis:
            try:
                if found := api.find(key):
                    return api, found
            except NotThere as error:
                unknown.append(error)
            except Denied as error:
                if api is self._apis[0]:
                    raise
                log.info("an older API of the service is not for this key: %s", error)
        if len(unknown) == len(self._apis):
            raise ProviderError(f"this service lists no endpoints: {unknown[0]}")
        return None

    def serve(self, model: TrainedModel, key: str) -> tuple[str, Look]:
        """The resource and its name once it answers. Raises ProviderError with nothing left open, or with what `find` finds."""
        found = self.find(key)
        if found is None or found[1].startswith("projects/"):  # of what has two parts, the second may be missing
            found = self._open(model, key, found)
        return found[1], self._ready(*found)

    def _open(self, model: TrainedModel, key: str, found: tuple[Api, str] | None) -> tuple[Api, str]:
        said = "this service opens no endpoints"
        for api in [found[0]] if found else self._apis:
            try:
                return api, api.open(model, key)
            except NotThere as error:
                said = f"{said}: {error}"
        raise ProviderError(said)

    def _ready(self, api: Api, resource: str) -> Look:
        end, pause, restarted = time.monotonic() + self._service.options.serve.ready_timeout_s, self._pause_s, False
        while True:
            now = api.look(resource)
            if now.phase == "ready":
                return now
            if now.phase == "stopped" and not restarted:
                api.start(resource)
                restarted = True
            elif now.phase in ("failed", "stopped") or time.monotonic() > end:
                self.release(resource)
                why = now.detail if now.phase == "failed" else f"it is still {now.detail}"
                raise ProviderError(f"its endpoint did not start, and is released: {why}")
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE_S)

    def release(self, resource: str) -> None:
        """End it; returns once it is gone or certainly going. Raises ProviderError if it may still run."""
        api = next((api for api in self._apis if api.owns(resource)), None)
        if api is None:
            raise ProviderError(f"{resource} cannot be released with serve.api: {self._service.options.serve.api}; it may still run")
        end, pause = time.monotonic() + RELEASE_S, self._pause_s
        while left := api.remove(resource):
            if time.monotonic() > end:
                raise ProviderError(f"{resource} does not end, and may still run and cost money: {left}")
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE_S)

    def takes(self, base: str) -> bool:
        """False if the service lists hardware, and says that there is none for models of this base; in any doubt True."""
        ask = self._service.calls.read
        try:
            ask(lambda: self._service.sdk.get("/v1/hardware", cast_to=object, options={"params": {"model": base}}))
        except NotThere:
            return not self._service.optional_items(lambda sdk: sdk.get("/v1/hardware", cast_to=object))
        except ProviderError as error:
            log.info("the service does not say on what hardware %s can be served: %s", base, error)
        return True

    def hourly(self, model: TrainedModel) -> float | None:
        """Dollars an hour, by the first API that knows."""
        for api in self._apis:
            try:
                return api.hourly(model)
            except NotThere:
                continue
        return None
