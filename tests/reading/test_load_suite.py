from __future__ import annotations

import time
from pathlib import Path

import pytest

from evalharness.errors import ConfigError
from evalharness.prompts import Prompt
from evalharness.reading import load_suite, workspace_of
from tests.reading.suites import SUITE, TRAINER, changed, complaints

pytestmark = pytest.mark.usefixtures("workspace")
ROOT = Path(__file__).parents[2]


def test_a_suite_in_order(workspace: Path) -> None:
    loaded = load_suite(Path("suites/demo.yaml"))
    assert (loaded.suite.name, loaded.root, loaded.data_root, loaded.text) == ("demo", workspace, workspace, SUITE)
    assert loaded.prompts == {
        "zero-shot": Prompt("Answer in {{ lang }}."),
        "few-shot": Prompt("Be short.\n", "prompts/few.md"),
        "tuned": Prompt("Answer in {{ lang }}."),
        "inline": Prompt("Answer in {{ lang }}."),
    }
    assert [(label, chosen.name, chosen.options.model_dump()) for label, chosen in loaded.models.items()] == [
        ("zero-shot", "plug.py:Stub", {"base": "default", "depth": 1}),
        ("few-shot", "plug.py:Stub", {"base": "default", "depth": 3}),
    ]
    assert loaded.trainers["tuned"].params == {"rank": 16, "modules": ["q"]}
    assert loaded.runners["tuned"].instance.options.rank == 16
    assert loaded.runners["inline"].options.model_dump() == {"rank": 8, "modules": []}
    assert loaded.outputs == {"old": workspace / "old.jsonl"}
    assert list(loaded.metrics) == ["exact_match", "judge"]


def test_paths_are_relative_to_the_workspace_not_to_where_one_stands(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert load_suite(workspace / "suites/demo.yaml").root == workspace


def test_a_suite_outside_of_suites_is_its_own_workspace(workspace: Path) -> None:
    (workspace / "demo.yaml").write_text(SUITE)
    assert workspace_of(Path("demo.yaml")) == workspace
    assert load_suite(Path("demo.yaml")).root == workspace


def test_a_given_data_root_wins(workspace: Path) -> None:
    (workspace / "other").mkdir()
    for name in ("train.jsonl", "test.jsonl", "old.jsonl"):
        (workspace / name).rename(workspace / "other" / name)
    assert "there is no file train.jsonl" in complaints()[0]
    loaded = load_suite(Path("suites/demo.yaml"), data_root=Path("other"))
    assert loaded.data_root == workspace / "other"
    assert loaded.outputs["old"] == workspace / "other/old.jsonl"


def test_reading_is_quick() -> None:
    load_suite(Path("suites/demo.yaml"))
    times = []
    for _ in range(3):
        start = time.process_time()
        load_suite(Path("suites/demo.yaml"))
        times.append(time.process_time() - start)
    assert min(times) < 0.3


def test_everything_is_told_at_once(workspace: Path) -> None:
    (workspace / "trainers/quick.yaml").write_text("runner: plug.py:Trains\nbase: embedded\nparam: {}\n")
    assert complaints(
        """
data: {train: train.jsnl, test: test.jsonl, slices: [lang], lekas: allow}
prompt: "Answer {{ input"
baselines:
  zero-shot: {model: lokal/embedded, shot: 2}
  few-shot: {model: plug.py:Stubb, shots: 2}
candidates:
  tuned: {train: quick}
  other: {train: quik}
  old: {outputs: odl.jsonl}
metrics: [exact_mach, plug.py:Judge]
gate: {against: fewshot, rules: [{metric: exact_match, margin: low}]}
confidence: "95%"
"""
    ) == [
        "suites/demo.yaml: data.lekas: unknown key. Did you mean 'leaks'?",
        "suites/demo.yaml: baselines.zero-shot.shot: unknown key. Did you mean 'shots'?",
        "suites/demo.yaml: gate.rules[0].margin: expected a number, found 'low'",
        "suites/demo.yaml: confidence: expected a number, found '95%'",
        "suites/demo.yaml: data.train: there is no file train.jsnl. Did you mean 'train.jsonl'?",
        "suites/demo.yaml: prompt: the template has an error in line 1: unexpected end of template, expected 'end of print statement'. "
        "Templates are written in Jinja2, e.g. {{ input }}",
        "suites/demo.yaml: baselines.zero-shot.model: 'lokal' is no model. Did you mean 'local'?",
        "suites/demo.yaml: baselines.few-shot.model: 'plug.py:Stubb': plug.py has no 'Stubb'",
        "trainers/quick.yaml: param: unknown key. Did you mean 'params'?",
        "suites/demo.yaml: candidates.other.train: there is no file trainers/quik.yaml. Did you mean 'quick'?",
        "suites/demo.yaml: candidates.old.outputs: there is no file odl.jsonl. Did you mean 'old.jsonl'?",
        "suites/demo.yaml: metrics[0]: 'exact_mach' is no metric. Did you mean 'exact_match'?",
        "suites/demo.yaml: metrics[1].plug.py:Judge.model: missing. Add model",
        "suites/demo.yaml: gate.against: no arm is called 'fewshot'. Did you mean 'few-shot'?",
    ]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("decide:", "decides:", "decides: unknown key. Did you mean 'decide'?"),
        ("data: {train", "data: {trian", "data.trian: unknown key. Did you mean 'train'?"),
        ("test: test.jsonl", "test: tset.jsonl", "data.test: there is no file tset.jsonl. Did you mean 'test.jsonl'?"),
        ("plug.py:Stub}", "locl}", "baselines.zero-shot.model: 'locl' is no model. Did you mean 'local'?"),
        ("{depth: 3}", "{depth: 0}", "baselines.few-shot.model.plug.py:Stub.depth: expected at least 1, found 0"),
        ("{depth: 3}", "{dept: 3}", "baselines.few-shot.model.plug.py:Stub.dept: unknown key. Did you mean 'depth'?"),
        ("plug.py:Stub}", "plug.py:Stub/gone}", "baselines.zero-shot.model.base: 'gone' is nowhere. Name another"),
        ("plug.py:Stub}", "other.py:Stub}", "baselines.zero-shot.model: 'other.py:Stub': there is no file"),
        ("{rank: 16}", "{rank: many}", "candidates.tuned.params.rank: expected a whole number, found 'many'"),
        ("{rank: 16}", "{rnk: 16}", "candidates.tuned.params.rnk: unknown key. Did you mean 'rank'?"),
        ("runner: plug.py:Trains", "runner: loar", "candidates.inline.train.runner: 'loar' is no runner. Did you mean 'lora'?"),
        ("base: b}", "base: b, params: {rank: 0}}", "candidates.inline.train.params.rank: expected at least 1, found 0"),
        ("outputs: old.jsonl", "outputs: odl.jsonl", "candidates.old.outputs: there is no file odl.jsonl. Did you mean 'old.jsonl'?"),
        ("[exact_match,", "[exact_match, exact_match,", "metrics[1]: a second metric is called 'exact_match'."),
        ("[exact_match,", "[exact_match, {a: 1, b: 2},", "metrics[1]: expected a name or {name: options}"),
        ("[exact_match,", "[{exact_match: {srip: true}},", "metrics[0].exact_match.srip: unknown key. Did you mean 'strip'?"),
        ("[exact_match,", "[{exact_match: {extract: '('}},", "metrics[0].exact_match.extract: no regular expression"),
        ("{metric: judge, at", "{metric: jugde, at", "gate.rules[1].metric: the suite has no metric 'jugde'. Did you mean 'judge'?"),
        ("{metric: judge, min", "{metric: blue, min", "decide.metric: the suite has no metric 'blue'. Known: exact_match, judge"),
        ("at_least: 0.5", "at_least: 50", "gate.rules[1].at_least: 50 is out of reach: judge lies between 0 and 1."),
        ("margin: 0.02", "margin: 2", "gate.rules[0].margin: 2 is out of reach: exact_match lies between 0 and 1."),
        ("slice: lang=de", "slice: lag=de", "gate.rules[0].slice: 'lag' is none of data.slices. Did you mean 'lang'?"),
        ("slices: [lang]", "cluster: lang", "gate.rules[0].slice: 'lang' is none of data.slices. Add data.slices"),
        ("prompts/few.md", "prompts/fwe.md", "baselines.few-shot.prompt: there is no file prompts/fwe.md."),
        ('"Answer in {{ lang }}."', '" "', "prompt: the prompt is empty. Write prompt: null for none"),
        ("{{ lang }}", "{{ lnag }}", "prompt: the template names {{ lnag }}, which the rows do not have. Did you mean 'lang'?"),
        ("{{ lang }}", "{{ target }}", "prompt: the template names {{ target }}, which the rows do not have. It is the answer"),
        ("{{ lang }}", "{{ lang | uper }}", "prompt: the template has an error in line 1: No filter named 'uper'."),
        ("seeds: 2", "seeds: two", "candidates.tuned.seeds: expected how many seeds, found 'two'."),
        ("train: quick", "train: 3", "candidates.tuned.train: expected keys with values, found 3"),
    ],
)
def test_one_mistake_is_one_message(old: str, new: str, told: str) -> None:
    found = complaints(changed(old, new))
    assert len(found) == 1, found
    assert found[0].startswith(f"suites/demo.yaml: {told}")


def test_a_prompt_files_unknown_field_is_told_once_with_the_file(workspace: Path) -> None:
    (workspace / "prompts/few.md").write_text("{{ tone }} {{ input }}\n")
    suite = SUITE.replace('prompt: "Answer in {{ lang }}."', "prompt: prompts/few.md")
    assert complaints(suite) == ["prompts/few.md: the template names {{ tone }}, which the rows do not have. Known: examples, input, lang"]


def test_a_renamed_column_is_named_by_its_new_name(workspace: Path) -> None:
    suite = changed("slices: [lang]", "slices: [lang], fields: {lang: sprache}").replace("{{ lang }}", "{{ sprache }}")
    for name in ("train.jsonl", "test.jsonl"):
        (workspace / name).write_text((workspace / name).read_text().replace("lang", "sprache"))
    assert complaints(suite) == [
        "suites/demo.yaml: prompt: the template names {{ sprache }}, which the rows do not have. data.fields calls it 'lang'"
    ]


def test_bad_rows_are_left_to_the_loading_of_rows(workspace: Path) -> None:
    (workspace / "test.jsonl").write_text("no json\n")
    assert load_suite(Path("suites/demo.yaml")).suite.name == "demo"


def test_columns_that_do_not_fit_are_left_to_the_loading_of_rows(workspace: Path) -> None:
    (workspace / "test.jsonl").write_text('{"input": "a", "target": "b", "blob": "\\u0000"}\n')
    assert load_suite(Path("suites/demo.yaml")).suite.name == "demo"


def test_sections_of_the_wrong_kind_hide_nothing() -> None:
    suite = "data: [a]\nbaselines: [a]\ncandidates: {c: {train: quikc}}\nmetrics: bleu\ngate: 3\ndecide: {metric: 3}\n"
    assert complaints(suite) == [
        "suites/demo.yaml: data: expected keys with values, found a list",
        "suites/demo.yaml: baselines: expected keys with values, found a list",
        "suites/demo.yaml: metrics: expected a list, found 'bleu'",
        "suites/demo.yaml: gate: expected keys with values, found 3",
        "suites/demo.yaml: decide.metric: expected text, found 3",
        "suites/demo.yaml: candidates.c.train: there is no file trainers/quikc.yaml. Did you mean 'quick'?",
    ]


def test_candidates_and_examples_need_training_rows() -> None:
    assert complaints(changed("train: train.jsonl, ", "")) == [
        "suites/demo.yaml: baselines.few-shot.shots: few-shot examples come from training rows, and there are none. Add data.train",
        "suites/demo.yaml: candidates.tuned: a candidate needs training rows, and there are none. Add data.train",
        "suites/demo.yaml: candidates.inline: a candidate needs training rows, and there are none. Add data.train",
    ]


def test_a_trainers_mistake_is_told_in_its_file_once(workspace: Path) -> None:
    (workspace / "trainers/quick.yaml").write_text(TRAINER.replace("rank: 4", "rank: 4, alpha: 8"))
    suite = changed("  old:", "  again: {train: quick}\n  old:")
    assert complaints(suite) == ["trainers/quick.yaml: params.alpha: unknown key. Known: modules, rank"]


def test_a_trainers_unknown_runner(workspace: Path) -> None:
    (workspace / "trainers/quick.yaml").write_text(TRAINER.replace("plug.py:Trains", "lorra"))
    assert complaints() == ["trainers/quick.yaml: runner: 'lorra' is no runner. Did you mean 'lora'?"]


def test_a_trainers_bad_yaml(workspace: Path) -> None:
    (workspace / "trainers/quick.yaml").write_text("runner: a\nrunner: b\n")
    assert complaints() == ["trainers/quick.yaml: runner: the key is there twice, in lines 1 and 2. Keep one"]


def test_a_plugin_that_does_not_import(workspace: Path) -> None:
    (workspace / "broken.py").write_text("import no_such_module_anywhere\n")
    found = complaints(changed("plug.py:Stub}", "broken.py:Stub}"))
    assert found == [
        "suites/demo.yaml: baselines.zero-shot.model: 'broken.py:Stub' cannot be loaded: ModuleNotFoundError: "
        "No module named 'no_such_module_anywhere'. Mend the plug-in or install what it needs"
    ]


def test_secrets_are_not_shown(workspace: Path) -> None:
    (workspace / "plug.py").write_text((workspace / "plug.py").read_text().replace("depth: int", "api_key: int"))
    found = complaints(changed("{depth: 3}", "{api_key: sk-very-secret}"))
    assert found[0].endswith("Stub.api_key: expected a whole number, found a value that is not shown")
    assert "sk-very-secret" not in str(found)


def test_no_such_suite() -> None:
    with pytest.raises(ConfigError, match=r"suites/dmo\.yaml: there is no such file\. Did you mean 'demo\.yaml'\?"):
        load_suite(Path("suites/dmo.yaml"))


@pytest.mark.parametrize("name", ["wmt22", "banking77"])
def test_the_shipped_suites_are_in_order(name: str) -> None:
    if not (ROOT.parent / "shared/data").is_dir():
        pytest.skip("the real data sets are not beside the project")
    loaded = load_suite(ROOT / "suites" / f"{name}.yaml")
    assert loaded.suite.name == name
    assert set(loaded.suite.arms) == {*loaded.models, *loaded.runners, *loaded.outputs}
