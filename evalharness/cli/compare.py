"""`evalh compare ARM [OTHER]`: two arms side by side, of one run or of two; describes and never fails.

>>> compare("tuned", "few-shot")                                                                      # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from evalharness.cli.options import AsJson, RunId, StoreFile, store_of


def compare(
    arm: Annotated[str, typer.Argument(help="An arm's label.", show_default=False)],
    other: Annotated[str | None, typer.Argument(help="Another one; left out: the run's reference.", show_default=False)] = None,
    suite: Annotated[Path | None, typer.Option(help="The suite's YAML file; left out: the newest run's suite.", show_default=False)] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="The arm (or OTHER) as it was in another run: last, run:ID or pin:NAME; with /ARM: that arm.",
            show_default=False,
        ),
    ] = None,
    run: RunId = None,
    store: StoreFile = None,
    as_json: AsJson = False,
) -> None:
    """Compare two arms metric by metric and slice by slice, with intervals and the largest flips."""
    import json

    from evalharness import verdict
    from evalharness.cli.report import place, run_of
    from evalharness.report import compared, people, visible
    from evalharness.verdict.wording import Unit

    root, name = place(suite)
    opened = store_of(root, store)
    view = verdict.load(opened, run_of(opened, run, name), root)
    if against is not None:
        found = verdict.compare_past(view, arm, verdict.find(view, against if other is None else f"{against.partition('/')[0]}/{other}"))
    else:
        found = verdict.compare(view, arm, other)
    if as_json:
        typer.echo(json.dumps(found.as_json()))
        return
    for each in found.evidence["metrics"]:
        typer.echo(visible(each["sentence"]))
        unit = Unit.of(view.measure(each["metric"]).row.range)
        typer.echo(f"  {visible(compared.facts(each, unit))}")
        for line in [*people.lines(each.get("human")), *people.opinions(each.get("judging"))]:
            typer.echo(f"  {visible(line)}")
        for line in each["slices"]:
            typer.echo(f"  {visible(line['sentence'])}\n    {visible(compared.facts(line, unit))}")
        if each["slices_left_out"]:
            typer.echo(f"  {each['slices_left_out']} smaller slices left out: {visible(each['metric'])} is worked out anew on every draw")
    typer.echo(visible(compared.usage(found.evidence["usage"])))
    for caution in found.sentences[len(found.evidence["metrics"]) :]:
        typer.echo(visible(caution))
    for flip in found.evidence["flips"]:
        typer.echo(_flip(flip))


def _flip(flip: dict[str, Any]) -> str:
    """An item on which the two differ; texts are shown as Python writes them, so that nothing in them acts on the terminal."""
    why = {label: f"\n  {'':<12} {text!r}" for label, text in flip["why"].items()}
    answers = "".join(f"\n  {label:<12} {answer!r}{why.get(label, '')}" for label, answer in flip["answers"].items())
    wanted = "".join(f"\n  {'wanted':<12} {target!r}" for target in flip["targets"][:1])
    return f"\n{flip['input']!r}{wanted}{answers}"
