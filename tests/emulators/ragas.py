"""A judge on loopback that does what ragas's prompts ask, by simple rules, and an embeddings endpoint beside it.

Sentences are statements and claims; one is supported where its words are in the text that it is held against; a
question about an answer is the answer itself; vectors count words. So every ragas metric has a value that can be
worked out by hand. `without_schema` makes the service refuse structured output, as older servers do.

>>> with RagasEmulator() as service:                                                                  # doctest: +SKIP
...     Ragas(RagasOptions(metric="faithfulness", model={"openai": {"name": "gpt-x-mini", "base_url": service.url}}))
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable
from typing import Any

from tests.emulators.core import Incoming, Route
from tests.emulators.openai import Json, OpenAIEmulator, refusal

SIZE = 64
_INPUT = re.compile(r"Now perform the same with the following input\s*input:\s*(\{.*\})\s*Output:", re.DOTALL)
_SCHEMA = re.compile(r"specified in JSON Schema:\s*(\{.*?\})Do not use single quotes", re.DOTALL)


def sentences(text: str) -> list[str]:
    """A text's sentences."""
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+", text) if part.strip()]


def words(text: str) -> set[str]:
    """A text's words in lower case."""
    return set(re.findall(r"\w+", text.lower()))


def supported(statement: str, text: str) -> int:
    """1 if the text has every word of the statement."""
    return int(words(statement) <= words(text))


def vector(text: str) -> list[float]:
    """Word counts in `SIZE` buckets."""
    found = [0.0] * SIZE
    for word in re.findall(r"\w+", text.lower()):
        found[zlib.crc32(word.encode()) % SIZE] += 1.0
    return found


def _verdicts(given: Json) -> Json:
    return {"statements": [{"statement": s, "reason": "", "verdict": supported(s, given["context"])} for s in given["statements"]]}


def _recall(given: Json) -> Json:
    found = [{"statement": s, "reason": "", "attributed": supported(s, given["context"])} for s in sentences(given["answer"])]
    return {"classifications": found}


def _classified(given: Json) -> Json:
    answer, truth = " ".join(given["answer"]), " ".join(given["ground_truth"])

    def named(statements: Iterable[str]) -> list[Json]:
        return [{"statement": each, "reason": ""} for each in statements]

    right = [each for each in given["answer"] if supported(each, truth)]
    return {
        "TP": named(right),
        "FP": named(each for each in given["answer"] if each not in right),
        "FN": named(each for each in given["ground_truth"] if not supported(each, answer)),
    }


RULES: dict[str, Callable[[Json], Json]] = {
    "StatementGeneratorOutput": lambda given: {"statements": sentences(given["answer"])},
    "NLIStatementOutput": _verdicts,
    "AnswerRelevanceOutput": lambda given: {"question": given["response"], "noncommittal": int("know" in given["response"])},
    "ContextPrecisionOutput": lambda given: {"reason": "", "verdict": supported(given["answer"], given["context"])},
    "ContextRecallOutput": _recall,
    "ClaimDecompositionOutput": lambda given: {"claims": sentences(given["response"])},
    "ClassificationWithReason": _classified,
    "EntitiesList": lambda given: {"entities": sorted(set(re.findall(r"[A-Z]\w+", given["text"])))},
}


class RagasEmulator(OpenAIEmulator):
    """`ratings` are what the two judges of accuracy, relevance and groundedness say; `spoil` may change an answer before it is sent."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.ratings: list[int] = [4, 2]
        self.without_schema = False
        self.spoil: Callable[[str, str], str] = lambda form, text: text
        self.add_model("text-embedding-x")

    def routes(self) -> Iterable[tuple[str, str, str, Route]]:
        return [*super().routes(), ("embeddings", "POST", "/embeddings", self.embeddings)]

    def chat(self, call: Incoming) -> Json:
        prompt = call.json["messages"][-1]["content"]
        given, form = self.asked(call, prompt)
        answer = RULES[form](given) if form in RULES else {"rating": self.ratings[0]}
        if form not in RULES:
            self.ratings = [*self.ratings[1:], self.ratings[0]]
        self.answer = lambda messages, model: self.spoil(form, json.dumps(answer))
        return super().chat(call)

    def asked(self, call: Incoming, prompt: str) -> tuple[Json, str]:
        """ragas's input object, and the name of the form of the answer."""
        described = call.json.get("response_format")
        if described is not None and self.without_schema:
            raise refusal(400, "response_format of type json_schema is not supported", "unsupported")
        found, written = _INPUT.search(prompt), _SCHEMA.search(prompt)
        assert written is not None, prompt
        title = json.loads(written[1])["title"] if described is None else described["json_schema"]["schema"]["title"]
        return json.loads(found[1]) if found is not None else {}, title

    def embeddings(self, call: Incoming) -> Json:
        texts = call.json["input"]
        if any(not text for text in texts):
            raise refusal(400, "input cannot be an empty string", "invalid_input")
        rows = [{"object": "embedding", "index": number, "embedding": vector(text)} for number, text in enumerate(texts)]
        tokens = sum(len(text.split()) for text in texts)
        return {
            "object": "list",
            "data": rows[::-1],
            "model": call.json["model"],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
