"""A tuned model on a Hugging Face Inference Endpoint: vLLM with the base and the adapter, named by the intent key.

    open    found by its name, else created once; awaited; deleted if it fails
    close   deleted, and looked at until it is gone

>>> Endpoints(hub).open(model, key).options["base_url"]                                               # doctest: +SKIP
'https://x1y2.us-east-1.aws.endpoints.huggingface.cloud/v1'
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

from evalharness.errors import ProviderError
from evalharness.records import Endpoint, TrainedModel
from evalharness.runners.huggingface.hub import Hub

T = TypeVar("T")
log = logging.getLogger("evalh")

WAITS_S = (2.0, 5.0, 10.0)
"""Pauses between looks at an endpoint that starts; the last one stays."""
GONE_S = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0)
"""Pauses before looks at an endpoint that was deleted."""
_MISSES = 3
"""Looks in a row that do not show a new endpoint before it counts as gone."""
_NAME = 32
"""Most letters of an endpoint's name."""
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes for --max-lora-rank."""
_FAILED, _ASLEEP = frozenset({"failed", "updateFailed"}), frozenset({"paused", "scaledToZero"})
_ADDRESS = threading.Lock()


class Endpoints:
    """The endpoints of one account. `waits_s`, `gone_s`: pauses while one starts and goes."""

    def __init__(self, hub: Hub, waits_s: tuple[float, ...] = WAITS_S, gone_s: tuple[float, ...] = GONE_S) -> None:
        self._hub, self._settings = hub, hub.options.serve
        self._waits_s, self._gone_s = waits_s, gone_s
        self._foreign: set[str] = set()

    @property
    def url(self) -> str | None:
        """The API's address; None for the SDK's own. A hub on this machine stands for all of the service."""
        own = self._settings.base_url or os.environ.get("HF_INFERENCE_ENDPOINTS_BASE_URL")
        if own:
            return own.rstrip("/")
        return f"{self._hub.url}/v2" if urlsplit(self._hub.url).hostname in ("127.0.0.1", "localhost", "::1") else None

    def find(self, name: str, namespace: str | None = None) -> Any:
        """The endpoint of this name; None if there is none."""
        return self._hub.optional(self._there(lambda: self._hub.api.get_inference_endpoint(name, namespace=namespace or self._space)), None)

    def open(self, model: TrainedModel, key: str) -> Endpoint:
        """The endpoint for this key, once it answers. Raises ProviderError, with nothing left open unless it says so."""
        name = name_of(key)

        def there() -> str | None:
            found = self.find(name)
            if found is not None and (_is_foreign(found) or found.repository != model.identity["base"]):
                self._foreign.add(name)
                raise ProviderError(f"the endpoint {self._space}/{name} serves something else, and is not evalh's. Delete it or rename it")
            return name if found is not None else None

        if there() is None:
            self._hub.buy(self._there(lambda: self._create(name, model)), there)
        found = self._awaited(name)
        keys = {"api_key_env"} & self._hub.options.model_fields_set
        address = f"{str(found.url).rstrip('/').removesuffix('/v1')}/v1"
        options = {"base_url": address, **{each: getattr(self._hub.options, each) for each in keys}}
        return Endpoint(f"hf/{_repo(model)}", None, f"{self._space}/{name}", options, self.price)

    def opened(self, key: str) -> Endpoint | None:
        """What is open for this key, ready or not."""
        name = name_of(key)
        found = self.find(name)
        return (
            None
            if found is None or name in self._foreign or _is_foreign(found)
            else Endpoint("", None, f"{self._space}/{name}", {}, self.price)
        )

    def close(self, resource_id: str) -> None:
        """Delete, and look until it is gone. Raises ProviderError if it may still run."""
        namespace, _, name = resource_id.rpartition("/")
        delete = self._there(lambda: self._hub.api.delete_inference_endpoint(name, namespace=namespace or self._space))
        for pause in self._gone_s:
            time.sleep(pause)
            self._hub.optional(delete, None)
            if self.find(name, namespace) is None:
                return
        raise ProviderError(f"the endpoint {resource_id} was deleted, and is still listed: it may still run")

    @functools.cached_property
    def price(self) -> float | None:
        """Dollars an hour: the user's own price, else the service's list; None if neither says."""
        chosen = self._settings
        if chosen.usd_per_hour is not None:
            return chosen.usd_per_hour
        listed: list[Any] = self._hub.known_or(
            self._there(lambda: self._hub.api.list_inference_endpoints_hardware(namespace=self._space)), []
        )
        wanted = tuple(getattr(chosen, part) for part in ("vendor", "region", "instance_type", "instance_size"))
        fit = (each for each in listed if (each.vendor, each.region, each.instance_type, each.instance_size) == wanted)
        found = next((each.price_per_hour for each in fit), None)
        return float(found) if found is not None else None

    @property
    def _space(self) -> str:
        return self._hub.namespace

    def _create(self, name: str, model: TrainedModel) -> str:
        chosen, repo = self._settings, _repo(model)
        rank = int(model.facts.get("rank") or self._hub.options.rank)
        words = ["--enable-lora", "--max-lora-rank", str(next((one for one in _RANKS if one >= rank), rank))]
        words += ["--lora-modules", f"{repo}={repo}"]
        if chosen.max_model_len is not None:
            words += ["--max-model-len", str(chosen.max_model_len)]
        made = self._hub.api.create_inference_endpoint(
            name, namespace=self._space, repository=model.identity["base"], revision=model.identity.get("base revision"),
            framework="pytorch", task="text-generation", vendor=chosen.vendor, region=chosen.region, accelerator=chosen.accelerator,
            instance_type=chosen.instance_type, instance_size=chosen.instance_size, min_replica=0, max_replica=1,
            scale_to_zero_timeout=chosen.scale_to_zero_timeout, custom_image={"vLLM": {"url": chosen.image, "port": 8000}},
            container_args=words, secrets={"HF_TOKEN": self._hub.token},
        )  # fmt: skip
        return str(made.name)

    def _awaited(self, name: str) -> Any:
        """The endpoint once it runs; one that fails, or takes too long, is deleted."""
        end, looks, misses, woken = time.monotonic() + self._settings.ready_timeout_s, 0, 0, False
        while True:
            time.sleep(self._waits_s[min(looks, len(self._waits_s)) - 1] if looks else 0.0)
            looks, found = looks + 1, self.find(name)
            misses = misses + 1 if found is None else 0
            if misses >= _MISSES:
                raise ProviderError(f"the endpoint {name} was deleted while it started")
            if found is None:
                continue  # what is new may be shown with a delay
            state = str(getattr(found.status, "value", found.status))
            if state == "running" and found.url:
                return found
            if state in _FAILED or time.monotonic() > end:
                self._give_up(name, found, state)
            if state in _ASLEEP and not woken:
                self._hub.read(self._there(lambda: self._hub.api.resume_inference_endpoint(name, namespace=self._space)))
                woken = True

    def _give_up(self, name: str, found: Any, state: str) -> None:
        status = found.raw.get("status") if isinstance(found.raw, dict) else None
        why = (status or {}).get("message") or (status or {}).get("errorMessage") or "it gives no reason"
        self.close(f"{self._space}/{name}")
        ended = "failed to start" if state in _FAILED else f"did not start within {self._settings.ready_timeout_s:g} s (it was {state})"
        raise ProviderError(f"the endpoint {name} {ended} and was deleted: {why}")

    def _there(self, call: Callable[[], T]) -> Callable[[], T]:
        """The call, sent to the chosen address."""

        def moved() -> T:
            with _address(self.url):
                return call()

        return moved


@contextlib.contextmanager
def _address(url: str | None) -> Iterator[None]:
    """Let the SDK use this address of the Inference Endpoints API, which it takes from a constant of its own at every call."""
    if url is None:
        yield
        return
    constants: Any = importlib.import_module("huggingface_hub.constants")
    with _ADDRESS:
        before = constants.INFERENCE_ENDPOINTS_ENDPOINT
        constants.INFERENCE_ENDPOINTS_ENDPOINT = url
        try:
            yield
        finally:
            constants.INFERENCE_ENDPOINTS_ENDPOINT = before


def name_of(key: str) -> str:
    """The endpoint's name for an intent key."""
    return f"evalh-{re.sub(r'[^a-z0-9]+', '-', key.lower())}"[:_NAME].strip("-")


def _is_foreign(found: Any) -> bool:
    """It tells how its server is started, and that is not with an adapter of ours: somebody else took the name."""
    told = found.raw.get("model") if isinstance(found.raw, dict) else None
    words = told.get("args") if isinstance(told, dict) else None
    return isinstance(words, list) and bool(words) and not any("/evalh-" in str(word) for word in words)


def _repo(model: TrainedModel) -> str:
    return str(model.facts["repo"])
