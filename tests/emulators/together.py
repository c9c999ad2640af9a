"""Together's files, fine-tuning jobs, endpoints (v2 and v1) and chat on loopback.

Files, jobs and deployments step through their states with every look; chat answers by `answer(messages, model)`.

>>> with TogetherEmulator() as service:                                                               # doctest: +SKIP
...     Together(base_url=service.url, api_key=service.key).fine_tuning.list()
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from aiohttp import web

from tests.emulators.core import Emulator, Incoming, Refuse, Route
from tests.emulators.openai import echo

Json = dict[str, Any]
NOW, DAY = 1_790_000_000, "2026-09-21T14:13:20.000Z"
BASE, PROJECT, SLUG = "acme/base-8b", "proj_1", "team"
FINAL = ("completed", "error", "user_error", "cancelled")


class TogetherEmulator(Emulator):
    """State: files, jobs, endpoints and deployments. The last of `states`, `file_states` and `deployment_states` stays.

    `deployments` has what costs money: v2 deployments and v1 endpoints; `endpoints` the v2 endpoints above them.
    """

    description: ClassVar[str | None] = "together.openapi.json"
    server: ClassVar[str] = "https://api.together.ai"
    undescribed: ClassVar[frozenset[str]] = frozenset(
        {"upload", "put", "preprocess", "whoami", "projects", "model_object", "configs", "instance_types", "create_endpoint",
         "list_endpoints", "endpoint", "update_endpoint", "delete_endpoint", "create_deployment", "list_deployments",
         "deployment", "update_deployment", "delete_deployment"}
    )  # fmt: skip
    """Newer than the description; the SDK's own types check the answers."""

    def __init__(
        self, *, answer: Callable[[list[Json], str], str] = echo, v1: bool = True, v2: bool = True, serverless: bool = False,
        signed: bool = True, **options: Any
    ) -> None:  # fmt: skip
        super().__init__(**options)
        self.answer, self.v1, self.v2, self.serverless, self.signed = answer, v1, v2, serverless, signed
        self.files: dict[str, Json] = {}
        self.contents: dict[str, bytes] = {}
        self.jobs: dict[str, Json] = {}
        self.steps: dict[str, int] = {}
        self.events: dict[str, list[Json]] = {}
        self.metrics: dict[str, list[Json]] = {}
        self.endpoints: dict[str, Json] = {}
        self.deployments: dict[str, Json] = {}
        self.states = ["pending", "queued", "running", "uploading", "completed"]
        self.file_states = ["PENDING", "RUNNING", "COMPLETED"]
        self.deployment_states = ["PROVISIONING", "READY"]
        self.estimate: Json = {
            "estimation_available": True, "estimated_total_price": 1.25, "allowed_to_proceed": True, "user_limit": 100.0,
            "estimated_train_token_count": 900.0, "estimated_eval_token_count": 90.0,
        }  # fmt: skip
        self.archive = b""
        self.shows_suffix = True
        self.late_lists = 0
        """How many of the next lists of endpoints and deployments show them as they were before."""
        self._listed: dict[str, list[Json]] = {}
        self.models = [BASE, f"{BASE}-Reference"]

    def routes(self) -> Iterable[tuple[str, str, str, Route]]:
        return [
            *self.job_routes(),
            ("chat", "POST", "/v1/chat/completions", self.chat),
            *(self.v1_routes() if self.v1 else ()),
            *(self.v2_routes() if self.v2 else ()),
        ]

    def job_routes(self) -> Iterable[tuple[str, str, str, Route]]:
        return [
            *(self.signed_routes() if self.signed else [("upload_whole", "POST", "/v1/files/upload", self.upload_whole)]),
            ("list_files", "GET", "/v1/files", lambda call: {"data": [self.shown(one) for one in self.files.values()]}),
            ("file", "GET", "/v1/files/{id}", self.file),
            ("delete_file", "DELETE", "/v1/files/{id}", self.delete_file),
            ("estimate", "POST", "/v1/fine-tunes/estimate-price", self.estimate_price),
            ("limits", "GET", "/v1/fine-tunes/models/limits", self.limits),
            ("supported", "GET", "/v1/fine-tunes/models/supported", lambda call: {"models": self.models}),
            ("create_job", "POST", "/v1/fine-tunes", self.create_job),
            ("list_jobs", "GET", "/v1/fine-tunes", lambda call: {"data": [self.short(job) for job in reversed(self.jobs)]}),
            ("job", "GET", "/v1/fine-tunes/{id}", self.retrieve_job),
            ("cancel", "POST", "/v1/fine-tunes/{id}/cancel", self.cancel_job),
            ("events", "GET", "/v1/fine-tunes/{id}/events", lambda call: {"data": self.known(self.events, call)}),
            ("metrics", "GET", "/v1/fine-tunes/{id}/metrics", lambda call: {"metrics": self.known(self.metrics, call)}),
            ("checkpoints", "GET", "/v1/fine-tunes/{id}/checkpoints", self.checkpoints),
            ("download", "GET", "/v1/finetune/download", self.download),
        ]

    def signed_routes(self) -> list[tuple[str, str, str, Route]]:
        return [
            ("upload", "POST", "/v1/files", self.upload),
            ("put", "PUT", "/storage/{id}", self.put),
            ("preprocess", "POST", "/v1/files/{id}/preprocess", self.preprocess),
        ]

    def v1_routes(self) -> Iterable[tuple[str, str, str, Route]]:
        return [
            ("hardware", "GET", "/v1/hardware", self.hardware),
            ("create_v1", "POST", "/v1/endpoints", self.create_v1),
            ("list_v1", "GET", "/v1/endpoints", self.list_v1),
            ("v1", "GET", "/v1/endpoints/{id}", lambda call: self.advance(self.known(self.deployments, call))),
            ("update_v1", "PATCH", "/v1/endpoints/{id}", self.update_v1),
            ("delete_v1", "DELETE", "/v1/endpoints/{id}", self.delete_v1),
        ]

    def v2_routes(self) -> Iterable[tuple[str, str, str, Route]]:
        above = "/v2/projects/{project}/endpoints"
        below = above + "/{endpoint}/deployments"
        return [
            ("whoami", "GET", "/v3/whoami", lambda call: whoami()),
            ("model_object", "GET", "/v2/projects/{project}/models/{id}", self.model_object),
            (
                "configs",
                "GET",
                "/v2/projects/{project}/configs",
                lambda call: {"data": [config(*one) for one in CONFIGS], "object": "list"},
            ),
            ("instance_types", "GET", "/v2/public/inference-instance-types", lambda call: {"object": "list", "data": INSTANCE_TYPES}),
            ("create_endpoint", "POST", above, self.create_endpoint),
            ("list_endpoints", "GET", above, self.list_endpoints),
            ("endpoint", "GET", above + "/{id}", lambda call: self.shown(self.known(self.endpoints, call))),
            ("update_endpoint", "PATCH", above + "/{id}", self.update_endpoint),
            ("delete_endpoint", "DELETE", above + "/{id}", self.delete_endpoint),
            ("create_deployment", "POST", below, self.create_deployment),
            ("list_deployments", "GET", below, self.list_deployments),
            ("deployment", "GET", below + "/{id}", lambda call: self.advance(self.known(self.deployments, call))),
            ("update_deployment", "PATCH", below + "/{id}", self.update_deployment),
            ("delete_deployment", "DELETE", below + "/{id}", self.delete_deployment),
        ]

    def authorize(self, request: web.Request) -> None:
        if not request.path.startswith("/storage/"):  # its address is signed
            super().authorize(request)

    def _check(self, request: web.Request, body: bytes, response: web.Response) -> None:
        super()._check(request, body, response)
        # The description wants UUIDs for the ids that it says begin with "ft-".
        self.violations[:] = [said for said in self.violations if "'ft-" not in said or "is not a 'uuid'" not in said]

    def known(self, table: dict[str, Any], call: Incoming) -> Any:
        if call.params["id"] not in table:
            raise refusal(404, f"There is no {call.params['id']}")
        return table[call.params["id"]]

    # files

    def upload(self, call: Incoming) -> web.Response:
        checksum = call.form["checksum"]
        twin = next((file for file in self.files.values() if file["_checksum"] == checksum and file["bytes"]), None)
        if twin is not None:
            return web.json_response({"file_id": twin["id"]}, status=409)
        made = f"file-{len(self.files) + 1:04d}"
        self.files[made] = {
            "id": made, "object": "file", "bytes": 0, "created_at": NOW + len(self.files), "filename": call.form["file_name"],
            "purpose": call.form["purpose"], "FileType": call.form["file_type"], "Processed": False, "processing_status": "PENDING",
            "_checksum": checksum, "_asked": False,
        }  # fmt: skip
        self.steps[made] = 0
        return web.Response(status=302, headers={"Location": f"{self.url}/storage/{made}?signature=s3cret", "X-Together-File-Id": made})

    def put(self, call: Incoming) -> bytes:
        self.contents[call.params["id"]] = call.raw
        self.files[call.params["id"]]["bytes"] = len(call.raw)
        return b""

    def upload_whole(self, call: Incoming) -> Json:
        """As the description has it: no checks, no states."""
        name, content = call.form["file"]
        made = f"file-{len(self.files) + 1:04d}"
        self.contents[made] = content
        self.files[made] = {
            "id": made, "object": "file", "bytes": len(content), "created_at": NOW, "filename": call.form["file_name"], "_asked": False,
            "purpose": call.form["purpose"], "FileType": call.form["file_type"], "Processed": True, "_checksum": name,
        }  # fmt: skip
        return self.shown(self.files[made])

    def preprocess(self, call: Incoming) -> Json:
        self.known(self.files, call)["_asked"] = True
        return self.shown(self.files[call.params["id"]])

    def file(self, call: Incoming) -> Json:
        found: Json = self.known(self.files, call)
        if found["_asked"]:
            state = self.file_states[min(self.steps[found["id"]], len(self.file_states) - 1)]
            self.steps[found["id"]] += 1
            found.update(processing_status=state, Processed=state == "COMPLETED")
            if state == "INVALID_FORMAT":
                error = "line 3: the conversation ends with a user turn"
                found["validation_report"] = {"valid": False, "error": error, "error_type": "INVALID_FORMAT", "file_id": found["id"]}
        return self.shown(found)

    def delete_file(self, call: Incoming) -> Json:
        self.known(self.files, call)
        del self.files[call.params["id"]]
        return {"id": call.params["id"], "deleted": True}

    # jobs

    def limits(self, call: Incoming) -> Json:
        if call.query["model_name"] not in self.models:
            raise Refuse(404, {"message": f"Model {call.query['model_name']} is not available for fine-tuning"})
        batches = {"max_batch_size": 32, "max_batch_size_dpo": 16, "min_batch_size": 8}
        return {
            "model_name": call.query["model_name"], "max_num_epochs": 20, "max_num_evals": 100, "max_learning_rate": 0.1,
            "min_learning_rate": 1e-8, "max_num_checkpoints": 10, "max_seq_length_sft": 8192, "max_seq_length_dpo": 4096,
            "min_max_seq_length": 256, "supports_full_training": False, "supports_vision": False, "supports_tools": True,
            "supports_reasoning": False, "merge_output_lora": True, "default_gradient_accumulation_steps": 1,
            "lora_training": {**batches, "max_rank": 64, "default_rank": 64, "target_modules": ["q_proj", "v_proj"]},
            "full_training": batches,
        }  # fmt: skip

    def estimate_price(self, call: Incoming) -> Json:
        if call.json["training_file"] not in self.files:
            raise refusal(404, f"There is no {call.json['training_file']}")
        return self.estimate

    def create_job(self, call: Incoming) -> Json:
        asked = call.json
        if asked["model"] not in self.models:
            raise refusal(400, f"Model {asked['model']} cannot be tuned")
        for name in ("training_file", "validation_file"):
            if asked.get(name) is not None and not self.files.get(asked[name], {}).get("Processed"):
                raise refusal(400, f"{name} {asked[name]} was not validated")
        made = f"ft-{len(self.jobs) + 1:04d}"
        kind = asked.get("training_type") or {"type": "Lora", "lora_r": 64, "lora_alpha": 128}
        self.jobs[made] = {
            "id": made, "status": self.states[0], "created_at": DAY, "updated_at": DAY, "user_id": "user-1", "token_count": 0,
            "total_price": 0, "n_epochs": 1, "learning_rate": 1e-5,
            **{name: value for name, value in asked.items() if name != "batch_size"}, "training_type": kind, "events": [],
        }  # fmt: skip
        self.steps[made], self.events[made], self.metrics[made] = 0, [], []
        return self.short(made)

    def short(self, job: str) -> Json:
        hidden = () if self.shows_suffix else ("suffix", "model_output_name")
        return {name: value for name, value in self.jobs[job].items() if name not in hidden}

    def whole(self, job: str) -> Json:
        return {name: value for name, value in self.jobs[job].items() if name not in ("max_seq_length", "packing", "random_seed")}

    def retrieve_job(self, call: Incoming) -> Json:
        job: Json = self.known(self.jobs, call)
        if job["status"] not in FINAL:
            self.steps[job["id"]] += 1
            self.enter(job, self.states[min(self.steps[job["id"]], len(self.states) - 1)])
        return self.whole(job["id"])

    def enter(self, job: Json, state: str) -> None:
        """What a job does when it reaches a state."""
        job["status"] = state
        if state == "running":
            self.tell(job["id"], "training_start", "Training started", total_steps=6)
            self.metrics[job["id"]].append(metric(1, 2.5))
            job["progress"] = {"estimate_available": True, "seconds_remaining": 600}
        elif state in ("error", "user_error"):
            self.tell(job["id"], "job_error", "CUDA error: the node was lost", level="error")
        elif state == "completed":
            self.succeed(job)

    def succeed(self, job: Json) -> None:
        for step, loss in ((2, 1.5), (3, 1.2), (6, 0.75)):
            self.metrics[job["id"]].append(metric(step, loss))
        if job.get("n_evals"):
            self.metrics[job["id"]] += [
                {"train/global_step": float(step), "eval/loss": loss, "timestamp": 1.0} for step, loss in ((3, 1.25), (6, 1.0))
            ]
        job["model_output_name"] = f"{SLUG}/{job['model'].rpartition('/')[2]}-{job['suffix']}-{job['id'][-4:]}"
        job.update(
            token_count=12_000, total_price=2_500_000_000, model_object_id=f"ml_{job['id'][-4:]}", model_object_revision_id="rv_1",
            adapter_object_id=f"ml_a{job['id'][-4:]}", updated_at="2026-09-21T14:15:50.000Z",
            progress={"estimate_available": False, "seconds_remaining": 0},
        )  # fmt: skip

    def tell(self, job: str, kind: str, message: str, *, total_steps: int = 0, level: str = "info") -> None:
        self.events[job].append({
            "object": "fine-tune-event", "created_at": DAY, "message": message, "type": kind, "level": level, "param_count": 0,
            "token_count": 0, "total_steps": total_steps, "wandb_url": "", "step": 0, "checkpoint_path": "", "model_path": "",
            "training_offset": 0, "hash": "",
        })  # fmt: skip

    def cancel_job(self, call: Incoming) -> Json:
        job: Json = self.known(self.jobs, call)
        if job["status"] in FINAL:
            raise refusal(400, f"Job {job['id']} is {job['status']} already")
        job["status"] = "cancelled"
        return self.short(job["id"])

    def checkpoints(self, call: Incoming) -> Json:
        job = self.known(self.jobs, call)
        done = job["status"] == "completed"
        return {"data": [checkpoint(job["id"], step, step == 6) for step in (6, 3) if done]}

    def download(self, call: Incoming) -> bytes:
        if self.jobs.get(call.query["ft_id"], {}).get("status") != "completed" or not self.archive:
            raise refusal(404, "There is nothing to download")
        return self.archive

    # what is served

    def advance(self, found: Json) -> Json:
        """The next state of a deployment, or of a v1 endpoint."""
        if found["_going"]:
            state = self.deployment_states[min(self.steps[found["id"]], len(self.deployment_states) - 1)]
            self.steps[found["id"]] += 1
            self.set_state(found, state)
        return self.shown(found)

    def set_state(self, found: Json, state: str) -> None:
        if "display_name" in found:
            found["state"] = {"PROVISIONING": "PENDING", "READY": "STARTED", "FAILED": "ERROR"}.get(state, state)
        else:
            ready = 1 if state == "READY" else 0
            message = "no hardware is free" if state == "FAILED" else ""
            found["status"] = {"state": f"DEPLOYMENT_STATE_{state}", "message": message, "readyReplicas": ready}

    def shown(self, found: Json) -> Json:
        return {name: value for name, value in found.items() if not name.startswith("_")}

    def hardware(self, call: Incoming) -> Json:
        if call.query.get("model", "").endswith("-Reference"):
            raise refusal(404, f"No hardware for {call.query['model']}")
        return {"object": "list", "data": [v1_hardware(*one) for one in V1_HARDWARE]}

    def create_v1(self, call: Incoming) -> Json:
        asked = call.json
        made = f"endpoint-{len(self.called('create_v1')) + 1:04d}"
        self.deployments[made] = {
            "object": "endpoint", "id": made, "name": f"{SLUG}/{asked['model']}-{made[-4:]}", "display_name": asked["display_name"],
            "model": asked["model"], "hardware": asked["hardware"], "type": "dedicated", "owner": SLUG, "state": "PENDING",
            "autoscaling": asked["autoscaling"], "created_at": DAY, "inactive_timeout": asked.get("inactive_timeout"), "_going": True,
        }  # fmt: skip
        self.steps[made] = 0
        return self.shown(self.deployments[made])

    def list_v1(self, call: Incoming) -> Json:
        hidden = ("display_name", "hardware", "autoscaling", "inactive_timeout")
        found = self.late("v1", [self.shown(one) for one in self.deployments.values() if "display_name" in one])
        return {"object": "list", "data": [{name: value for name, value in one.items() if name not in hidden} for one in found]}

    def update_v1(self, call: Incoming) -> Json:
        found = self.known(self.deployments, call)
        found["_going"], self.steps[found["id"]] = True, 0
        return self.shown(found)

    def delete_v1(self, call: Incoming) -> web.Response:
        self.known(self.deployments, call)
        del self.deployments[call.params["id"]]
        return web.Response(status=204)

    def model_object(self, call: Incoming) -> Json:
        return {
            "id": call.params["id"], "name": f"{SLUG}/tuned", "organizationId": "org_1", "projectId": PROJECT,
            "visibility": "VISIBILITY_PRIVATE", "weights": {}, "baseModelId": "ml_base",
        }  # fmt: skip

    def list_endpoints(self, call: Incoming) -> Json:
        """Two a page."""
        found = self.late("endpoints", [self.shown(one) for one in self.endpoints.values()])
        start = int(call.query.get("after", 0))
        return {"object": "list", "data": found[start : start + 2], "next_cursor": str(start + 2) if start + 2 < len(found) else None}

    def create_endpoint(self, call: Incoming) -> Json:
        name = f"{SLUG}/{call.json['name']}"
        if any(one["name"] == name for one in self.endpoints.values()):
            raise refusal(409, f"{name} exists")
        made = f"ep_{len(self.called('create_endpoint')) + 1:04d}"
        self.endpoints[made] = {
            "id": made, "createdAt": DAY, "deployments": [], "endpointType": "ENDPOINT_TYPE_DEDICATED", "etag": "1", "name": name,
            "projectId": call.params["project"], "trafficSplit": [], "updatedAt": DAY, "visibility": "VISIBILITY_PRIVATE",
        }  # fmt: skip
        return self.endpoints[made]

    def update_endpoint(self, call: Incoming) -> Json:
        found: Json = self.known(self.endpoints, call)
        found["trafficSplit"] = call.json["trafficSplit"]
        return found

    def delete_endpoint(self, call: Incoming) -> Json:
        self.known(self.endpoints, call)
        if any(one.get("endpointId") == call.params["id"] for one in self.deployments.values()):
            raise refusal(409, "Delete its deployments first")
        del self.endpoints[call.params["id"]]
        return {}

    def create_deployment(self, call: Incoming) -> Json:
        asked, above = call.json, self.endpoints[call.params["endpoint"]]
        made = f"dep_{len(self.called('create_deployment')) + 1:04d}"
        self.deployments[made] = {
            "id": made, "autoscaling": asked["autoscaling"], "config": asked.get("config", ""), "configId": "", "createdAt": DAY,
            "endpointId": above["id"], "etag": "1", "hardware": asked.get("config", "").rpartition("/")[2].removeprefix("cr_"),
            "model": asked["model"], "modelId": "", "modelRevisionId": "", "name": f"{above['name']}/{asked['name']}",
            "projectId": above["projectId"], "trafficMode": "TRAFFIC_MODE_LIVE", "updatedAt": DAY,
            "inactiveTimeout": asked.get("inactiveTimeout"), "_going": True,
        }  # fmt: skip
        self.steps[made] = 0
        self.set_state(self.deployments[made], "PROVISIONING")
        return self.shown(self.deployments[made])

    def list_deployments(self, call: Incoming) -> Json:
        if call.params["endpoint"] not in self.endpoints:
            raise refusal(404, f"There is no {call.params['endpoint']}")
        found = [self.shown(one) for one in self.deployments.values() if one.get("endpointId") == call.params["endpoint"]]
        return {"object": "list", "data": self.late("deployments", found), "next_cursor": None}

    def late(self, what: str, found: list[Json]) -> list[Json]:
        """The list, or what it was before."""
        if self.late_lists:
            self.late_lists -= 1
        else:
            self._listed[what] = found
        return self._listed.get(what, [])

    def update_deployment(self, call: Incoming) -> Json:
        found: Json = self.known(self.deployments, call)
        found["autoscaling"] = call.json["autoscaling"]
        found["_going"] = found["autoscaling"]["maxReplicas"] > 0
        self.steps[found["id"]] = 0
        if not found["_going"]:
            self.set_state(found, "STOPPED")
        return self.shown(found)

    def delete_deployment(self, call: Incoming) -> Json:
        found = self.known(self.deployments, call)
        above = self.endpoints[found["endpointId"]]
        if found["autoscaling"]["maxReplicas"] or any(one["deploymentId"] == found["id"] for one in above["trafficSplit"]):
            raise refusal(409, "Take its traffic and its replicas away first")
        del self.deployments[found["id"]]
        return {}

    def chat(self, call: Incoming) -> Json:
        asked = call.json["model"]
        if asked not in self.ready():
            raise refusal(404, f"Unable to access model {asked}")
        text = self.answer(call.json["messages"], asked)
        into, out = sum(len(m["content"].split()) for m in call.json["messages"]), len(text.split())
        return {
            "id": "chat-1", "object": "chat.completion", "created": NOW, "model": asked, "prompt": [],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out},
        }  # fmt: skip

    def ready(self) -> set[str]:
        """Names that answer now."""
        up = {id for id, one in self.deployments.items() if one.get("state") == "STARTED" or (one.get("status") or {}).get("readyReplicas")}
        names = {self.deployments[id]["name"] for id in up} | set(self.models)
        names |= {one["name"] for one in self.endpoints.values() if any(part["deploymentId"] in up for part in one["trafficSplit"])}
        return names | ({job.get("model_output_name", "") for job in self.jobs.values()} if self.serverless else set())


V1_HARDWARE = (
    ("2x_nvidia_h100_80gb_sxm", 13.3, "available"),
    ("1x_nvidia_h100_80gb_sxm", 6.65, "available"),
    ("1x_cheap", 1.0, "unavailable"),
)
CONFIGS = (("1xnvidia-h200-141gb", "nvidia-h200-141gb"), ("1xnvidia-h100-80gb", "nvidia-h100-80gb"))
INSTANCE_TYPES = [
    {
        "id": f"it_{number}", "description": "", "gpuCount": 1, "gpuMemoryGib": 80, "gpuType": name.upper(), "name": name,
        "priceCentsPerHour": cents, "regions": [],
    }
    for number, (name, cents) in enumerate((("1xnvidia-h200-141gb", 549), ("1xnvidia-h100-80gb", 399)))
]  # fmt: skip


def refusal(status: int, message: str) -> Refuse:
    return Refuse(status, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}})


def metric(step: int, loss: float) -> Json:
    return {"train/global_step": float(step), "train/loss": loss, "train/learning_rate": 1e-5, "timestamp": 1.0}


def checkpoint(job: str, step: int, final: bool) -> Json:
    label = f"{'Final' if final else 'Intermediate'} Adapter ({step})"
    return {"step": step, "created_at": DAY, "path": f"s3://{job}/{step}", "checkpoint_type": label, "object_id": f"ml_{job[-4:]}s{step}"}


def config(name: str, kind: str) -> Json:
    selectors = [{"key": "accelerator_type", "value": kind}, {"key": "accelerator_count", "value": "1"}]
    return {
        "id": f"cr_{name}", "certifications": [], "projectId": "proj_public", "referenceModel": "projects/proj_public/models/ml_base",
        "referenceModelId": "ml_base", "selectors": selectors,
    }  # fmt: skip


def v1_hardware(name: str, cents: float, status: str) -> Json:
    specs = {"gpu_type": "h100-80gb", "gpu_link": "sxm", "gpu_memory": 80, "gpu_count": 1}
    known = {"object": "hardware", "id": name, "pricing": {"cents_per_minute": cents}, "specs": specs}
    return {**known, "availability": {"status": status}, "updated_at": DAY}


def whoami() -> Json:
    return {
        "type": "project_api_key", "api_key": {"id": "key_1", "name": "k"}, "organization": {"id": "org_1", "name": "o"},
        "project": {"id": PROJECT, "name": "Team", "slug": SLUG},
    }  # fmt: skip


def safetensors(tensors: dict[str, tuple[list[int], bytes]]) -> bytes:
    """A file of float32 tensors: name -> (shape, bytes)."""
    header, at = {}, 0
    for name, (shape, data) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    said = json.dumps(header).encode()
    return len(said).to_bytes(8, "little") + said + b"".join(data for _, data in tensors.values())


def packed(files: dict[str, bytes], kind: str = "tar.zst") -> bytes:
    """An archive of the files, as the service sends one."""
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return out.getvalue()
    with tarfile.open(fileobj=out, mode="w:gz" if kind == "tar.gz" else "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    if kind != "tar.zst":
        return out.getvalue()
    import pyarrow

    whole = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(whole, "zstd") as stream:
        stream.write(out.getvalue())
    return bytes(whole.getvalue())
