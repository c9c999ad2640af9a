"""Training rows on Together: named by their content, found before they are uploaded, and checked by the service before use.

    POST /files (checksum) -> PUT where it says -> POST /files/{id}/preprocess -> PENDING, QUEUED, RUNNING -> COMPLETED
    POST /files/upload     where the service does not have these

>>> upload(service, job, "train")                                                                     # doctest: +SKIP
'file-5fc1…'
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evalharness.buying import plain
from evalharness.errors import ProviderError, Refused
from evalharness.records import Job
from evalharness.runners import hosted
from evalharness.runners.together.service import Json, Service

if TYPE_CHECKING:
    from together import Together

log = logging.getLogger("evalh")

WAITING = frozenset({"PENDING", "QUEUED", "RUNNING"})
DONE = frozenset({None, "COMPLETED"})
FAILED, INVALID, UNPROCESSED = "FAILED", "INVALID_FORMAT", "not processed"
UNKNOWN_S = 60.0
"""Seconds that a state which nobody knows is waited for: it may be a last one, and a file that cannot be used yet is refused for free."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


class _Broken(ProviderError):
    """Nothing is there, or nothing of any use: it can be uploaded again."""


def upload(service: Service, job: Job, split: Literal["train", "dev"]) -> str:
    """The id of the file with these rows, usable for training. One whose answer is lost is found.

    An upload costs nothing, so one that broke is begun once more. Raises Refused with the service's report for rows it cannot
    use, ProviderError.
    """
    try:
        return _upload(service, job, split)
    except _Broken as error:
        log.info("the upload of the %s rows is begun again: %s", split, error)
        return _upload(service, job, split)


def _upload(service: Service, job: Job, split: Literal["train", "dev"]) -> str:
    content = Path(job.workdir) / f"{split}.jsonl"
    name = hosted.write_rows(getattr(job, split), content)
    named = content.with_name(name)  # the SDK uploads a file under its own name
    content.replace(named)
    sent: list[str] = []

    def there() -> str | None:
        files = service.items(lambda sdk: sdk.files.list())
        return next((str(file["id"]) for file in files if _is_whole(file, name, named.stat().st_size)), None)

    def send() -> str:
        sent.append(_send(service.patient, named))
        return sent[0]

    try:
        found = there() or service.calls.buy(send, there)
    except Refused:
        raise
    except ProviderError as error:
        raise _Broken(str(error)) from None
    if found not in sent and look(service, found).get("processing_status") == "PENDING":
        _ask_for_check(service, found)
    return _processed(service, found, split)


def _ask_for_check(service: Service, file: str) -> None:
    """The last step of an upload, once more: who uploaded it may have ended before."""
    try:
        service.calls.read(lambda: service.sdk.post(f"/v1/files/{file}/preprocess", cast_to=object))
    except ProviderError as error:
        log.info("file %s waits for its check, which cannot be asked for again: %s", file, error)


def look(service: Service, file: str) -> Json:
    """What the service says of a file."""
    return service.read(lambda sdk: sdk.files.retrieve(file), "id")


def _is_whole(file: Json, name: str, size: int) -> bool:
    state = file.get("processing_status")
    if file.get("filename") != name or state in (FAILED, INVALID):
        return False
    return file.get("bytes") == size or state == "COMPLETED" or file.get("Processed") is True


def _send(sdk: Together, path: Path) -> str:
    import together

    try:
        return str(plain(sdk.files.upload(path, check=False), "id")["id"])
    except together.APIStatusError as error:
        if error.status_code in (404, 405) and error.request.url.path.endswith("/files"):
            return _send_whole(sdk, path)
        # The SDK says response headers, which may hold signed addresses, and calls every 401 a lack of credit.
        body: Any = error.body
        reason = body.get("error", body) if isinstance(body, dict) else None
        said = reason.get("message") if isinstance(reason, dict) else reason
        error.message = str(said) if error.status_code == 401 and said else _sentence(error.message.partition(", headers:")[0])
        raise
    except (AssertionError, KeyError):  # how the SDK says that its last answer was a web page, or a conflict with no file in it
        raise ValueError("a web page or half an answer came") from None


def _sentence(said: str) -> str:
    """What the service says in the JSON that the SDK quotes as it came."""
    quoted = said[said.find("{") :]
    try:
        found = json.loads(quoted).get("error")
    except ValueError:
        return said
    own = found.get("message") if isinstance(found, dict) else found
    return said.replace(quoted, own) if isinstance(own, str) and own else said


def _send_whole(sdk: Together, path: Path) -> str:
    """One request with the whole file, as the published description has it (2026-04-28): for services without signed addresses."""
    about = {"purpose": "fine-tune", "file_name": path.name, "file_type": "jsonl"}
    options: Any = {"headers": {"Content-Type": "multipart/form-data"}}
    with path.open("rb") as content:
        file = [("file", (path.name, content.read()))]
    return str(plain(sdk.post("/v1/files/upload", cast_to=object, body=about, files=file, options=options), "id")["id"])


def _processed(service: Service, file: str, split: str) -> str:
    pause, began = FIRST_PAUSE_S, time.monotonic()
    end = began + 10 * service.options.timeout_s
    while True:
        found = look(service, file)
        state = found.get("processing_status")
        if state in (FAILED, INVALID):
            raise _unusable(service, found, split)
        if state is None and found.get("Processed") is False:  # as the description has it: no states, but this
            state = UNPROCESSED
        if state in DONE or (state not in WAITING and time.monotonic() > began + UNKNOWN_S):
            return file
        if time.monotonic() > end:
            if state == "PENDING" and hosted.number(found.get("bytes")) == 0:  # who began to upload it has ended before
                raise _removed(service, found, f"the {split} file {file} never got its content, and is deleted")
            raise ProviderError(f"the {split} file {file} is still {state}. Run again: it is not uploaded twice")
        time.sleep(pause)
        pause = min(1.5 * pause, LONGEST_PAUSE_S)


def _unusable(service: Service, file: Json, split: str) -> ProviderError:
    report = file.get("validation_report") or {}
    why = report.get("error") or str(file["processing_status"]).lower().replace("_", " ")
    said = f"the {split} file {file['id']} cannot be used for training: {why}"
    return Refused(said) if file["processing_status"] == INVALID else _removed(service, file, said)  # nothing is wrong with the rows


def _removed(service: Service, file: Json, why: str) -> ProviderError:
    service.calls.optional(lambda: service.sdk.files.delete(str(file["id"])), None)
    return _Broken(why)
