from __future__ import annotations

from evalharness.doctor.secrets import Private
from evalharness.prompts import Prompt
from tests.doctor.seen import chosen, examine, loaded, rows

KEY = "AKIAIOSFODNN7EXAMPLE"


def test_clean_rows_have_no_findings() -> None:
    assert examine(Private(), rows("train", [("Where is order 4111111111111112?", "On its way")] * 3)) == []


def test_personal_data_is_told_with_every_side_counted_and_nothing_shown() -> None:
    seen = [
        *rows("train", [("Hi", "Mail ada@mail.com or bob@mail.com"), ("plain", "text")]),
        *rows("test", [("Reach me: eve@mail.com, 415-555-2671", "ok")], start=2),
    ]
    mail, phone = examine(Private(), seen)
    assert (mail.rule, mail.severity, mail.count) == ("personal.email", "note", 2)
    assert mail.figures == {"times": 3, "rows_train": 1, "rows_test": 1, "looked": mail.figures["looked"]}
    assert mail.found == ("3 e-mail addresses (1 train, 1 test); nothing of this suite is trained on them or sends them anywhere")
    assert [(place.source, place.excerpt) for place in mail.worst] == [
        ("train.jsonl:1", "Mail <EMAIL> or <EMAIL>"),
        ("test.jsonl:1", "Reach me: <EMAIL>, <PHONE>"),
    ]
    assert (phone.rule, phone.count) == ("personal.phone", 1)
    assert mail.rows == ()


def test_a_key_is_an_error_only_where_a_service_would_get_it() -> None:
    seen = rows("train", [(f"my key is {KEY}", "ok")])
    at_home = loaded(runners={"tuned": chosen("lora", local=True)})
    (finding,) = examine(Private(), seen, at_home)
    assert (finding.rule, finding.severity) == ("secret.key", "warning")
    (finding,) = examine(Private(), seen, loaded(runners={"tuned": chosen("openai", local=False)}))
    assert finding.severity == "error"
    assert finding.refuses
    assert "they would be sent to a service by tuned" in finding.found
    assert KEY not in repr(finding)
    (finding,) = examine(Private(), seen, loaded(models={"asked": chosen("openai", local=False)}))
    assert finding.severity == "error"


def test_personal_data_is_a_warning_where_something_is_trained_or_sent() -> None:
    seen = rows("train", [("call me at 415-555-2671", "ok")])
    for suite in (loaded(runners={"t": chosen("lora", local=True)}), loaded(models={"m": chosen("openai", local=False)})):
        (finding,) = examine(Private(), seen, suite)
        assert (finding.rule, finding.severity) == ("personal.phone", "warning")
    (finding,) = examine(Private(), seen, loaded(models={"m": chosen("local", local=True)}))
    assert finding.severity == "note"


def test_prompts_are_read_once_each_and_named() -> None:
    one, other = Prompt(f"Use {KEY}", "prompts/a.md"), Prompt("Mail help@mail.com: {{ input }}")
    found = examine(Private(), [], loaded(prompts={"a": one, "b": one, "c": other, "d": None}))
    assert [(each.rule, each.count, each.worst[0].source) for each in found] == [
        ("secret.key", 1, "prompts/a.md"),
        ("personal.email", 1, "the prompt of c"),
    ]


def test_columns_count_where_a_prompt_names_them() -> None:
    seen = rows("train", [("Hi", "ok")], fields={"contact": "ada@mail.com"})
    assert examine(Private(), seen) == []
    (finding,) = examine(Private(), seen, loaded(prompts={"a": Prompt("{{ contact }}: {{ input }}")}))
    assert finding.worst[0].excerpt == "<EMAIL>"


def test_production_inputs_stay_here() -> None:
    assert examine(Private(), rows("logs", [("ada@mail.com", "ok")])) == []


def test_at_most_twenty_places_are_named() -> None:
    (finding,) = examine(Private(), rows("train", [(f"u{k}@mail.com", "ok") for k in range(50)]))
    assert finding.count == 50
    assert len(finding.worst) == 20
