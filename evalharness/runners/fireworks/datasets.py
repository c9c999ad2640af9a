"""Training rows on Fireworks: a dataset named by its content, found before it is made, and usable only once it is whole.

    create -> :upload, or a signed address for large files -> :validateUpload -> READY

>>> upload(service, job, "train")                                                                     # doctest: +SKIP
'accounts/acme/datasets/evalh-0f3c77aa01b2c3d4e5f60718'
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evalharness.buying import NotThere
from evalharness.errors import ProviderError, Refused
from evalharness.records import Job
from evalharness.runners import hosted
from evalharness.runners.fireworks.service import Json, Service, plain

if TYPE_CHECKING:
    from fireworks import Fireworks

MOST_AT_ONCE = 150 * 10**6
"""Bytes that :upload takes (fireworks-ai 1.2.28, datasets.upload: "up to 150Mb")."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
SHOWN_S = 15.0
"""Seconds that a new dataset is given to show itself."""
_UNREAD = frozenset({401, 402, 403, 412, 429})
"""What services answer that have not looked at the rows."""
_NO_ROUTE = frozenset({404, 405, 501})
"""What services answer that have no such route."""
_LOCKS: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
"""One for each dataset: two candidates of one run often have the same rows, and send them once."""


def upload(service: Service, job: Job, split: Literal["train", "dev"]) -> str:
    """The full name of the dataset with these rows, ready for training. An upload costs nothing; one whose answer is lost is found.

    Raises Refused with the service's reason for rows it cannot use, ProviderError.
    """
    name, content = named(job, split), _file(job, split)
    with _LOCKS[f"{service.address} {service.account} {name}"]:
        _Upload(service, name, content, len(getattr(job, split))).make()
    return f"accounts/{service.account}/datasets/{name}"


def named(job: Job, split: Literal["train", "dev"]) -> str:
    """The id of the dataset with these rows, which are written down on the way."""
    return hosted.write_rows(getattr(job, split), _file(job, split)).removesuffix(".jsonl")


def _file(job: Job, split: str) -> Path:
    return Path(job.workdir) / f"{split}.jsonl"


class _Upload:
    """One dataset on its way."""

    def __init__(self, service: Service, name: str, content: Path, rows: int) -> None:
        self._service, self._name, self._content, self._rows = service, name, content, rows

    def make(self) -> None:
        """Do what is not done yet, until it is ready."""
        if (found := self._look()) is None:
            self._service.make(self._create, self._name, lambda: self._name if self._look() is not None else None)
            self._await()
        elif (count := hosted.number(found.get("exampleCount"))) and count != self._rows:
            raise Refused(
                f"the dataset {self._name} is there already, and somebody made it for {count:g} rows, not {self._rows}. Delete it"
            )
        elif not self._trouble():  # it is ready, or all its rows had come already
            return
        self._fill()

    def _await(self) -> None:
        """A service may show a new dataset, and take rows for it, a little after it has said that it is made."""
        pause, end = FIRST_PAUSE_S, time.monotonic() + SHOWN_S
        while self._look() is None and time.monotonic() < end:
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE_S)

    def _fill(self) -> None:
        try:
            self._service.calls.upload(self._send, lambda: None if self._trouble() else self._name)
        except Refused:
            if not _is_ready(self._look() or {}):  # somebody else may have filled it
                raise
        if why := self._trouble():
            raise Refused(f"the rows of the dataset {self._name} cannot be used: {why}")

    def _look(self) -> Json | None:
        try:
            return self._service.read(lambda sdk: sdk.datasets.get(self._name, account_id=self._service.account))
        except NotThere:
            return None

    def _create(self, sdk: Fireworks) -> object:
        about: Any = {"user_uploaded": {}, "example_count": str(self._rows), "format": "CHAT"}
        return sdk.datasets.create(account_id=self._service.account, dataset_id=self._name, dataset=about)

    def _send(self) -> str:
        """Send the rows; services of before `:upload` have signed addresses alone."""
        sdk = self._service.sdk.with_options(max_retries=0, timeout=10 * self._service.options.timeout_s)
        if self._content.stat().st_size <= MOST_AT_ONCE:
            import fireworks

            try:
                with self._content.open("rb") as rows:
                    file = (f"{self._name}.jsonl", rows)
                    plain(sdk.datasets.upload(self._name, account_id=self._service.account, file=file))
                return self._name
            except fireworks.APIStatusError as error:
                if error.status_code not in _NO_ROUTE or self._look() is None:
                    raise
        return self._send_signed()

    def _send_signed(self) -> str:
        """PUT the rows at the address that the service signs for them, with the headers that are part of the signature."""
        file, size = f"{self._name}.jsonl", str(self._content.stat().st_size)
        answer = self._service.read(
            lambda sdk: sdk.datasets.get_upload_endpoint(self._name, account_id=self._service.account, filename_to_size={file: size})
        )
        urls = answer.get("filenameToSignedUrls")
        if not isinstance(urls, Mapping) or not urls.get(file):
            raise ValueError("the service signed no address for the upload")
        headers = {"Content-Type": "application/octet-stream", "X-Goog-Content-Length-Range": f"{size},{size}", "Content-Length": size}
        with self._content.open("rb") as rows:
            self._service.put(str(urls[file]), rows, headers)
        return self._name

    def _trouble(self) -> str:
        """What the service says against the rows it has; empty once it has found them whole."""
        found = self._look()
        if found is None:
            return "it is not there"
        if _is_ready(found):
            return ""
        said, pause, end = self._validate(), FIRST_PAUSE_S, time.monotonic() + 10 * self._service.options.timeout_s
        while not _is_ready(found := self._look() or {}):
            if said := said or _against(found):
                return said
            if "state" not in found:  # a service that shows no states has said nothing against it
                return ""
            if time.monotonic() > end:
                raise ProviderError(f"the dataset {self._name} is still {found.get('state')}. Run again: it is not uploaded twice")
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE_S)
        return ""

    def _validate(self) -> str:
        """Tell the service that all rows have come; what it says against that, empty if nothing."""
        import fireworks

        def ask() -> str:
            try:
                plain(self._service.sdk.datasets.validate_upload(self._name, account_id=self._service.account, body={}))
            except fireworks.APIStatusError as error:
                if error.status_code in _NO_ROUTE:  # it finds out by itself
                    return ""
                if error.status_code in _UNREAD or not self._service.calls.refused(error):
                    raise
                return self._service.calls.said(error)
            return ""

        return self._service.calls.read(ask)


def _is_ready(found: Json) -> bool:
    return found.get("state") == "READY"


def _against(found: Json) -> str:
    """What the service says against a dataset's rows."""
    status = found.get("status")
    failed = "FAIL" in str(found.get("state"))
    if not isinstance(status, dict) or status.get("code") in (None, "OK", 0, "0"):
        return str(found["state"]).lower() if failed else ""
    return str(status.get("message") or status.get("code"))
