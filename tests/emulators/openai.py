"""OpenAI's files, fine-tuning jobs, models and chat on loopback.

A job steps through `states` with every retrieve; chat answers by `answer(messages, model)`.

>>> with OpenAIEmulator() as service:                                                                 # doctest: +SKIP
...     OpenAI(base_url=service.url, api_key=service.key).models.retrieve("gpt-4.1-mini")
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from tests.emulators.core import Emulator, Incoming, Refuse, Route

Json = dict[str, Any]
NOW = 1_790_000_000


def echo(messages: list[Json], model: str) -> str:
    """The last user turn, and who answers."""
    said = next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")
    return f"{model} heard: {said}"


class OpenAIEmulator(Emulator):
    """State: files, jobs, models. `states` is what a job goes through; its last one stays."""

    description: ClassVar[str | None] = "openai.openapi.json"
    server: ClassVar[str] = "https://api.openai.com/v1"

    def __init__(self, *, answer: Callable[[list[Json], str], str] = echo, **options: Any) -> None:
        super().__init__(**options)
        self.answer = answer
        self.files: dict[str, Json] = {}
        self.contents: dict[str, bytes] = {}
        self.jobs: dict[str, Json] = {}
        self.steps: dict[str, int] = {}
        self.events: dict[str, list[Json]] = {}
        self.checkpoints: dict[str, list[Json]] = {}
        self.states = ["validating_files", "queued", "running", "succeeded"]
        self.batches: dict[str, Json] = {}
        self.batch_states = ["validating", "in_progress", "completed"]
        self.file_states = ["processed"]
        self.late = 0
        """So many listings of batches show nothing yet."""
        self.unanswered: set[str] = set()
        """Last user turns that a batch does not answer."""
        self.models: dict[str, Json] = {}
        self.finish = "stop"
        self.ignores_metadata = False
        self.limit_headers: dict[str, str] = {}
        for name in ("gpt-4.1-mini", "gpt-x-mini"):
            self.add_model(name)

    def add_model(self, name: str, shutdown_date: str | None = None) -> None:
        """A model that may be asked and tuned."""
        owner = {"id": name, "object": "model", "created": NOW, "owned_by": "emulator"}
        self.models[name] = {**owner, "shutdown_date": shutdown_date}

    def routes(self) -> Iterable[tuple[str, str, str, Route]]:
        return [
            ("upload", "POST", "/files", self.upload),
            ("list_files", "GET", "/files", self.list_files),
            ("file", "GET", "/files/{id}", self.retrieve_file),
            ("content", "GET", "/files/{id}/content", lambda call: self.known(self.contents, call.params["id"])),
            ("create_job", "POST", "/fine_tuning/jobs", self.create_job),
            ("list_jobs", "GET", "/fine_tuning/jobs", self.list_jobs),
            ("job", "GET", "/fine_tuning/jobs/{id}", self.retrieve_job),
            ("cancel", "POST", "/fine_tuning/jobs/{id}/cancel", self.cancel_job),
            ("events", "GET", "/fine_tuning/jobs/{id}/events", lambda call: self.page(self.events, call)),
            ("checkpoints", "GET", "/fine_tuning/jobs/{id}/checkpoints", lambda call: self.page(self.checkpoints, call)),
            ("model", "GET", "/models/{id}", self.retrieve_model),
            ("create_batch", "POST", "/batches", self.create_batch),
            ("list_batches", "GET", "/batches", self.list_batches),
            ("batch", "GET", "/batches/{id}", self.retrieve_batch),
            ("chat", "POST", "/chat/completions", self.chat),
        ]

    def known(self, table: dict[str, Any], key: str) -> Any:
        if key not in table:
            raise refusal(404, f"No such object: {key}", "not_found")
        return table[key]

    def upload(self, call: Incoming) -> Json:
        name, content = call.form["file"]
        made = f"file-{len(self.files) + 1:04d}"
        base = {"id": made, "object": "file", "bytes": len(content), "created_at": NOW + len(self.files), "filename": name}
        self.files[made] = {**base, "purpose": call.form["purpose"], "status": self.file_states[0]}
        self.steps[made] = 0
        self.contents[made] = content
        return self.files[made]

    def retrieve_file(self, call: Incoming) -> Json:
        file: Json = self.known(self.files, call.params["id"])
        if file["status"] in self.file_states:
            self.steps[file["id"]] += 1
            file["status"] = self.file_states[min(self.steps[file["id"]], len(self.file_states) - 1)]
        return file

    def usable(self, file: str) -> None:
        """What a job or batch wants of a file that it names."""
        self.known(self.files, file)
        if self.files[file].get("status", self.file_states[-1]) != self.file_states[-1]:
            raise refusal(400, f"File '{file}' is still being processed and is not ready to be used. Please try again later.", "not_ready")

    def list_files(self, call: Incoming) -> Json:
        wanted = call.query.get("purpose")
        found = [file for file in reversed(self.files.values()) if wanted in (None, file["purpose"])]
        return {**listed(found, call.query), "first_id": "", "last_id": ""}

    def create_job(self, call: Incoming) -> Json:
        asked = call.json
        if asked["model"] not in self.models:
            raise refusal(404, f"The model {asked['model']} does not exist", "model_not_found")
        for key in ("training_file", "validation_file"):
            if asked.get(key) is not None:
                self.usable(asked[key])
        made = f"ftjob-{len(self.jobs) + 1:04d}"
        self.jobs[made] = {
            "id": made, "object": "fine_tuning.job", "created_at": NOW, "error": None, "fine_tuned_model": None, "finished_at": None,
            "hyperparameters": {"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 1.8}, "model": asked["model"],
            "organization_id": "org-1", "result_files": [], "status": self.states[0], "trained_tokens": None,
            "training_file": asked["training_file"], "validation_file": asked.get("validation_file"), "seed": asked.get("seed") or 42,
            "method": asked.get("method") or {"type": "supervised"}, "metadata": asked.get("metadata"), "estimated_finish": None,
        }  # fmt: skip
        self.steps[made], self.events[made], self.checkpoints[made] = 0, [], []
        self.jobs[made]["_suffix"] = asked.get("suffix")
        return self.shown(made)

    def shown(self, job: str) -> Json:
        return {key: value for key, value in self.jobs[job].items() if not key.startswith("_")}

    def list_jobs(self, call: Incoming) -> Json:
        wanted = {hit[1]: value for key, value in call.query.items() if (hit := re.fullmatch(r"metadata\[(.+)\]", key))}
        found = [self.shown(job) for job in reversed(self.jobs)]
        if not self.ignores_metadata:
            found = [job for job in found if wanted.items() <= (job["metadata"] or {}).items()]
        return listed(found, call.query)

    def retrieve_job(self, call: Incoming) -> Json:
        job = self.known(self.jobs, call.params["id"])
        if job["status"] not in ("succeeded", "failed", "cancelled"):
            self.steps[job["id"]] += 1
            self.enter(job, self.states[min(self.steps[job["id"]], len(self.states) - 1)])
        return self.shown(job["id"])

    def enter(self, job: Json, state: str) -> None:
        """What a job does when it reaches a state."""
        job["status"] = state
        if state == "running":
            job["estimated_finish"] = NOW + 600
            self.log(job["id"], 1, 2.5)
        elif state == "failed":
            job["error"] = {
                "code": "invalid_training_file",
                "message": "The file is broken.\nLine 3 has no assistant turn",
                "param": "training_file",
            }
        elif state == "succeeded":
            self.succeed(job)

    def succeed(self, job: Json) -> None:
        suffix = job["_suffix"] or ""
        tuned = f"ft:{job['model']}:org-1:{suffix}:{job['id'][-4:]}"
        for step, train_loss in ((2, 1.5), (3, 0.9)):
            self.log(job["id"], step, train_loss, valid_loss=train_loss + 0.1)
        for step, name in ((2, f"{tuned}:ckpt-step-2"), (3, tuned)):
            self.checkpoints[job["id"]].insert(0, checkpoint(job["id"], step, name))
            self.add_model(name)
        results = f"file-{len(self.files) + 1:04d}"
        self.contents[results] = (
            b"step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,2.5,0.1,,\n2,1.5,0.4,1.6,0.3\n3,0.9,0.8,1.0,0.7\n"
        )
        self.files[results] = {
            "id": results, "object": "file", "bytes": len(self.contents[results]), "created_at": NOW, "filename": "step_metrics.csv",
            "purpose": "fine-tune-results", "status": "processed",
        }  # fmt: skip
        job.update(fine_tuned_model=tuned, finished_at=NOW + 90, trained_tokens=12_000, result_files=[results], estimated_finish=None)

    def log(self, job: str, step: int, train_loss: float, **more: float) -> None:
        data = {"step": step, "total_steps": 3, "train_loss": train_loss, **more}
        self.events[job].insert(0, event(len(self.events[job]), f"Step {step}/3: training loss={train_loss}", data))

    def cancel_job(self, call: Incoming) -> Json:
        job = self.known(self.jobs, call.params["id"])
        if job["status"] in ("succeeded", "failed", "cancelled"):
            raise refusal(400, f"Job {job['id']} is already {job['status']}", "invalid_request")
        job["status"] = "cancelled"
        return self.shown(job["id"])

    def page(self, table: dict[str, list[Json]], call: Incoming) -> Json:
        return listed(self.known(table, call.params["id"]), call.query)

    def retrieve_model(self, call: Incoming) -> Json:
        if call.params["id"] not in self.models:
            raise refusal(404, f"The model '{call.params['id']}' does not exist", "model_not_found")
        found: Json = self.models[call.params["id"]]
        return found

    def chat(self, call: Incoming) -> Json:
        if call.json["model"] not in self.models:
            raise refusal(404, f"The model `{call.json['model']}` does not exist", "model_not_found")
        text = self.answer(call.json["messages"], call.json["model"])
        message = {"role": "assistant", "content": text, "refusal": None}
        into, out = sum(len(m["content"].split()) for m in call.json["messages"]), len(text.split())
        return {
            "id": "chatcmpl-1", "object": "chat.completion", "created": NOW, "model": call.json["model"],
            "choices": [{"index": 0, "finish_reason": self.finish, "message": message, "logprobs": None}],
            "usage": {"prompt_tokens": into, "completion_tokens": out, "total_tokens": into + out},
        }  # fmt: skip

    def create_batch(self, call: Incoming) -> Json:
        asked, made = call.json, f"batch_{len(self.batches) + 1:04d}"
        self.usable(asked["input_file_id"])
        self.batches[made] = {
            "id": made, "object": "batch", "endpoint": asked["endpoint"], "input_file_id": asked["input_file_id"],
            "completion_window": asked["completion_window"], "status": self.batch_states[0], "created_at": NOW,
            "metadata": asked.get("metadata"),
        }  # fmt: skip
        self.steps[made] = 0
        return self.batches[made]

    def list_batches(self, call: Incoming) -> Json:
        self.late -= self.late > 0
        return listed([] if self.late else list(reversed(self.batches.values())), call.query)

    def retrieve_batch(self, call: Incoming) -> Json:
        batch: Json = self.known(self.batches, call.params["id"])
        if batch["status"] not in ("completed", "failed", "expired", "cancelled"):
            self.steps[batch["id"]] += 1
            batch["status"] = self.batch_states[min(self.steps[batch["id"]], len(self.batch_states) - 1)]
            if batch["status"] in ("completed", "expired"):
                self.complete(batch)
        return batch

    def complete(self, batch: Json) -> None:
        good, bad = [], []
        for line in map(json.loads, self.contents[batch["input_file_id"]].splitlines()):
            if line["body"]["messages"][-1]["content"] in self.unanswered:
                error = {"code": "batch_expired", "message": "This request could not be executed before the completion window expired."}
                bad.append({"id": "r", "custom_id": line["custom_id"], "response": None, "error": error})
            else:
                answer = {"status_code": 200, "request_id": "r", "body": self.chat(Incoming({}, {}, line["body"]))}
                good.append({"id": "r", "custom_id": line["custom_id"], "response": answer, "error": None})
        for key, rows in (("output_file_id", good), ("error_file_id", bad)):
            if rows:
                batch[key] = f"file-{len(self.files) + 1:04d}"
                self.contents[batch[key]] = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
                self.files[batch[key]] = {
                    "id": batch[key], "object": "file", "bytes": len(self.contents[batch[key]]), "created_at": NOW,
                    "filename": f"{key}.jsonl", "purpose": "batch_output", "status": "processed",
                }  # fmt: skip


def refusal(status: int, message: str, code: str) -> Refuse:
    return Refuse(status, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}})


def listed(found: list[Json], query: dict[str, str]) -> Json:
    """A page of a list: `after` and `limit` as the service has them."""
    ids = [item["id"] for item in found]
    start = ids.index(query["after"]) + 1 if query.get("after") in ids else 0
    stop = start + int(query.get("limit", 20))
    return {"object": "list", "data": found[start:stop], "has_more": stop < len(found)}


def event(number: int, message: str, data: Json) -> Json:
    base = {"id": f"ftevent-{number:04d}", "object": "fine_tuning.job.event", "created_at": NOW + number, "level": "info"}
    return {**base, "message": message, "type": "metrics", "data": data}


def checkpoint(job: str, step: int, name: str) -> Json:
    base = {"id": f"ftckpt-{job}-{step}", "object": "fine_tuning.job.checkpoint", "created_at": NOW, "fine_tuning_job_id": job}
    return {**base, "fine_tuned_model_checkpoint": name, "step_number": step, "metrics": {"step": step, "full_valid_loss": 2.0 / step}}
