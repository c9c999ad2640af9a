"""Finding plug-ins by name: built in, by entry point, or `path.py:Name` in YAML.

>>> find("metrics", "exact_match").__name__
'ExactMatch'
>>> split_use({"judge": "rubric.md"})
('judge', 'rubric.md')
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, cast

from evalharness.errors import ConfigError
from evalharness.protocols import Options

Kind = Literal["runners", "models", "metrics"]

BUILT_IN: Mapping[Kind, Mapping[str, str]] = {
    "runners": {
        "autotrain": "evalharness.runners.huggingface:AutoTrainRunner",
        "fireworks": "evalharness.runners.fireworks:FireworksRunner",
        "hf_jobs": "evalharness.runners.huggingface:HfJobsRunner",
        "lora": "evalharness.runners.lora:LoraRunner",
        "openai": "evalharness.runners.openai:OpenAIRunner",
        "rehearsal": "evalharness.runners.rehearsal:RehearsalRunner",
        "together": "evalharness.runners.together:TogetherRunner",
        "vertex": "evalharness.runners.vertex:VertexRunner",
    },
    "models": {
        "fireworks": "evalharness.models.openai_chat:FireworksChat",
        "gemini": "evalharness.models.gemini:GeminiChat",
        "hf": "evalharness.models.openai_chat:HuggingFaceChat",
        "local": "evalharness.models.local:LocalModel",
        "ollama": "evalharness.models.openai_chat:OllamaChat",
        "openai": "evalharness.models.openai_chat:OpenAIChat",
        "recorded": "evalharness.models.recorded:RecordedModel",
        "rehearsal": "evalharness.models.rehearsal:RehearsalModel",
        "together": "evalharness.models.openai_chat:TogetherChat",
        "vertex": "evalharness.models.gemini:VertexChat",
        "vllm": "evalharness.models.openai_chat:VLLMChat",
    },
    "metrics": {
        "exact_match": "evalharness.metrics.exact_match:ExactMatch",
        "judge": "evalharness.metrics.judge:Judge",
        "bleu": "evalharness.metrics.sacrebleu:Bleu",
        "chrf": "evalharness.metrics.sacrebleu:Chrf",
        "ter": "evalharness.metrics.sacrebleu:Ter",
        "rouge": "evalharness.metrics.rouge:Rouge",
        "token_f1": "evalharness.metrics.token_f1:TokenF1",
        "contains": "evalharness.metrics.contains:Contains",
        "regex": "evalharness.metrics.contains:Regex",
        "json_valid": "evalharness.metrics.json_match:JsonValid",
        "json_match": "evalharness.metrics.json_match:JsonMatch",
        "numeric": "evalharness.metrics.numeric:Numeric",
        "label_accuracy": "evalharness.metrics.labels:LabelAccuracy",
        "macro_f1": "evalharness.metrics.labels:MacroF1",
        "cost": "evalharness.metrics.measures:Cost",
        "latency": "evalharness.metrics.measures:Latency",
        "length": "evalharness.metrics.measures:Length",
        "embedding_similarity": "evalharness.metrics.embedding:EmbeddingSimilarity",
        "ragas": "evalharness.metrics.ragas_metric:Ragas",
        "evaluate": "evalharness.metrics.evaluate_metric:Evaluate",
    },
}


def names(kind: Kind) -> dict[str, str]:
    """Every registered plug-in of a kind: name -> "module:Class", built-in ones first."""
    found = dict(BUILT_IN[kind])
    for point in entry_points(group=f"evalharness.{kind}"):
        found.setdefault(point.name, point.value)
    return found


def find(kind: Kind, name: str, root: Path | None = None) -> Any:
    """The plug-in class called `name`; `path.py:Name` is read from below `root`, and may be a plain function for a metric.

    Raises ConfigError with the nearest registered name if there is none.
    """
    if ".py:" in name:
        found = _from_file(name, root or Path.cwd())
        return _adapted(found) if kind == "metrics" and inspect.isfunction(found) else found
    known = BUILT_IN[kind] if name in BUILT_IN[kind] else names(kind)  # entry points take 10 ms to list, and cannot take a built-in's name
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(sorted(known))}"
        raise ConfigError(f"{name!r} is no {kind[:-1]}. {hint}")
    module, _, attribute = known[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def _from_file(name: str, root: Path) -> Any:
    file, _, attribute = name.rpartition(":")
    path = (root / file).resolve()
    if not path.is_file():
        raise ConfigError(f"{name!r}: there is no file {path}")
    spec = importlib.util.spec_from_file_location(f"evalh_plugin_{path.stem}", path)
    assert spec is not None  # a .py path always has both
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, attribute):
        raise ConfigError(f"{name!r}: {file} has no {attribute!r}")
    return getattr(module, attribute)


def _adapted(function: Any) -> Any:
    """A metric class of a plain function; imported by name like every plug-in, because metrics lie floors above."""
    return importlib.import_module("evalharness.metrics.function").as_metric(function)


def split_use(use: object) -> tuple[str, object]:
    """The three ways to name a plug-in -> (name, argument): `bleu`, `{judge: x}`, `{judge: {…}}`.

    Raises ConfigError if it is none of the three.
    """
    if isinstance(use, str):
        return use, None
    if isinstance(use, Mapping) and len(use) == 1:
        name, argument = next(iter(use.items()))
        return str(name), argument
    raise ConfigError(f"expected a name or {{name: options}}, found {use!r}")


def options(plugin: Any, argument: object, root: Path | None = None) -> Options:
    """The plug-in's validated options from a YAML argument (None, a bare value or a mapping).

    Validators find the workspace in `info.context["root"]`, for files that options name. Raises
    pydantic.ValidationError, which the reader turns into problems with file and key.
    """
    context = {"root": root or Path.cwd()}
    model = cast("type[Options]", plugin.Options)
    if argument is None:
        return model.model_validate({}, context=context)
    if isinstance(argument, Mapping):
        return model.model_validate(dict(argument), context=context)
    if model.shorthand is None:
        raise ConfigError(f"takes options by name, found the bare value {argument!r}")
    return model.model_validate({model.shorthand: argument}, context=context)
