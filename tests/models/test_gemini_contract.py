"""Gemini by both of its services keeps the contract of all models."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from evalharness import google
from evalharness.errors import MissingExtra
from evalharness.models.gemini import GeminiChat, GeminiOptions, VertexChat
from evalharness.protocols import Model
from tests.contracts import ModelContract, ask
from tests.emulators.core import KEY
from tests.emulators.vertex import VertexEmulator


class TestVertexChat(ModelContract):
    service: VertexEmulator

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running(cls) -> Iterator[None]:
        with VertexEmulator() as cls.service, pytest.MonkeyPatch.context() as patch:
            patch.setenv(google.TOKEN_ENV, KEY)
            patch.setenv("GEMINI_API_KEY", KEY)
            patch.delenv("GOOGLE_API_KEY", raising=False)
            yield

    def make(self) -> Model:
        return VertexChat(GeminiOptions(name="gemini-2.5-flash", base_url=self.service.url, project="p1", location="us-central1"))

    def test_a_missing_package_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "aiohttp", None)
        with pytest.raises(MissingExtra, match=r"evalh\[hosted\]"):
            ask(self.make(), self.requests())


class TestGeminiChat(TestVertexChat):
    def make(self) -> Model:
        return GeminiChat(GeminiOptions(name="gemini-2.5-flash", base_url=self.service.url))
