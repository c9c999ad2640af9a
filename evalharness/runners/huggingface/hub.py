"""The Hub through its SDK: one token, one address, bounded waiting; repositories found before they are made.

>>> hub = Hub(HfJobsOptions(namespace="me"))                                                          # doctest: +SKIP
>>> hub.read(lambda: hub.api.inspect_job(job_id="687f", namespace=hub.namespace)).status.stage        # doctest: +SKIP
'RUNNING'
"""

from __future__ import annotations

import functools
import importlib
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from evalharness.buying import Calls
from evalharness.errors import MissingExtra, ProviderError
from evalharness.runners import hosted
from evalharness.runners.huggingface.options import HfJobsOptions
from evalharness.waits import retry_after

T = TypeVar("T")

HUB = "https://huggingface.co"
_PAUSES_S = (0.5, 1.0, 2.0, 4.0)
_LONGEST_PAUSE_S = 30.0
_PASSING = frozenset({408, 429})


class HubError(Exception):
    """What the SDK raised for an HTTP error (then `status_code` is one) or a lost connection."""

    def __init__(self, message: str, status_code: int | None, retry_after: float | None) -> None:
        super().__init__(message)
        self.message, self.status_code, self.retry_after = message, status_code, retry_after

    @property
    def passing(self) -> bool:
        """The same request may succeed in a moment."""
        return self.status_code is None or self.status_code in _PASSING or self.status_code >= 500


class Hub:
    """One account on one hub."""

    def __init__(self, options: HfJobsOptions, looks_s: tuple[float, ...], runner: str = "hf_jobs") -> None:
        self.options, self._looks_s, self._runner = options, looks_s, runner

    @property
    def url(self) -> str:
        """The Hub's address."""
        return (self.options.base_url or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")

    @functools.cached_property
    def token(self) -> str:
        """The access token. Raises ConfigError if there is none."""
        return hosted.api_key(self.options.api_key_env, self._runner)

    @functools.cached_property
    def api(self) -> Any:
        """The SDK's client; address and token are given, since it reads the environment only when it is first imported."""
        sdk = package()
        importlib.import_module("huggingface_hub.utils").disable_progress_bars()
        return sdk.HfApi(endpoint=self.url, token=self.token)

    @functools.cached_property
    def calls(self) -> Calls:
        """How calls are made."""
        return Calls((HubError,), self.token, self._looks_s)

    @functools.cached_property
    def account(self) -> Mapping[str, Any]:
        """Who the token belongs to."""
        found: Mapping[str, Any] = self.read(self.api.whoami)
        return found

    @functools.cached_property
    def namespace(self) -> str:
        """Who pays and owns."""
        return self.options.namespace or str(self.account["name"])

    def once(self, call: Callable[[], T]) -> T:
        """One call of the SDK. Raises HubError."""
        sdk = package()
        sdk.get_session().timeout = self.options.timeout_s  # its own client waits for ever
        errors = importlib.import_module("huggingface_hub.errors")
        try:
            return call()
        except errors.HFValidationError as error:
            raise HubError(str(error), 400, None) from None
        except (errors.HTTPError, OSError, RuntimeError) as error:  # OSError: offline, lost connections; RuntimeError: its upload library
            raise _converted(error, errors) from None

    def patiently(self, call: Callable[[], T]) -> T:
        """A call that may be sent again: the SDK tries most calls once. Raises HubError."""
        for pause in _PAUSES_S:
            try:
                return self.once(call)
            except HubError as error:
                if not error.passing:
                    raise
                time.sleep(min(error.retry_after or pause, _LONGEST_PAUSE_S))
        return self.once(call)

    def read(self, call: Callable[[], T]) -> T:
        """What a read returns. Raises ProviderError, NotThere."""
        return self.calls.read(lambda: self.patiently(call))

    def optional(self, call: Callable[[], T], default: T) -> T:
        """Like read; `default` where there is no such thing."""
        return self.calls.optional(lambda: self.patiently(call), default)

    def buy(self, create: Callable[[], str], find: Callable[[], str | None]) -> str:
        """What one create made, or what `find` shows where its answer was lost. Raises Refused, ProviderError."""
        return self.calls.buy(lambda: self.once(create), find)

    def repository(self, repo: str, kind: Literal["model", "dataset"], revision: str | None = None) -> Any:
        """The repository with its files' sizes and hashes; None if there is none."""
        look = self.api.dataset_info if kind == "dataset" else self.api.model_info
        return self.optional(lambda: look(repo, revision=revision, files_metadata=True, timeout=self.options.timeout_s), None)

    def ours(self, repo: str, kind: Literal["model", "dataset"]) -> Any:
        """The repository, None if there is none. Raises ProviderError if everybody may read it: rows and adapters are not for all."""
        info = self.repository(repo, kind)
        if info is not None and info.private is False:
            raise ProviderError(f"the {'data set' if kind == 'dataset' else 'model'} {repo} is public. Make it private, or delete it")
        return info

    def ensure_repository(self, repo: str, kind: Literal["model", "dataset"]) -> None:
        """A private repository of this name: found, or made and shown. Raises ProviderError if what is there is public."""

        def there() -> str | None:
            return repo if self.ours(repo, kind) is not None else None

        def create() -> str:
            self.api.create_repo(repo, repo_type=kind, private=True)  # one that is there (409) is looked at, not taken for ours
            return repo

        if there() is None:
            self.calls.upload(lambda: self.once(create), there)
            for pause in self._looks_s:  # what is new may be shown, and take files, a little later
                time.sleep(pause)
                if there() is not None:
                    return

    def ensure_files(self, repo: str, files: Mapping[str, bytes]) -> None:
        """A private data set that holds these files, sent in one commit unless they are there."""

        def there() -> str | None:
            info = self.ours(repo, "dataset")
            sizes = {} if info is None else {file.rfilename: file.size for file in info.siblings or []}
            return repo if all(name in sizes and sizes[name] in (None, len(content)) for name, content in files.items()) else None

        def commit() -> str:
            added = [package().CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in files.items()]
            self.api.create_commit(repo, operations=added, commit_message="Rows", repo_type="dataset")
            return repo

        if there() is None:
            self.ensure_repository(repo, "dataset")
            self.calls.upload(lambda: self.once(commit), there)

    def known_or(self, call: Callable[[], T], default: T) -> T:
        """What a read returns that nothing depends on; `default` if it fails."""
        try:
            return self.read(call)
        except ProviderError:
            return default


def package() -> Any:
    """The SDK. Raises MissingExtra."""
    try:
        return importlib.import_module("huggingface_hub")
    except ModuleNotFoundError as error:
        raise MissingExtra("huggingface_hub", "hf", "the runner 'hf_jobs'") from error


def _converted(error: Exception, errors: Any) -> HubError:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(error, errors.RepositoryNotFoundError) and not isinstance(error, errors.GatedRepoError):
        status = 404  # the Hub says 401 for what it does not show
    said = getattr(error, "server_message", None) or str(error).strip() or type(error).__name__
    wait = retry_after(response.headers) if response is not None else None
    return HubError(f"{said} (HTTP {status})" if status else said, status, wait)
