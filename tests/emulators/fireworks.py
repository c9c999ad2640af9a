"""Fireworks' gateway (accounts, datasets, fine-tuning jobs, models, deployments, loaded adapters) and its chat API on loopback.

Datasets, jobs, deployments and adapters step through their states with every look; chat answers by `answer(messages, model)`.

>>> with FireworksEmulator() as service:                                                              # doctest: +SKIP
...     Fireworks(base_url=service.url, api_key=service.key).deployments.get("d", account_id="acme")
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from aiohttp import web

from tests.emulators.core import Emulator, Incoming, Refuse, Route
from tests.emulators.openai import echo

Json = dict[str, Any]
DAY, LATER = "2026-09-21T14:13:20Z", "2026-09-21T14:20:20Z"
ACCOUNT, BASE = "acme", "accounts/fireworks/models/base-8b"
JOB = "/v1/accounts/{account}/supervisedFineTuningJobs"
FINAL = (
    "JOB_STATE_COMPLETED",
    "JOB_STATE_FAILED",
    "JOB_STATE_CANCELLED",
    "JOB_STATE_EARLY_STOPPED",
    "JOB_STATE_EXPIRED",
    "JOB_STATE_ARCHIVED",
)
METRICS = (
    {"step": 1, "timestamp": 1.0, "data": {"train/loss": 2.5, "train/learning_rate": 0.0001}},
    {"step": 2, "timestamp": 2.0, "data": {"train/loss": 1.5, "train/learning_rate": 0.0002}},
    {"step": 2, "timestamp": 2.0, "data": {"eval/loss": 1.6}},
    {"step": 3, "timestamp": 3.0, "data": {"train/loss": 0.9, "eval/loss": 1.0}},
)


def status(code: int, word: str, message: str) -> Refuse:
    """An error as the gateway says it: gRPC's code and a message."""
    return Refuse(code, {"code": {400: 3, 404: 5, 409: 6, 429: 8}.get(code, 13), "message": message, "details": [], "status": word})


class FireworksEmulator(Emulator):
    """State: datasets, jobs, models, deployments, adapters. The last of each list of states stays.

    `deployments` has what costs money; what was deleted softly stays in `gone`, as on the service, and keeps its name.
    """

    description: ClassVar[str | None] = "fireworks-gateway.openapi.json"
    server: ClassVar[str] = "https://api.fireworks.ai"
    undescribed: ClassVar[frozenset[str]] = frozenset({"accounts", "upload", "put", "metrics", "checkpoints", "promote", "scale"})
    """Newer than the description, or storage; the SDK's own types check the answers. (`scale` is taken for an update by its checker.)"""

    def __init__(self, *, answer: Callable[[list[Json], str], str] = echo, uploads: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.answer, self.uploads = answer, uploads
        self.accounts = [ACCOUNT]
        self.datasets: dict[str, Json] = {}
        self.contents: dict[str, bytes] = {}
        self.jobs: dict[str, Json] = {}
        self.models: dict[str, Json] = {}
        self.deployments: dict[str, Json] = {}
        self.gone: dict[str, Json] = {}
        self.adapters: dict[str, Json] = {}
        self.steps: dict[str, int] = {}
        self.states = ["JOB_STATE_CREATING", "JOB_STATE_PENDING", "JOB_STATE_RUNNING", "JOB_STATE_WRITING_RESULTS", "JOB_STATE_COMPLETED"]
        self.dataset_states = ["UPLOADING", "READY"]
        self.deployment_states = ["CREATING", "READY"]
        self.adapter_states = ["DEPLOYING", "DEPLOYED"]
        self.metrics = list(METRICS)
        self.estimate: Json = {"currencyCode": "USD", "units": "1", "nanos": 250_000_000}
        self.checkpoints = 2
        self.lists_late = False
        """What was just loaded is in no list yet."""
        self.add_model(BASE, kind="HF_BASE_MODEL", supervisedLoraTunable=True, trainingContextLength=8192,
                       baseModelDetails={"parameterCount": "8000000000", "checkpointFormat": "HUGGINGFACE", "worldSize": 1})  # fmt: skip

    def described(self, path: str) -> tuple[str | None, str]:
        if path.startswith("/inference"):
            return "fireworks-inference.openapi.json", f"{self.server}/inference"
        return self.description, self.server

    def add_model(self, name: str, **fields: Any) -> None:
        """A model that may be asked about, tuned or deployed."""
        self.models[name] = {"name": name, "createTime": DAY, "state": "READY", **fields}

    def authorize(self, request: web.Request) -> None:
        if request.path.startswith("/signed/"):
            if "Authorization" in request.headers:
                raise status(400, "INVALID_ARGUMENT", "a signed address was asked with credentials")
            return
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            raise Refuse(401, {"code": 16, "message": f"invalid API key {request.headers.get('Authorization')}", "details": []})

    def routes(self) -> Iterable[tuple[str, str, str, Route]]:
        at = "/v1/accounts/{account}"
        return [
            ("accounts", "GET", "/v1/accounts", lambda call: page("accounts", [account(name) for name in self.accounts], call)),
            ("create_dataset", "POST", f"{at}/datasets", self.create_dataset),
            ("dataset", "GET", f"{at}/datasets/{{id}}", self.dataset),
            *([("upload", "POST", f"{at}/datasets/{{id}}:upload", self.upload)] if self.uploads else []),
            ("upload_endpoint", "POST", f"{at}/datasets/{{id}}:getUploadEndpoint", self.upload_endpoint),
            ("put", "PUT", "/signed/{account}/{id}/{file}", self.put),
            ("validate", "POST", f"{at}/datasets/{{id}}:validateUpload", self.validate),
            ("estimate", "POST", f"{JOB}:estimateCost", self.estimate_cost),
            ("create_job", "POST", JOB, self.create_job),
            ("job", "GET", f"{JOB}/{{id}}", self.job),
            ("cancel", "POST", f"{JOB}/{{id}}:cancel", self.cancel_job),
            ("checkpoints", "GET", f"{JOB}/{{id}}/checkpoints", self.list_checkpoints),
            ("promote", "POST", f"{JOB}/{{id}}/checkpoints/{{checkpoint}}:promote", self.promote),
            ("metrics", "GET", "/signed/{account}/{id}", self.metrics_file),
            ("model", "GET", f"{at}/models/{{id}}", lambda call: known(self.models, self.named("models", call))),
            ("create_deployment", "POST", f"{at}/deployments", self.create_deployment),
            ("deployment", "GET", f"{at}/deployments/{{id}}", self.deployment),
            ("scale", "PATCH", f"{at}/deployments/{{id}}:scale", self.scale),
            ("delete_deployment", "DELETE", f"{at}/deployments/{{id}}", self.delete_deployment),
            ("load", "POST", f"{at}/deployedModels", self.load),
            ("adapters", "GET", f"{at}/deployedModels", self.list_adapters),
            ("adapter", "GET", f"{at}/deployedModels/{{id}}", self.adapter),
            ("unload", "DELETE", f"{at}/deployedModels/{{id}}", self.unload),
            ("chat", "POST", "/inference/v1/chat/completions", self.chat),
        ]  # fmt: skip

    def step(self, name: str, states: list[str]) -> str:
        """The next of its states."""
        self.steps[name] = self.steps.get(name, -1) + 1
        return states[min(self.steps[name], len(states) - 1)]

    def create_dataset(self, call: Incoming) -> Json:
        name = f"accounts/{call.params['account']}/datasets/{call.json['datasetId']}"
        if name in self.datasets:
            raise status(409, "ALREADY_EXISTS", f"dataset {name} already exists")
        self.datasets[name] = {**call.json["dataset"], "name": name, "createTime": DAY, "state": "UPLOADING"}
        return self.datasets[name]

    def named(self, kind: str, call: Incoming) -> str:
        return f"accounts/{call.params['account']}/{kind}/{call.params['id']}"

    def dataset(self, call: Incoming) -> Json:
        found = known(self.datasets, name := self.named("datasets", call))
        if found.get("_checked") and found["state"] != "READY":
            found["state"] = self.step(name, self.dataset_states)
        return shown(found)

    def upload(self, call: Incoming) -> Json:
        found = known(self.datasets, name := self.named("datasets", call))
        if found["state"] == "READY":
            raise status(400, "FAILED_PRECONDITION", f"dataset {name} is not awaiting an upload")
        file, content = call.form["file"]
        self.contents[name] = content
        return {"id": call.params["id"], "bytes": len(content), "filename": file, "object": "file", "purpose": "fine-tune"}

    def upload_endpoint(self, call: Incoming) -> Json:
        known(self.datasets, self.named("datasets", call))
        (file,) = call.json["filenameToSize"]
        return {"filenameToSignedUrls": {file: f"{self.url}/signed/{call.params['account']}/{call.params['id']}/{file}"}}

    def put(self, call: Incoming) -> bytes:
        self.contents[self.named("datasets", call)] = call.raw
        return b""

    def validate(self, call: Incoming) -> Json:
        found = known(self.datasets, name := self.named("datasets", call))
        if name not in self.contents:
            raise status(400, "FAILED_PRECONDITION", f"no files were uploaded for dataset {name}")
        for number, line in enumerate(self.contents[name].splitlines(), 1):
            if "poison" in line.decode():
                raise status(400, "INVALID_ARGUMENT", f"line {number} of the dataset is not valid")
        found["_checked"] = True
        return {}

    def estimate_cost(self, call: Incoming) -> Json:
        known(self.datasets, call.json["dataset"])
        return {"estimatedCost": self.estimate}

    def create_job(self, call: Incoming) -> Json:
        asked, job = call.json, call.query.get("supervisedFineTuningJobId") or f"random-{len(self.jobs)}"
        name = f"accounts/{call.params['account']}/supervisedFineTuningJobs/{job}"
        if name in self.jobs:
            raise status(409, "ALREADY_EXISTS", f"supervised fine-tuning job {name} already exists")
        for part in ("dataset", "evaluationDataset"):
            if part in asked and known(self.datasets, asked[part])["state"] != "READY":
                raise status(400, "FAILED_PRECONDITION", f"dataset {asked[part]} is not ready")
        known(self.models, asked["baseModel"])
        self.jobs[name] = {
            "epochs": 3, "learningRate": 0.0001, "loraRank": 8, **asked, "name": name, "createTime": DAY, "estimatedCost": self.estimate,
            "state": self.step(name, self.states), "createdBy": "somebody@example.com",
        }  # fmt: skip
        return shown(self.jobs[name])

    def job(self, call: Incoming) -> Json:
        found = known(self.jobs, name := self.named("supervisedFineTuningJobs", call))
        if found["state"] not in FINAL:
            self.enter(found, self.step(name, self.states))
        return shown(found)

    def enter(self, job: Json, state: str) -> None:
        """What a job does when it reaches a state."""
        job.update(state=state, updateTime=LATER)
        if state == "JOB_STATE_RUNNING":
            job["jobProgress"] = {"percent": 40, "epoch": 1}
            job["metricsFileSignedUrl"] = f"{self.url}/signed/{job['name'].split('/')[1]}/{job['name'].rpartition('/')[2]}"
        elif state == "JOB_STATE_FAILED":
            job["status"] = {"code": "INVALID_ARGUMENT", "message": "Row 3 has no assistant turn"}
        elif state in ("JOB_STATE_COMPLETED", "JOB_STATE_EARLY_STOPPED"):
            _, owner, _, job_id = job["name"].split("/")
            tuned = job.setdefault("outputModel", f"accounts/{owner}/models/{job_id}")
            self.add_adapter(tuned, job)
            job.update(completedTime=LATER, jobProgress={"percent": 100, "inputTokens": 12_000})
            job["metricsFileSignedUrl"] = f"{self.url}/signed/{owner}/{job_id}"

    def add_adapter(self, name: str, job: Json) -> None:
        """A model that a job has tuned."""
        peft = {"baseModel": job["baseModel"], "r": 8, "targetModules": ["q_proj"]}
        self.add_model(name, kind="HF_PEFT_ADDON", peftDetails=peft, fineTuningJob=job["name"])

    def metrics_file(self, call: Incoming) -> bytes:
        found = known(self.jobs, self.named("supervisedFineTuningJobs", call))
        rows = self.metrics if found["state"] in FINAL else self.metrics[:1]
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    def cancel_job(self, call: Incoming) -> Json:
        found = known(self.jobs, self.named("supervisedFineTuningJobs", call))
        if found["state"] in FINAL:
            raise status(400, "FAILED_PRECONDITION", f"the job is {found['state']}")
        found["state"] = "JOB_STATE_CANCELLED"
        return {}

    def list_checkpoints(self, call: Incoming) -> Json:
        found = known(self.jobs, name := self.named("supervisedFineTuningJobs", call))
        count = self.checkpoints if "samplerCheckpointSaveIntervalSteps" in found else 0
        saved = [{"name": f"{name}/checkpoints/step-{number}", "promotable": True, "createTime": DAY} for number in range(1, count + 1)]
        return page("checkpoints", saved, call)

    def promote(self, call: Incoming) -> Json:
        found = known(self.jobs, self.named("supervisedFineTuningJobs", call))
        if call.json["output_model"] in self.models:
            raise status(409, "ALREADY_EXISTS", "the model exists")
        self.add_adapter(call.json["output_model"], found)
        return {"operation": {"name": "operations/1"}, "model": self.models[call.json["output_model"]]}

    def create_deployment(self, call: Incoming) -> Json:
        asked, deployment = call.json, call.query.get("deploymentId") or f"random-{len(self.deployments)}"
        name = f"accounts/{call.params['account']}/deployments/{deployment}"
        if name in self.deployments or name in self.gone:
            raise status(409, "ALREADY_EXISTS", f"deployment {name} already exists")
        known(self.models, asked["baseModel"])
        self.steps.pop(name, None)
        machine = {"acceleratorType": "NVIDIA_H100_80GB", "acceleratorCount": 1, "replicaCount": 1}
        self.deployments[name] = {**machine, **asked, "name": name, "createTime": DAY, "state": self.step(name, self.deployment_states)}
        return shown(self.deployments[name])

    def deployment(self, call: Incoming) -> Json:
        name = self.named("deployments", call)
        if name in self.gone:
            return self.gone[name]
        found = known(self.deployments, name)
        if found["state"] != self.deployment_states[-1]:
            found["state"] = self.step(name, self.deployment_states)
        if found.get("desiredReplicaCount") and self.step(f"{name} wakes", ["0", "0", "1"]) == "1":
            found["replicaCount"] = found["desiredReplicaCount"]
        if found["state"] == "FAILED":
            found["status"] = {"code": "RESOURCE_EXHAUSTED", "message": "no capacity for NVIDIA_H100_80GB"}
        return shown(found)

    def scale(self, call: Incoming) -> Json:
        known(self.deployments, self.named("deployments", call))["desiredReplicaCount"] = call.json["replicaCount"]
        return {}

    def delete_deployment(self, call: Incoming) -> Json:
        found = known(self.deployments, name := self.named("deployments", call))
        if call.query.get("ignoreChecks") != "true":
            raise status(400, "FAILED_PRECONDITION", "the deployment has had requests in the last hour")
        del self.deployments[name]
        if call.query.get("hard") != "true":
            self.gone[name] = {**shown(found), "state": "DELETED", "deleteTime": LATER}
        return {}

    def load(self, call: Incoming) -> Json:
        asked = call.json
        known(self.models, asked["model"])
        if not known(self.deployments, asked["deployment"]).get("enableAddons"):
            raise status(400, "FAILED_PRECONDITION", "addons are not enabled for this deployment")
        if any((one["model"], one["deployment"]) == (asked["model"], asked["deployment"]) for one in self.adapters.values()):
            raise status(409, "ALREADY_EXISTS", "the model is deployed there already")
        name = f"accounts/{call.params['account']}/deployedModels/{asked['model'].rpartition('/')[2]}-{len(self.adapters)}"
        self.adapters[name] = {**asked, "name": name, "createTime": DAY, "state": self.step(name, self.adapter_states)}
        return self.adapters[name]

    def list_adapters(self, call: Incoming) -> Json:
        for name, one in self.adapters.items():
            one["state"] = self.step(name, self.adapter_states)
        return page("deployedModels", [] if self.lists_late else list(self.adapters.values()), call)

    def adapter(self, call: Incoming) -> Json:
        found = known(self.adapters, name := self.named("deployedModels", call))
        found["state"] = self.step(name, self.adapter_states)
        return found

    def unload(self, call: Incoming) -> Json:
        known(self.adapters, name := self.named("deployedModels", call))
        del self.adapters[name]
        return {}

    def chat(self, call: Incoming) -> Json:
        model, _, deployment = call.json["model"].partition("#")
        found = self.deployments.get(deployment)
        worn = any((one["model"], one["deployment"]) == (model, deployment) for one in self.adapters.values())
        if found is None or found["state"] != "READY" or not (found["baseModel"] == model or worn):
            said = f"Model not found, inaccessible, and/or not deployed: {call.json['model']}"
            raise Refuse(404, {"error": {"message": said, "type": "error", "param": None, "code": "NOT_FOUND"}})
        text = self.answer(call.json["messages"], model)
        into, out = sum(len(m["content"].split()) for m in call.json["messages"]), len(text.split())
        return {
            "id": "chat-1", "object": "chat.completion", "created": 1_790_000_000, "model": call.json["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out},
        }  # fmt: skip


def known(table: dict[str, Json], name: str) -> Json:
    """What the name names."""
    if name not in table:
        raise status(404, "NOT_FOUND", f"{name} was not found")
    return table[name]


def shown(found: Json) -> Json:
    return {key: value for key, value in found.items() if not key.startswith("_")}


def account(name: str) -> Json:
    return {"name": f"accounts/{name}", "email": "somebody@example.com", "createTime": DAY, "state": "READY"}


def page(field: str, found: list[Json], call: Incoming) -> Json:
    """A page of a list, two items at most; an empty list is left out, as proto JSON leaves out what is empty."""
    start = int(call.query.get("pageToken") or 0)
    answer: Json = {field: found[start : start + 2]} if found[start:] else {}
    return {**answer, "nextPageToken": str(start + 2)} if len(found) > start + 2 else answer
