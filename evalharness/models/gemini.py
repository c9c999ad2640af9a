"""Gemini models by the Gemini API or by Vertex AI, tuned ones included.

In YAML: `model: gemini/gemini-2.5-flash` (GEMINI_API_KEY), `model: vertex/gemini-2.5-flash` or `model: vertex/projects/…/endpoints/…`
(project, location and credentials as in `evalharness.google`). With options:
`model: {vertex: {name: gemini-2.5-flash, thinking_budget: 0}}`.

>>> VertexChat(GeminiOptions(name="gemini-2.5-flash", location="europe-west4")).identity()
{'base_url': 'https://europe-west4-aiplatform.googleapis.com', 'model': 'gemini-2.5-flash'}
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from evalharness import google, protocols
from evalharness.models.chat import gemini as wire
from evalharness.models.chat.outcome import Halted
from evalharness.models.openai_chat import HostedChat, HostedOptions
from evalharness.prices import price
from evalharness.records import Reply, Request

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

_ENDPOINT = re.compile(r"(?:endpoints/)?(\d+)")
_LOCATION = re.compile(r"projects/[^/]+/locations/([^/]+)/")
_THINKS_BY_CHOICE = re.compile(r"gemini-2\.5-flash")
"""Bases whose thinking can be switched off; others have a least budget that their tuned models keep."""


class GeminiOptions(HostedOptions):
    """How to reach a Gemini model, and how hard to try."""

    vertex: bool | None = None
    """Vertex AI in place of the Gemini API; GOOGLE_GENAI_USE_VERTEXAI (or _USE_ENTERPRISE) if left out."""
    project: str | None = None
    """Vertex AI's project; GOOGLE_CLOUD_PROJECT if left out."""
    location: str | None = None
    """Vertex AI's region; the endpoint's own, GOOGLE_CLOUD_LOCATION, or global, if left out."""
    thinking_budget: int | None = Field(default=None, ge=-1)
    """Most tokens of thought before the answer, which count as answer tokens; 0 for none, -1 for the model's choice."""
    tuned_from: str | None = None
    """The base of a tuned model: whose price it has. It is asked without thoughts where the base allows, as it was tuned without."""


class GeminiChat(HostedChat):
    """Gemini models, by the Gemini API unless options or environment say Vertex AI."""

    Options: ClassVar[type[protocols.Options]] = GeminiOptions
    provider: ClassVar[str] = "gemini"
    url: ClassVar[str] = "https://generativelanguage.googleapis.com"
    url_env: ClassVar[str] = "GOOGLE_GEMINI_BASE_URL"
    key_env: ClassVar[str] = "GEMINI_API_KEY"
    vertex: ClassVar[bool] = False
    """Always Vertex AI."""

    def __init__(self, options: GeminiOptions) -> None:
        super().__init__(options)
        self._project, self._named_location = options.project, options.location
        self._vertex = self.vertex or (_environment_says_vertex() if options.vertex is None else options.vertex)
        if self._vertex:
            self.base_url = google.address(self._location, options.base_url)
        self.base_url, self._version = google.versioned(self.base_url, "v1beta1" if self._vertex else "v1beta")
        self._price = price("vertex" if self._vertex else "gemini", options.tuned_from or options.name.rpartition("/")[2], options.prices)
        self._thinking = options.thinking_budget
        if self._thinking is None and options.tuned_from and _THINKS_BY_CHOICE.match(options.tuned_from):
            self._thinking = 0
        self._path: str | None = None
        self._signed: Credentials | None = None

    def identity(self) -> dict[str, str]:
        """Service address, model name, and what else is sent with every request."""
        known = super().identity()
        return known if self._thinking is None else {**known, "thinking_budget": str(self._thinking)}

    @property
    def _location(self) -> str:
        within = _LOCATION.match(self.options.name)
        return within[1] if within else google.location(self._named_location, "global")

    def _key(self) -> str:
        if self._vertex:
            return google.token(self.options.api_key_env)
        return (not self.options.api_key_env and os.environ.get("GOOGLE_API_KEY", "").strip()) or super()._key()

    def _sign(self, headers: dict[str, str], key: str) -> None:
        if not self._vertex:
            if key:
                headers.setdefault("x-goog-api-key", key)
            return
        super()._sign(headers, key)
        if "Authorization" not in headers:
            needed_by = f"the model {self.options.name!r}"
            self._signed = google.credentials(self.options.api_key_env, needed_by, anonymous=google.is_here(self.base_url))
            self._renewing = asyncio.Lock()

    async def _fresh_headers(self) -> Mapping[str, str] | None:
        """Application default credentials' token, renewed a few minutes before its hour is over."""
        if self._signed is None:
            return None
        if not self._signed.valid:
            async with self._renewing:
                if not self._signed.valid:
                    await asyncio.to_thread(_renew, self._signed)
        return {"Authorization": f"Bearer {self._signed.token}"}

    def _url(self, request: Request) -> str:
        if self._path is None:
            self._path = self._on_vertex(self.options.name) if self._vertex else _by_key(self.options.name)
        return f"{self.base_url}/{self._version}/{self._path}:generateContent"

    def _on_vertex(self, name: str) -> str:
        """The model's resource name, from an absolute name, an endpoint's number or a model's plain name."""
        if name.startswith("projects/"):
            return name
        project = google.project(self._project, f"the model {name!r}")
        if endpoint := _ENDPOINT.fullmatch(name):
            below = f"endpoints/{endpoint[1]}"
        else:
            below = name if name.startswith("publishers/") else f"publishers/google/models/{name.removeprefix('models/')}"
        return f"projects/{project}/locations/{self._location}/{below}"

    def _body(self, request: Request) -> bytes:
        return wire.body(request, self._thinking, self.options.extra_body)

    def _read(self, status: int, headers: Mapping[str, str], raw: bytes, output_id: str, latency_s: float) -> Reply:
        return wire.reply(wire.payload(status, headers, raw), output_id, latency_s, self._price)


class VertexChat(GeminiChat):
    """Gemini models by Vertex AI."""

    provider, url_env, vertex = "vertex", "GOOGLE_VERTEX_BASE_URL", True


def _environment_says_vertex() -> bool:
    """As Google's own SDK reads it: the first of the two variables that is set."""
    said = os.environ.get("GOOGLE_GENAI_USE_ENTERPRISE") or os.environ.get("GOOGLE_GENAI_USE_VERTEXAI") or ""
    return said.lower() in ("true", "1")


def _by_key(name: str) -> str:
    return name if name.startswith(("models/", "tunedModels/")) else f"models/{name}"


def _renew(signed: Credentials) -> None:
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import Request as Post

    try:
        signed.refresh(Post())  # type: ignore[no-untyped-call]
    except GoogleAuthError as error:
        raise Halted(f"Google gave no access token: {' '.join(str(error).split())[:200]}") from None
