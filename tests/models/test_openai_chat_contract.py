"""The hosted chat model keeps the contract of all models."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from evalharness.errors import MissingExtra
from evalharness.models.openai_chat import ChatOptions, OpenAIChat
from evalharness.protocols import Model
from tests.contracts import ModelContract, ask
from tests.emulators.core import KEY
from tests.emulators.openai import OpenAIEmulator


class TestOpenAIChat(ModelContract):
    service: OpenAIEmulator

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running(cls) -> Iterator[None]:
        with OpenAIEmulator() as cls.service, pytest.MonkeyPatch.context() as patch:
            patch.setenv("OPENAI_API_KEY", KEY)
            yield

    def make(self) -> Model:
        return OpenAIChat(ChatOptions(name="gpt-4.1-mini", base_url=self.service.url))

    def test_a_missing_package_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "aiohttp", None)
        with pytest.raises(MissingExtra, match=r"evalh\[hosted\]"):
            ask(self.make(), self.requests())
