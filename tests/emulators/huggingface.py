"""The Hub, HF Jobs and Inference Endpoints on loopback, in the shapes that the official SDK sends and reads: none are published.

A job steps through `states` with every look at it and writes its repository when it completes; an endpoint steps through
`endpoint_states`. Requests that the services would refuse, or that show a secret, are violations.

>>> with HuggingFaceEmulator() as service:                                                            # doctest: +SKIP
...     HfApi(endpoint=service.url, token=service.key).whoami()["name"]
'tester'
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

from aiohttp import web

from tests.emulators.core import Emulator, Incoming, Refuse, Route
from tests.emulators.openai import echo

Json = dict[str, Any]
AT = "2026-10-01T12:00:00.000Z"
ENDED = "2026-10-01T12:10:30.000Z"
BASE = "acme/small-chat"
FINAL_STAGES = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
JOB_FIELDS = {"command", "arguments", "environment", "flavor", "secrets", "timeoutSeconds", "labels", "dockerImage"}


def safetensors(tensors: int = 4) -> bytes:
    """A well-formed file of `tensors` float32 numbers."""
    header = json.dumps({"lora": {"dtype": "F32", "shape": [tensors], "data_offsets": [0, 4 * tensors]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4 * tensors)


class HuggingFaceEmulator(Emulator):
    """State: `repos` by (type, name), `jobs`, `deployments` (Inference Endpoints) by name."""

    server: ClassVar[str] = "https://huggingface.co"

    def __init__(self, *, answer: Callable[[list[Json], str], str] = echo, **options: Any) -> None:
        super().__init__(**options)
        self.answer = answer
        self.repos: dict[tuple[str, str], Json] = {}
        self.jobs: dict[str, Json] = {}
        self.deployments: dict[str, Json] = {}
        self.states = ["SCHEDULING", "RUNNING", "COMPLETED"]
        self.endpoint_states = ["pending", "initializing", "running"]
        self.logs: dict[str, list[str]] = {}
        self.adapter: dict[str, bytes] | None = None
        """Files of every finished job instead of the usual ones."""
        self.ignores_labels = False
        self.lists_machines = True
        self.put("model", BASE, {"config.json": b"{}", "model.safetensors": safetensors()})

    def put(self, kind: str, name: str, files: dict[str, bytes], **more: Any) -> None:
        """A repository with these files."""
        repo = self.repos.setdefault((kind, name), {"private": False, "files": {}, **more})
        repo["files"].update(files)
        repo["sha"] = hashlib.sha1(b"".join(key.encode() + value for key, value in sorted(repo["files"].items()))).hexdigest()

    def routes(self) -> Iterable[tuple[str, str, str, Route]]:
        return [*self._hub_routes(), *self._job_routes(), *self._endpoint_routes()]

    def _hub_routes(self) -> Iterable[tuple[str, str, str, Route]]:
        yield "whoami", "GET", "/api/whoami-v2", self.whoami
        yield "create_repo", "POST", "/api/repos/create", self.create_repo
        for kind, place in (("model", ""), ("dataset", "/datasets")):
            api = f"/api/{kind}s/{{space}}/{{name}}"
            yield f"{kind}_info", "GET", api, partial(self.info, kind)
            yield f"{kind}_info", "GET", f"{api}/revision/{{revision}}", partial(self.info, kind)
            yield "preupload", "POST", f"{api}/preupload/{{revision}}", self.preupload
            yield "commit", "POST", f"{api}/commit/{{revision}}", partial(self.commit, kind)
            for method in ("HEAD", "GET"):
                path = f"{place}/{{space}}/{{name}}/resolve/{{revision}}/{{path:.+}}"
                yield f"{method.lower()}_file", method, path, partial(self.file, kind)
        yield "auth_check", "GET", "/api/models/{space}/{name}/auth-check", lambda call: {}

    def _job_routes(self) -> Iterable[tuple[str, str, str, Route]]:
        return [
            ("machines", "GET", "/api/jobs/hardware", self.machines),
            ("create_job", "POST", "/api/jobs/{space}", self.create_job),
            ("list_jobs", "GET", "/api/jobs/{space}", self.list_jobs),
            ("job", "GET", "/api/jobs/{space}/{id}", self.job),
            ("cancel", "POST", "/api/jobs/{space}/{id}/cancel", self.cancel),
            ("logs", "GET", "/api/jobs/{space}/{id}/logs", self.log),
        ]

    def _endpoint_routes(self) -> Iterable[tuple[str, str, str, Route]]:
        return [
            ("hardware", "GET", "/v2/provider/{space}", self.hardware),
            ("create_endpoint", "POST", "/v2/endpoint/{space}", self.create_endpoint),
            ("list_endpoints", "GET", "/v2/endpoint/{space}", lambda call: {"items": list(self.deployments.values())}),
            ("endpoint", "GET", "/v2/endpoint/{space}/{name}", self.endpoint),
            ("delete_endpoint", "DELETE", "/v2/endpoint/{space}/{name}", self.delete_endpoint),
            ("resume", "POST", "/v2/endpoint/{space}/{name}/resume", self.resume),
            ("chat", "POST", "/served/{name}/v1/chat/completions", self.chat),
        ]

    def whoami(self, call: Incoming) -> Json:
        return {"type": "user", "name": "tester", "auth": {"type": "access_token", "accessToken": {"role": "write"}}, "orgs": []}

    def create_repo(self, call: Incoming) -> Any:
        asked = call.json
        name, kind = f"{asked.get('organization') or 'tester'}/{asked['name']}", asked.get("type") or "model"
        url = f"{self.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if (kind, name) in self.repos:
            return web.json_response({"error": "You already created this repo", "url": url}, status=409)
        if asked.get("visibility") != "private":
            self.violations.append(f"{name} is not private")
        self.put(kind, name, {}, private=True)
        return {"url": url, "name": name}

    def repo(self, kind: str, call: Incoming) -> Json:
        found = self.repos.get((kind, f"{call.params['space']}/{call.params['name']}"))
        if found is None:
            raise Refuse(404, {"error": "Repository not found"})
        return found

    def info(self, kind: str, call: Incoming) -> Json:
        repo, name = self.repo(kind, call), f"{call.params['space']}/{call.params['name']}"
        files = [{"rfilename": path, **(facts(content) if call.query.get("blobs") else {})} for path, content in repo["files"].items()]
        more = {"private": repo["private"], "gated": repo.get("gated", False), "disabled": False, "tags": [], "downloads": 0, "likes": 0}
        return {
            "id": name,
            "modelId": name,
            "author": name.split("/")[0],
            "sha": repo["sha"],
            "lastModified": AT,
            "siblings": files,
            **more,
        }

    def preupload(self, call: Incoming) -> Json:
        return {"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in call.json["files"]]}

    def commit(self, kind: str, call: Incoming) -> Json:
        self.repo(kind, call)
        lines = [json.loads(line) for line in call.raw.splitlines() if line]
        files = {line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"}
        name = f"{call.params['space']}/{call.params['name']}"
        self.put(kind, name, files)
        sha = self.repos[kind, name]["sha"]
        return {"success": True, "commitUrl": f"{self.url}/{name}/commit/{sha}", "commitOid": sha}

    def file(self, kind: str, call: Incoming) -> web.Response:
        repo, path = self.repo(kind, call), call.params["path"]
        if path not in repo["files"]:
            return web.json_response({"error": "Entry not found"}, status=404, headers={"X-Error-Code": "EntryNotFound"})
        content = repo["files"][path]
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": repo["sha"]}
        return web.Response(body=content, headers=headers, content_type="application/octet-stream")

    def machines(self, call: Incoming) -> Any:
        if not self.lists_machines:
            raise Refuse(404, {"error": "Not found"})
        small = {"name": "a10g-small", "prettyName": "Nvidia A10G - small", "cpu": "4 vCPU", "ram": "15 GB", "ephemeralStorage": "110 GB"}
        gpu = {"type": "gpu", "model": "A10G", "quantity": "1", "vram": "24 GB", "manufacturer": "Nvidia"}
        price = {"unitCostMicroUSD": 16667, "unitCostUSD": 1 / 60, "unitLabel": "minute"}
        four = {**small, "name": "a10g-largex4", "accelerator": {**gpu, "quantity": "4"}}
        return [{**small, "accelerator": gpu, **price}, {**four, **price}, {**small, "name": "cpu-basic", **price}]

    def create_job(self, call: Incoming) -> Json:
        asked = call.json
        self.violations += wrong_job(asked, self.key)
        made = f"{len(self.jobs) + 1:024x}"
        self.jobs[made] = {
            "id": made, "createdAt": AT, "startedAt": None, "finishedAt": None, "dockerImage": asked["dockerImage"], "spaceId": None,
            "command": asked["command"], "arguments": asked["arguments"], "environment": asked["environment"],
            "secrets": dict.fromkeys(asked.get("secrets", {}), ""), "flavor": asked["flavor"], "labels": asked.get("labels"),
            "status": {"stage": self.states[0], "message": None}, "durations": {"schedulingSecs": 5, "runningSecs": None, "totalSecs": 5},
            "owner": {"id": "1", "name": call.params["space"], "type": "user"}, "_step": 0, "_secrets": asked.get("secrets", {}),
        }  # fmt: skip
        self.logs[made] = []
        return shown(self.jobs[made])

    def list_jobs(self, call: Incoming) -> list[Json]:
        key, _, value = call.query.get("label", "").partition("=")
        jobs = [shown(job) for job in reversed(self.jobs.values()) if job["owner"]["name"] == call.params["space"]]
        return [job for job in jobs if not key or self.ignores_labels or (job["labels"] or {}).get(key) == value]

    def known_job(self, call: Incoming) -> Json:
        if call.params["id"] not in self.jobs:
            raise Refuse(404, {"error": "Job not found"})
        return self.jobs[call.params["id"]]

    def job(self, call: Incoming) -> Json:
        job = self.known_job(call)
        if job["status"]["stage"] not in FINAL_STAGES:
            job["_step"] += 1
            self.enter(job, self.states[min(job["_step"], len(self.states) - 1)])
        return shown(job)

    def enter(self, job: Json, stage: str) -> None:
        """What a job does when it reaches a stage."""
        job["status"] = {"stage": stage, "message": None}
        if stage == "RUNNING" and not self.logs[job["id"]]:
            job["startedAt"], job["durations"]["runningSecs"] = AT, 60
            first = {"step": 1, "total_steps": 3, "train_loss": 2.5, "seconds": 1.0, "learning_rate": 1e-4}
            self.logs[job["id"]] += ["Installed 70 packages in 3s", json.dumps(first)]
        elif stage in ("COMPLETED", "ERROR"):
            job["startedAt"], job["finishedAt"], job["durations"]["runningSecs"] = AT, ENDED, 630
        if stage == "COMPLETED":
            output = job["command"][job["command"].index("--hub_model_id") + 1]
            self.put("model", output, self.adapter if self.adapter is not None else result(job))
        elif stage == "ERROR":
            self.logs[job["id"]] += ["Traceback (most recent call last):", json.dumps({"error": "out of memory", "again": True})]

    def cancel(self, call: Incoming) -> Json:
        job = self.known_job(call)
        if job["status"]["stage"] in FINAL_STAGES:
            raise Refuse(400, {"error": "Job is over"})
        job["status"]["stage"] = "CANCELED"
        return shown(job)

    def log(self, call: Incoming) -> bytes:
        job = self.known_job(call)
        lines = ["===== Job started at 2026-10-01 12:00:00 =====", *self.logs[job["id"]]]
        return "".join(f"data: {json.dumps({'data': line, 'timestamp': AT})}\n\n" for line in lines).encode()

    def hardware(self, call: Incoming) -> Any:
        if not self.lists_machines:
            raise Refuse(404, {"error": "Not found"})
        one = {
            "id": "aws-us-east-1-nvidia-l4-x1", "accelerator": "gpu", "instanceType": "nvidia-l4", "instanceSize": "x1", "memoryGb": 30.0,
            "architecture": "Nvidia L4", "numAccelerators": 1, "numCpus": 7, "gpuMemoryGb": 24, "pricePerHour": 0.8,
            "status": "available", "quota": {"maxAccelerators": 8, "usedAccelerators": 0},
        }  # fmt: skip
        return {"vendors": [{"name": "aws", "regions": [{"name": "us-east-1", "computes": [one]}]}]}

    def create_endpoint(self, call: Incoming) -> Json:
        asked = call.json
        if asked["name"] in self.deployments:
            raise Refuse(409, {"error": f"endpoint {asked['name']} exists already"})
        self.violations += wrong_endpoint(asked, self.key)
        self.deployments[asked["name"]] = {
            "name": asked["name"], "type": asked["type"], "provider": asked["provider"], "compute": asked["compute"], "_step": 0,
            "model": {key: value for key, value in asked["model"].items() if key != "secrets"}, "healthRoute": "/health",
            "status": {"state": self.endpoint_states[0], "message": "", "createdAt": AT, "updatedAt": AT, "url": None},
        }  # fmt: skip
        return shown(self.deployments[asked["name"]])

    def known_endpoint(self, call: Incoming) -> Json:
        if call.params["name"] not in self.deployments:
            raise Refuse(404, {"error": "Endpoint not found"})
        return self.deployments[call.params["name"]]

    def endpoint(self, call: Incoming) -> Json:
        found = self.known_endpoint(call)
        if found["status"]["state"] not in ("running", "failed", "paused", "scaledToZero"):
            found["_step"] += 1
            state = self.endpoint_states[min(found["_step"], len(self.endpoint_states) - 1)]
            found["status"]["state"] = state
            found["status"]["url"] = f"{self.url}/served/{found['name']}" if state == "running" else None
            found["status"]["message"] = "no capacity in us-east-1" if state == "failed" else ""
        return shown(found)

    def delete_endpoint(self, call: Incoming) -> Json:
        self.known_endpoint(call)
        del self.deployments[call.params["name"]]
        return {}

    def resume(self, call: Incoming) -> Json:
        found = self.known_endpoint(call)
        found["status"]["state"], found["_step"] = "pending", 0
        return shown(found)

    def chat(self, call: Incoming) -> Json:
        found, asked = self.known_endpoint(call), call.json
        modules = found["model"].get("args", [])
        if f"{asked['model']}={asked['model']}" not in modules or found["status"]["state"] != "running":
            raise Refuse(404, {"error": {"message": f"The model {asked['model']} does not exist", "type": "NotFoundError", "code": 404}})
        text = self.answer(asked["messages"], asked["model"])
        usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        return {"id": "c", "object": "chat.completion", "created": 1, "model": asked["model"], "choices": [choice], "usage": usage}


def shown(thing: Json) -> Json:
    """Without what only the emulator knows."""
    return {key: value for key, value in thing.items() if not key.startswith("_")}


def facts(content: bytes) -> Json:
    """What `blobs=true` adds to a file."""
    large = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return {"size": len(content), "blobId": hashlib.sha1(content).hexdigest(), **({"lfs": large} if content[8:9] == b"{" else {})}


def result(job: Json) -> dict[str, bytes]:
    """What the training script pushes."""
    base = job["command"][job["command"].index("--model_name_or_path") + 1]
    config = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": ["q_proj"], "base_model_name_or_path": base}
    losses = [
        {"step": 1, "train_loss": 2.5},
        {"step": 2, "train_loss": 1.5, "dev_loss": 1.6},
        {"step": 3, "train_loss": 0.9, "dev_loss": 1.0},
    ]
    files = {
        "adapter_model.safetensors": safetensors(),
        "adapter_config.json": json.dumps(config).encode(),
        "metrics.jsonl": "".join(json.dumps({**row, "total_steps": 3}) + "\n" for row in losses).encode(),
    }
    hashes = {name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()}
    told = {"rows": 12, "steps": 3, "tokens": 12_000, "best_dev_loss": 1.0, "trained_parameters": 4}
    manifest = {"base": base, "base_revision": "0" * 40, "files": hashes, "facts": told}
    return {**files, "manifest.json": json.dumps(manifest).encode()}


def wrong_job(asked: Json, secret: str) -> list[str]:
    """What the service would refuse, or what shows the token."""
    problems = [f"job: unknown field {key}" for key in sorted(asked.keys() - JOB_FIELDS)]
    labels = asked.get("labels") or {}
    problems += [f"job: label {key}={value}" for key, value in labels.items() if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", value)]
    if asked.get("secrets") != {"HF_TOKEN": secret}:
        problems.append("job: the token is no secret of it")
    if secret in json.dumps({key: value for key, value in asked.items() if key != "secrets"}):
        problems.append("job: shows the token")
    if not isinstance(asked.get("timeoutSeconds"), int):
        problems.append("job: has no time limit")
    return problems


def wrong_endpoint(asked: Json, secret: str) -> list[str]:
    """The same for an endpoint."""
    problems = []
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?", asked["name"]):
        problems.append(f"endpoint: {asked['name']} is no name")
    if asked["compute"]["scaling"] != {"maxReplica": 1, "minReplica": 0, "scaleToZeroTimeout": 15}:
        problems.append(f"endpoint: {asked['compute']['scaling']}")
    model = dict(asked["model"])
    if model.pop("secrets", None) != {"HF_TOKEN": secret} or secret in json.dumps({**asked, "model": model}):
        problems.append("endpoint: shows the token")
    return problems
