"""Vertex AI's tuning jobs and generateContent, the Gemini API, and the Cloud Storage that tuning reads, on loopback.

A job steps through `states` with every retrieve; generateContent answers by `answer(contents, model)`. Nothing stays open:
`deployments` is empty for ever, as tuned Gemini models cost by the token.

>>> with VertexEmulator() as service:                                                                 # doctest: +SKIP
...     os.environ["GOOGLE_VERTEX_BASE_URL"], os.environ["STORAGE_EMULATOR_HOST"] = service.url, service.storage.url
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import re
from collections.abc import Callable, Iterable
from email import message_from_bytes
from typing import Any, ClassVar, Self

from aiohttp import web

from tests.emulators.core import KEY, Emulator, Fault, Incoming, Refuse, Route

Json = dict[str, Any]
NOW = datetime.datetime(2026, 11, 22, 12, 0, tzinfo=datetime.UTC)
STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED"} | {
    412: "FAILED_PRECONDITION", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"
}  # fmt: skip
OVER = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED")
PLACE = "/v1beta1/projects/{project}/locations/{location}"


def said(status: int, message: str, *details: Json) -> Json:
    """An error answer's body, in Google's form."""
    error: Json = {"code": status, "message": message, "status": STATUS.get(status, "UNKNOWN")}
    return {"error": {**error, **({"details": list(details)} if details else {})}}


def fault(status: int, message: str = "it failed", *details: Json, after: bool = False, **headers: str) -> Fault:
    """An error answer in Google's form; headers with '_' for '-'."""
    return Fault(status, said(status, message, *details), {name.replace("_", "-"): text for name, text in headers.items()}, after=after)


def retry_info(delay: str) -> Json:
    """The detail by which Google says how long to wait."""
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def echo(contents: list[Json], model: str) -> str:
    """The last user turn, and who answers."""
    turns = ["".join(part.get("text", "") for part in turn["parts"]) for turn in contents if turn.get("role", "user") == "user"]
    return f"{model} heard: {turns[-1]}"


class StorageEmulator(Emulator):
    """Cloud Storage: `objects` by bucket and name."""

    description: ClassVar[str | None] = "google-storage-v1.openapi.json"
    server: ClassVar[str] = "https://storage.googleapis.com"
    undescribed: ClassVar[frozenset[str]] = frozenset({"upload", "resume"})

    def __init__(self, *, anonymous: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.anonymous = anonymous
        self.objects: dict[tuple[str, str], Json] = {}
        self.contents: dict[tuple[str, str], bytes] = {}
        self.buckets = {"evalh-bucket"}
        self.pending: dict[str, tuple[str, str, str]] = {}

    def routes(self) -> Iterable[tuple[str, str, str, Route]]:
        return [
            ("bucket", "GET", "/storage/v1/b/{bucket}", self.bucket),
            ("object", "GET", "/storage/v1/b/{bucket}/o/{object:.+}", self.object),
            ("upload", "POST", "/upload/storage/v1/b/{bucket}/o", self.upload),
            ("resume", "PUT", "/upload/storage/v1/b/{bucket}/o", self.resume),
        ]

    def authorize(self, request: web.Request) -> None:
        sent = request.headers.get("Authorization")
        if sent != f"Bearer {self.key}" and not (self.anonymous and sent is None):
            raise Refuse(401, said(401, f"Invalid Credentials {sent}"))

    def bucket(self, call: Incoming) -> Json:
        name = call.params["bucket"]
        if name not in self.buckets:
            raise Refuse(404, said(404, "The specified bucket does not exist."))
        return {"kind": "storage#bucket", "id": name, "name": name, "location": "US"}

    def object(self, call: Incoming) -> Json:
        self.bucket(call)
        if call.query.get("alt") == "media":
            raise Refuse(400, said(400, "not here"))
        where = call.params["bucket"], call.params["object"]
        if where not in self.objects:
            raise Refuse(404, said(404, f"No such object: {'/'.join(where)}"))
        return self.objects[where]

    def upload(self, call: Incoming) -> Any:
        self.bucket(call)
        bucket, kind = call.params["bucket"], call.query["uploadType"]
        if kind == "resumable":
            made = f"up-{len(self.pending) + 1}"
            name = call.query.get("name") or json.loads(call.raw)["name"]
            self.pending[made] = bucket, name, call.query.get("ifGenerationMatch", "")
            return web.Response(headers={"Location": f"{self.url}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={made}"})
        assert kind == "multipart"
        parts = message_from_bytes(b"Content-Type: " + call.content_type.encode() + b"\r\n\r\n" + call.raw).get_payload()
        head, body = (part.get_payload(decode=True) for part in parts)  # type: ignore[union-attr]
        return self.store(bucket, json.loads(head)["name"], body.rstrip(b"\r\n") + b"\n", call.query.get("ifGenerationMatch", ""))  # type: ignore[arg-type, union-attr]

    def resume(self, call: Incoming) -> Json:
        bucket, name, generation = self.pending.pop(call.query["upload_id"])
        return self.store(bucket, name, call.raw, generation)

    def store(self, bucket: str, name: str, body: bytes, generation: str) -> Json:
        """Keep an object if its generation is the expected one (0: there is none)."""
        there = self.objects.get((bucket, name), {"generation": "0"})["generation"]
        if generation and generation != there:
            raise Refuse(412, said(412, "At least one of the pre-conditions you specified did not hold."))
        made = str(len(self.calls) + 1)
        self.contents[bucket, name] = body
        self.objects[bucket, name] = {
            "kind": "storage#object", "id": f"{bucket}/{name}/{made}", "name": name, "bucket": bucket, "generation": made,
            "metageneration": "1", "contentType": "application/jsonl", "size": str(len(body)), "crc32c": _crc32c(body),
            "md5Hash": base64.b64encode(hashlib.md5(body).digest()).decode(), "timeCreated": NOW.isoformat(),
        }  # fmt: skip
        return self.objects[bucket, name]


def _crc32c(body: bytes) -> str:
    import google_crc32c

    return base64.b64encode(int(google_crc32c.value(body)).to_bytes(4, "big")).decode()


class VertexEmulator(Emulator):
    """State: jobs, and the storage beside it. `states` is what a job goes through; its last one stays."""

    description: ClassVar[str | None] = "google-aiplatform-v1beta1.openapi.json"
    server: ClassVar[str] = "https://aiplatform.googleapis.com"
    undescribed: ClassVar[frozenset[str]] = frozenset({"gemini", "cancel"})
    """The Gemini API is another one; cancelling wants a body by the description, and google-genai sends none."""

    def __init__(self, *, answer: Callable[[list[Json], str], str] = echo, anonymous: bool = False, **options: Any) -> None:
        super().__init__(**{"key": "anonymous" if anonymous else KEY, **options})
        self.storage = StorageEmulator(
            anonymous=anonymous, **{"checked": not anonymous, **options}
        )  # who has no key breaks the description
        self.answer = answer
        self.jobs: dict[str, Json] = {}
        self.deployments: dict[str, Json] = {}
        self.steps: dict[str, int] = {}
        self.states = ["JOB_STATE_PENDING", "JOB_STATE_QUEUED", "JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED"]
        self.models = {"gemini-2.5-flash", "gemini-x"}
        self.finish = "STOP"
        self.thoughts = 0
        self.keeps_labels = True
        self.filters = True
        self.page = 100
        self.error: Json = {"code": 3, "message": "Line 3 has no model turn"}

    def __enter__(self) -> Self:
        self.storage.__enter__()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        self.storage.__exit__(*error)
        super().__exit__(*error)

    def routes(self) -> Iterable[tuple[str, str, str, Route]]:
        asked = [(f"/endpoints/{{model:[^:/]+}}:{verb}", verb) for verb in ("generateContent", "countTokens")]
        asked += [(f"/publishers/google/models/{{model:[^:/]+}}:{verb}", verb) for verb in ("generateContent", "countTokens")]
        verbs: dict[str, tuple[str, Route]] = {"generateContent": ("chat", self.chat), "countTokens": ("count", self.count)}
        return [
            ("create_job", "POST", PLACE + "/tuningJobs", self.create_job),
            ("list_jobs", "GET", PLACE + "/tuningJobs", self.list_jobs),
            ("job", "GET", PLACE + "/tuningJobs/{id}", self.retrieve_job),
            ("cancel", "POST", PLACE + "/tuningJobs/{id:[^:/]+}:cancel", self.cancel_job),
            *[(verbs[verb][0], "POST", PLACE + path, verbs[verb][1]) for path, verb in asked],
            ("gemini", "POST", "/v1/models/{model:[^:/]+}:generateContent", self.chat),
            ("gemini", "POST", "/v1beta/models/{model:[^:/]+}:generateContent", self.chat),
        ]

    def authorize(self, request: web.Request) -> None:
        by_key = request.headers.get("x-goog-api-key") == self.key and "/projects/" not in request.path
        if not by_key and request.headers.get("Authorization") != f"Bearer {self.key}":
            sent = request.headers.get("Authorization") or request.headers.get("x-goog-api-key")
            raise Refuse(401, said(401, f"Request had invalid authentication credentials: {sent}"))

    def create_job(self, call: Incoming) -> Json:
        asked, made = call.json, str(7000 + len(self.jobs))
        if asked.get("baseModel") not in self.models:
            raise Refuse(400, said(400, f"Base model {asked.get('baseModel')} is not supported."))
        spec = asked["supervisedTuningSpec"]
        for uri in (spec["trainingDatasetUri"], spec.get("validationDatasetUri")):
            if uri:
                self.rows(uri)
        parameters = {
            "epochCount": "3",
            "learningRateMultiplier": 1.0,
            "adapterSize": "ADAPTER_SIZE_FOUR",
            **spec.get("hyperParameters", {}),
        }
        parameters["epochCount"] = str(parameters["epochCount"])
        self.jobs[made] = {
            **asked, "name": f"projects/{call.params['project']}/locations/{call.params['location']}/tuningJobs/{made}",
            "supervisedTuningSpec": {**spec, "hyperParameters": parameters}, "state": self.states[0],
            "createTime": at(0), "updateTime": at(0),
            "experiment": "projects/p/locations/l/metadataStores/default/contexts/tuning-experiment-1",
        }  # fmt: skip
        if not self.keeps_labels:
            self.jobs[made].pop("labels", None)
        self.steps[made] = 0
        return self.jobs[made]

    def rows(self, uri: str) -> list[Json]:
        """The training rows at a gs:// address, if they are such."""
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        if (bucket, name) not in self.storage.contents:
            raise Refuse(400, said(400, f"Failed to read {uri}"))
        found = [json.loads(line) for line in self.storage.contents[bucket, name].splitlines()]
        for row in found:
            turns = row["contents"]
            assert row.keys() <= {"contents", "systemInstruction"}
            assert {turn["role"] for turn in turns} <= {"user", "model"}
            assert turns[-1]["role"] == "model"
            assert all(part["text"] for turn in turns for part in turn["parts"])
        return found

    def list_jobs(self, call: Incoming) -> Json:
        found = list(reversed(self.jobs.values()))
        if self.filters and (asked := call.query.get("filter")):
            key, value = re.fullmatch(r'labels\.(\w+)="([a-z0-9_-]*)"', asked).groups()  # type: ignore[union-attr]
            found = [job for job in found if job.get("labels", {}).get(key) == value]
        start, size = int(call.query.get("pageToken", 0)), min(self.page, int(call.query.get("pageSize", 100)))
        answer: Json = {"tuningJobs": found[start : start + size]} if found else {}  # proto JSON leaves out what is empty
        return {**answer, **({"nextPageToken": str(start + size)} if start + size < len(found) else {})}

    def known(self, call: Incoming) -> Json:
        if call.params["id"] not in self.jobs:
            raise Refuse(404, said(404, f"TuningJob {call.params['id']} is not found."))
        return self.jobs[call.params["id"]]

    def retrieve_job(self, call: Incoming) -> Json:
        job, number = self.known(call), call.params["id"]
        if job.get("state") not in (*OVER, None):
            self.steps[number] += 1
            self.enter(job, number, self.states[min(self.steps[number], len(self.states) - 1)])
        return job

    def enter(self, job: Json, number: str, state: str) -> None:
        """What a job does when it reaches a state."""
        job.update(state=state, updateTime=at(60))
        if state == "JOB_STATE_RUNNING":
            job.update(startTime=at(10), tuningJobState="TUNING_JOB_STATE_TUNING", tuningJobMetadata={"completedStepCount": "2"})
        elif state == "JOB_STATE_FAILED":
            job.update(error=self.error, endTime=at(60))
        elif state == "JOB_STATE_SUCCEEDED":
            self.succeed(job, number)

    def succeed(self, job: Json, number: str) -> None:
        place, rows = job["name"].rpartition("/tuningJobs/")[0], self.rows(job["supervisedTuningSpec"]["trainingDatasetUri"])
        epochs = int(job["supervisedTuningSpec"]["hyperParameters"]["epochCount"])
        saved = [
            {"checkpointId": str(epoch), "epoch": str(epoch), "step": str(2 * epoch), "endpoint": f"{place}/endpoints/{number}{epoch}"}
            for epoch in range(1, epochs + 1)
        ]
        if job["supervisedTuningSpec"].get("exportLastCheckpointOnly"):
            saved = []
        stats = {
            "tuningDatasetExampleCount": str(len(rows)), "totalBillableTokenCount": "4000", "tuningStepCount": str(2 * epochs),
            "totalTruncatedExampleCount": "0",
        }  # fmt: skip
        job.update(
            startTime=at(10), endTime=at(100), tuningDataStats={"supervisedTuningDataStats": stats},
            tunedModel={"model": f"{place}/models/{number}@1", "endpoint": f"{place}/endpoints/{number}{epochs}", "checkpoints": saved},
        )  # fmt: skip
        self.models.update({f"{number}{epoch}" for epoch in range(1, epochs + 1)})

    def cancel_job(self, call: Incoming) -> Json:
        job = self.known(call)
        if job["state"] in OVER:
            raise Refuse(400, said(400, f"TuningJob is in state {job['state']} and cannot be cancelled."))
        job["state"] = "JOB_STATE_CANCELLED"
        return {}

    def asked(self, call: Incoming) -> str:
        model = call.params["model"]
        if model not in self.models:
            raise Refuse(404, said(404, f"Publisher Model `{model}` was not found."))
        return model

    def count(self, call: Incoming) -> Json:
        self.asked(call)
        return {"totalTokens": sum(len(part["text"].split()) for turn in call.json["contents"] for part in turn["parts"])}

    def chat(self, call: Incoming) -> Json:
        text = self.answer(call.json["contents"], self.asked(call))
        into = sum(len(part["text"].split()) for turn in call.json["contents"] for part in turn["parts"])
        usage = {"promptTokenCount": into, "candidatesTokenCount": len(text.split()), "thoughtsTokenCount": self.thoughts}
        candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": self.finish, "index": 0}
        return {"candidates": [candidate], "usageMetadata": {**usage, "totalTokenCount": sum(usage.values())}, "modelVersion": "m"}


def at(seconds: int) -> str:
    """A time stamp as Google writes it."""
    return (NOW + datetime.timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
