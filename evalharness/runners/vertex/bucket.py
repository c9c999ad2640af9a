"""A Cloud Storage bucket where training files lie under their content's hash: looked for before they are uploaded, never overwritten.

>>> Bucket("gs://my-bucket/tuning", ...).uri("evalh-0f3c.jsonl")                                       # doctest: +SKIP
'gs://my-bucket/tuning/evalh-0f3c.jsonl'
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalharness.errors import MissingExtra

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

NO_BUCKET = "bucket does not exist"
"""What the service says of a missing bucket (HTTP 404, as for a missing object)."""

PATIENCE_S = 20.0
"""How long a read is tried again, the waits included."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket, with a folder in it if the place names one (`gs://bucket/folder`)."""

    place: str
    credentials: Credentials
    project: str
    url: str | None = None
    """The service's address; Google's own if None."""
    timeout_s: float = 60.0
    pause_s: float = 0.5
    """First pause before a read is tried again."""

    @property
    def name(self) -> str:
        """The bucket alone."""
        return self.place.removeprefix("gs://").partition("/")[0]

    def key(self, file: str) -> str:
        """A file's object name in the bucket."""
        folder = self.place.removeprefix("gs://").partition("/")[2].strip("/")
        return f"{folder}/{file}" if folder else file

    def uri(self, file: str) -> str:
        """A file's gs:// address."""
        return f"gs://{self.name}/{self.key(file)}"

    def holds(self, file: str, size: int) -> bool:
        """Whether the file is there, whole. Raises the SDK's errors; 404 also where there is no such bucket."""
        with self._client() as client:
            found = self._look(client, file)
            return found is not None and found.size == size

    def put(self, file: str, path: Path) -> None:
        """Upload once, the SDK's retries off; refused (412) if somebody else was quicker. Raises the SDK's errors."""
        with self._client() as client:
            there = self._look(client, file)
            if there is not None and there.size == path.stat().st_size:
                return  # another candidate with the same rows was quicker; its job may be reading them
            blob = client.bucket(self.name).blob(self.key(file))
            generation = 0 if there is None else there.generation
            blob.upload_from_filename(
                str(path), content_type="application/jsonl", if_generation_match=generation, retry=None, timeout=10 * self.timeout_s
            )

    def _look(self, client: Any, file: str) -> Any:
        """The object, or None. Raises NotFound if there is no such bucket."""
        import requests
        from google.api_core.exceptions import NotFound, RetryError
        from google.cloud.storage.retry import DEFAULT_RETRY  # type: ignore[import-untyped]

        blob = client.bucket(self.name).blob(self.key(file))
        patient = DEFAULT_RETRY.with_delay(initial=self.pause_s, maximum=8.0).with_timeout(min(PATIENCE_S, self.timeout_s))
        try:
            blob.reload(retry=patient, timeout=self.timeout_s)
        except NotFound as error:
            if NO_BUCKET in str(error):
                raise
            return None
        except RetryError as error:  # what it kept trying says more than that it gave up
            raise error.cause or error from None
        except requests.JSONDecodeError as error:
            raise ValueError("a web page or half an answer came") from error
        return blob

    @contextmanager
    def _client(self) -> Iterator[Any]:
        try:
            from google.auth.transport.requests import AuthorizedSession
            from google.cloud import storage  # type: ignore[import-untyped]
        except ModuleNotFoundError as error:
            raise MissingExtra("google-cloud-storage", "vertex", "the runner 'vertex'") from error
        # Else the SDK asks for the bucket in a thread of its own, only to name it in traces.
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        # A 401 is an answer: a session that renewed the token then would hide it behind an error of its own.
        session = AuthorizedSession(self.credentials, refresh_status_codes=())  # type: ignore[no-untyped-call]
        where = {"api_endpoint": self.url} if self.url else None
        with storage.Client(project=self.project, credentials=self.credentials, _http=session, client_options=where) as client:
            yield client
