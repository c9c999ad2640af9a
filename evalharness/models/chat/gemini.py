"""The Gemini wire protocol (POST …:generateContent, not streamed), of the Gemini API and of Vertex AI alike.

Written after Vertex AI's published description. Nothing that a server sends raises anything but Again, Refused or Halted.

>>> from evalharness.records import Message, Sampling
>>> body(Request("o", "s", (Message("user", "2+2?"),), Sampling(max_tokens=5)), None, {})
b'{"contents":[{"role":"user","parts":[{"text":"2+2?"}]}],"generationConfig":{"maxOutputTokens":5,"temperature":0.0}}'
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from evalharness.models.chat import wire
from evalharness.models.chat.outcome import Again, Halted, Refused
from evalharness.prices import Price
from evalharness.records import Reply, Request
from evalharness.waits import retry_after, retry_info

Json = dict[str, Any]

_AGAIN = frozenset({408, 409, 425, 429, 499})
_USELESS = frozenset(
    {
        "API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED", "API_KEY_EXPIRED", "ACCESS_TOKEN_EXPIRED", "ACCESS_TOKEN_TYPE_UNSUPPORTED",
        "SERVICE_DISABLED", "BILLING_DISABLED", "CONSUMER_INVALID", "CONSUMER_SUSPENDED", "USER_PROJECT_DENIED",
    }
)  # fmt: skip
"""Reasons (google.rpc.ErrorInfo) that hold for every request of this key or project."""


def body(request: Request, thinking_budget: int | None, extra: Mapping[str, Any]) -> bytes:
    """The JSON body of a request. `extra` adds or replaces fields, also within objects; a null takes a field out."""
    told = [{"text": message.content} for message in request.messages if message.role == "system"]
    fields: Json = {"systemInstruction": {"parts": told}} if told else {}
    fields["contents"] = [
        {"role": "model" if message.role == "assistant" else "user", "parts": [{"text": message.content}]}
        for message in request.messages
        if message.role != "system"
    ]
    fields["generationConfig"] = _generation(request, thinking_budget)
    return json.dumps(_over(fields, extra), separators=(",", ":")).encode()


def _generation(request: Request, thinking_budget: int | None) -> Json:
    sampling = request.sampling
    config: Json = {"maxOutputTokens": sampling.max_tokens, "temperature": sampling.temperature}
    if sampling.top_p != 1.0:
        config["topP"] = sampling.top_p
    if sampling.stop:
        config["stopSequences"] = list(sampling.stop)
    if sampling.temperature > 0 or request.schema is not None:  # repeats of one item must differ; greedy answers need no seed, judges do
        config["seed"] = (sampling.seed + request.repeat) % 2**31
    if thinking_budget is not None:
        config["thinkingConfig"] = {"thinkingBudget": thinking_budget}
    if request.schema is not None:
        config |= {"responseMimeType": "application/json", "responseJsonSchema": request.schema}
    return config


def _over(fields: Json, extra: Mapping[str, Any]) -> Json:
    found = dict(fields)
    for key, value in extra.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(found.get(key), dict):
            found[key] = _over(found[key], value)
        else:
            found[key] = value
    return found


def payload(status: int, headers: Mapping[str, str], content: bytes) -> Json:
    """The answer's JSON object. Raises Again, Refused or Halted if the response is no whole answer."""
    try:
        found = json.loads(content) if content else None
    except ValueError:  # also bytes that are no UTF-8
        found = None
    if 200 <= status < 300:
        if not isinstance(found, dict):
            raise Again(f"HTTP {status} with {wire.what(content)} instead of an answer", raw=wire.kept(content))
        error = found.get("error")
        if not error:
            return found
        code = error.get("code") if isinstance(error, dict) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
    raise _failure(status, headers, found, content)


def _failure(status: int, headers: Mapping[str, str], found: object, content: bytes) -> Again | Refused | Halted:
    error = _error(found)
    said = " ".join(str(error[key]) for key in ("status", "message") if isinstance(error.get(key), str))
    reason = f"HTTP {status}: {wire.short(said) or wire.what(content)}"
    details = list(_details(error))
    if status in (401, 402) or any(detail.get("reason") in _USELESS for detail in details) or _is_for_today(details):
        return Halted(reason)
    if status in _AGAIN or status >= 500:
        after = retry_after(headers)
        after = retry_info(details) if after is None else after
        waking = wire.wakes(status, reason)
        return Again(
            reason, after=after, limited=status == 429, crowded=status == 503 and not waking, raw=wire.kept(content), waking=waking
        )
    if 300 <= status < 400:
        return Halted(f"HTTP {status}: the base URL has moved to {headers.get('Location', 'an unknown place')}; set base_url")
    return Refused(reason, raw=wire.kept(content), systemic=status in (403, 404, 405, 410), absent=status == 404)


def _error(found: object) -> Json:
    if isinstance(found, list) and found:
        found = found[0]
    error = found.get("error", found) if isinstance(found, dict) else None
    return error if isinstance(error, dict) else {"message": error} if error else {}


def _details(error: Json) -> Iterator[Json]:
    details = error.get("details")
    yield from (detail for detail in (details if isinstance(details, list) else []) if isinstance(detail, dict))


def _is_for_today(details: list[Json]) -> bool:
    """A day's quota is used up, which no bearable wait brings back."""
    violations = [hit for detail in details for hit in (detail.get("violations") or []) if isinstance(hit, dict)]
    return any("PerDay" in str(hit.get("quotaId", "")) for hit in violations)


def reply(found: Json, output_id: str, latency_s: float, price: Price) -> Reply:
    """The Reply that an answer's JSON object holds. Raises Again if it holds no answer at all, or an empty one."""
    prompt, completion, cached = usage(found)
    cost = None if prompt is None or completion is None else price.of_tokens(prompt, completion, cached)

    def outcome(text: str | None, finish: Any, error: str | None = None, raw: str | None = None) -> Reply:
        return Reply(output_id, text, finish, prompt, completion, latency_s, cost, error, raw)

    candidates = found.get("candidates")
    candidate = candidates[0] if isinstance(candidates, list) and candidates else None
    if not isinstance(candidate, dict):
        if blocked := _blocked(found):
            return outcome(None, "error", blocked, wire.short(json.dumps(found)))
        raise Again("HTTP 200 without a candidate", raw=wire.short(json.dumps(found)), cost_usd=cost)
    text, finish = _text(candidate), candidate.get("finishReason")
    if finish == "MAX_TOKENS":
        return outcome(text, "length")  # thoughts may have used all of them
    if finish != "STOP":
        said = candidate.get("finishMessage")
        return outcome(
            None, "error", f"finishReason {finish!r}" + (f": {wire.short(said)}" if isinstance(said, str) and said else ""), text or None
        )
    if not text:
        raise Again("an empty answer", raw=wire.short(json.dumps(found)), cost_usd=cost)
    return outcome(text, "stop")


def _blocked(found: Json) -> str:
    """Why the prompt was refused; empty if it was not."""
    feedback = found.get("promptFeedback")
    if not isinstance(feedback, dict) or not feedback.get("blockReason"):
        return ""
    said = feedback.get("blockReasonMessage")
    return f"the prompt was blocked: {feedback['blockReason']}" + (f": {wire.short(said)}" if isinstance(said, str) and said else "")


def _text(candidate: Json) -> str:
    """The answer's text, without the model's thoughts."""
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    shown = [part for part in (parts if isinstance(parts, list) else []) if isinstance(part, dict) and not part.get("thought")]
    return "".join(part["text"] for part in shown if isinstance(part.get("text"), str))


def usage(found: Json) -> tuple[int | None, int | None, int]:
    """Prompt, answer (thoughts included: they cost the same) and cached prompt tokens; None where the service does not say."""
    counts = found.get("usageMetadata")
    counts = counts if isinstance(counts, dict) else {}
    prompt, total = wire.count(counts.get("promptTokenCount")), wire.count(counts.get("totalTokenCount"))
    prompt = None if prompt is None else prompt + (wire.count(counts.get("toolUsePromptTokenCount")) or 0)
    given = [number for key in ("candidatesTokenCount", "thoughtsTokenCount") if (number := wire.count(counts.get(key))) is not None]
    rest = max(0, total - prompt) if total is not None and prompt is not None else None
    return prompt, sum(given) if given else rest, wire.count(counts.get("cachedContentTokenCount")) or 0
