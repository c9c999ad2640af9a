"""Metric scripts in the form of Hugging Face's `evaluate`, written to a folder: what a user has on disk."""

from __future__ import annotations

from pathlib import Path

_HEAD = """import datasets
import evaluate
{imports}

class {name}(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features={features})

"""
_TEXTS = 'datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})'
_INTS = 'datasets.Features({"predictions": datasets.Value("int32"), "references": datasets.Value("int32")})'
_FLOATS = 'datasets.Features({"predictions": datasets.Value("float"), "references": datasets.Value("float")})'
_MANY = """[
            datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")}),
            datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Sequence(datasets.Value("string"))}),
        ]"""
_SQUAD = """datasets.Features({
            "predictions": {"id": datasets.Value("string"), "prediction_text": datasets.Value("string")},
            "references": {"id": datasets.Value("string"), "answers": datasets.features.Sequence(
                {"text": datasets.Value("string"), "answer_start": datasets.Value("int32")})},
        })"""
_SOURCES = """datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string"),
            "sources": datasets.Value("string")})"""
_ODD = 'datasets.Features({"predictions": {"tokens": datasets.Value("string")}, "references": datasets.Value("string")})'

SCRIPTS = {
    "same": ("", _TEXTS, """    def _compute(self, predictions, references):
        return {"same": sum(p == r for p, r in zip(predictions, references)) / len(predictions)}
"""),
    "errors": ("", _TEXTS, """    def _compute(self, predictions, references):
        wrong = sum(len(set(r.split()) - set(p.split())) for p, r in zip(predictions, references))
        return {"errors": wrong / sum(len(set(r.split())) for r in references)}
"""),
    "f1": ("from sklearn.metrics import f1_score", _INTS, """    def _compute(self, predictions, references, average="binary", labels=None):
        return {"f1": float(f1_score(references, predictions, average=average, labels=labels, zero_division=0))}
"""),
    "hits": ("", _INTS, """    def _compute(self, predictions, references):
        return {"hits": float(sum(p == r for p, r in zip(predictions, references)) / len(predictions)), "n": len(predictions)}
"""),
    "correlation": ("from scipy.stats import pearsonr", _FLOATS, """    def _compute(self, predictions, references):
        return {"correlation": pearsonr(references, predictions)[0]}
"""),
    "any_of": ("", _MANY, """    def _compute(self, predictions, references):
        return {"any_of": sum(p in r for p, r in zip(predictions, references)) / len(predictions)}
"""),
    "quad": ("", _SQUAD, """    def _compute(self, predictions, references):
        answers = {r["id"]: r["answers"]["text"] for r in references}
        right = sum(p["prediction_text"] in answers[p["id"]] for p in predictions)
        return {"exact": 100.0 * right / len(predictions), "total": len(predictions)}
"""),
    "copied": ("", _SOURCES, """    def _compute(self, predictions, references, sources):
        return {"copied": sum(p == s for p, s in zip(predictions, sources)) / len(predictions)}
"""),
    "broken": ("", _TEXTS, """    def _compute(self, predictions, references):
        raise RuntimeError("it never worked")
"""),
    "hungry": ("import no_such_package", _TEXTS, """    def _compute(self, predictions, references):
        return {}
"""),
    "odd": ("", _ODD, """    def _compute(self, predictions, references):
        return {}
"""),
}  # fmt: skip


def write(root: Path) -> Path:
    """Every script in a folder of its name below `root`/metrics."""
    for name, (imports, features, body) in SCRIPTS.items():
        folder = root / "metrics" / name
        folder.mkdir(parents=True)
        head = _HEAD.format(imports=imports, name=name.title().replace("_", ""), features=features)
        (folder / f"{name}.py").write_text(head + body, encoding="utf-8")
    return root
