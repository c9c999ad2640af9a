"""The chat wire protocol (POST /chat/completions, not streamed): a request's body, and what an answer says.

Written after OpenAI's published description, and lenient where other services differ. Nothing that a server sends
raises anything but Again, Refused or Halted.

>>> from evalharness.records import Message, Sampling
>>> body(Request("o", "s", (Message("user", "2+2?"),), Sampling(max_tokens=5)), "gpt-x", "max_tokens", {})
b'{"model":"gpt-x","messages":[{"role":"user","content":"2+2?"}],"max_tokens":5,"temperature":0.0}'
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from evalharness.models.chat.outcome import Again, Halted, Refused
from evalharness.prices import Price
from evalharness.records import Reply, Request
from evalharness.waits import retry_after

_STOPS = frozenset({"stop", "eos", "eos_token", "stop_sequence", "end_turn"})
_LENGTHS = frozenset({"length", "max_tokens"})
_AGAIN = frozenset({408, 409, 425, 429})
_NO_CREDIT = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated", "credit_limit_exceeded"}
)
_WAKING = re.compile(r"scaling[ _]up|scal(ed|ing) to zero|loading|start(ing|ed) up|is starting|warming|waking|cold start", re.IGNORECASE)
"""Words of a 503 whose cause passes by itself (Fireworks: DEPLOYMENT_SCALING_UP; Hugging Face: "is currently loading")."""
_SHOWN = 300
_KEPT = 4000

Json = dict[str, Any]


def body(request: Request, name: str, token_field: str, extra: Mapping[str, Any]) -> bytes:
    """The JSON body of a request. `extra` adds or replaces fields; a null takes a field out.

    A request's adapter is sent as the model's name, as servers with LoRA adapters (vLLM) want it.
    """
    sampling = request.sampling
    fields: Json = {
        "model": request.adapter or name,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        token_field: sampling.max_tokens,
        "temperature": sampling.temperature,
    }
    if sampling.top_p != 1.0:
        fields["top_p"] = sampling.top_p
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    if sampling.temperature > 0 or request.schema is not None:  # repeats of one item must differ; greedy answers need no seed, judges do
        fields["seed"] = sampling.seed + request.repeat
    if request.schema is not None:
        described = {"name": "answer", "strict": True, "schema": request.schema}
        fields["response_format"] = {"type": "json_schema", "json_schema": described}
    if extra:
        fields = {key: value for key, value in {**fields, **extra}.items() if value is not None}
    return json.dumps(fields, separators=(",", ":")).encode()


def payload(status: int, headers: Mapping[str, str], content: bytes) -> Json:
    """The answer's JSON object. Raises Again, Refused or Halted if the response is no whole answer."""
    try:
        found = json.loads(content) if content else None
    except ValueError:  # also bytes that are no UTF-8
        found = None
    if 200 <= status < 300:
        if not isinstance(found, dict):
            raise Again(f"HTTP {status} with {what(content)} instead of an answer", raw=kept(content))
        error = found.get("error")
        if not error or found.get("choices"):
            return found
        code = error.get("code") if isinstance(error, dict) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
    raise _failure(status, headers, found, content)


def _failure(status: int, headers: Mapping[str, str], found: object, content: bytes) -> Again | Refused | Halted:
    codes, said = _error(found)
    reason = f"HTTP {status}: {said or what(content)}"
    if status in (401, 402) or codes & _NO_CREDIT:
        return Halted(reason)
    if status in _AGAIN or status >= 500:
        waking = wakes(status, reason)
        crowded = status in (503, 529) and not waking
        return Again(reason, after=retry_after(headers), limited=status == 429, crowded=crowded, raw=kept(content), waking=waking)
    if 300 <= status < 400:
        return Halted(f"HTTP {status}: the base URL has moved to {headers.get('Location', 'an unknown place')}; set base_url")
    return Refused(reason, raw=kept(content), systemic=status in (403, 404, 405, 410), absent=status == 404)


def wakes(status: int, reason: str) -> bool:
    """Whether an error says that the model is being started."""
    return status == 503 and _WAKING.search(reason) is not None


def _error(found: object) -> tuple[set[str], str]:
    """Codes and message of an error object, in the forms that services use."""
    if isinstance(found, list) and found:
        found = found[0]
    if not isinstance(found, dict):
        return set(), ""
    error = found.get("error") or found
    if isinstance(error, str):
        return set(), short(error)
    if not isinstance(error, dict):
        return set(), short(str(error))
    codes = {str(error[key]) for key in ("code", "type") if isinstance(error.get(key), str)}
    said = error.get("message") or error.get("detail") or ""
    return codes, short(" ".join([*sorted(codes)[:1], said if isinstance(said, str) else json.dumps(said)]))


def reply(found: Json, output_id: str, latency_s: float, price: Price) -> Reply:
    """The Reply that an answer's JSON object holds. Raises Again if it holds no answer at all."""
    choices = found.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise Again("HTTP 200 without a choice", raw=short(json.dumps(found)))
    prompt, completion, cached = usage(found)
    cost = None if prompt is None or completion is None else price.of_tokens(prompt, completion, cached)

    def outcome(text: str | None, finish: Any, error: str | None = None, raw: str | None = None) -> Reply:
        return Reply(output_id, text, finish, prompt, completion, latency_s, cost, error, raw)

    text, refusal, said = _content(message), message.get("refusal"), choice.get("finish_reason")
    finish = said if isinstance(said, str) else None
    if isinstance(refusal, str) and refusal:
        return outcome(None, "error", f"refusal: {short(refusal)}", refusal)
    if finish in _LENGTHS:
        return outcome(text or "", "length")
    if finish not in _STOPS:
        return outcome(None, "error", f"finish_reason {said!r}", text)
    if text is None:
        raise Again("HTTP 200 without a text", raw=short(json.dumps(found)), cost_usd=cost)
    return outcome(text, "stop")


def usage(found: Json) -> tuple[int | None, int | None, int]:
    """Prompt, completion and cached prompt tokens; None where the service does not say."""
    counts = found.get("usage")
    counts = counts if isinstance(counts, dict) else {}
    details = counts.get("prompt_tokens_details")
    cached = count(details.get("cached_tokens")) if isinstance(details, dict) else None
    return count(counts.get("prompt_tokens")), count(counts.get("completion_tokens")), cached or 0


def count(value: object) -> int | None:
    """A number of tokens, if it is one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _content(message: Json) -> str | None:
    """A message's text; some services send it as a list of parts."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
        return "".join(parts) if parts else None
    return content if isinstance(content, str) else None


def what(content: bytes) -> str:
    """What a body is that is no answer, in words."""
    head = content[:200].lstrip().lower()
    if not content:
        return "an empty body"
    return "a web page" if head.startswith((b"<!doctype", b"<html")) else "broken JSON" if head[:1] in (b"{", b"[") else "no JSON"


def kept(content: bytes) -> str | None:
    """As much of a body as is stored beside an error."""
    return content[:_KEPT].decode("utf-8", "replace") or None


def short(text: str) -> str:
    """A text in one line of bearable length."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
