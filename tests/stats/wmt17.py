"""BLEU statistics of the six WMT17 English-German systems whose significance figures are published."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from evalharness.metrics import score_all
from evalharness.metrics.sacrebleu import Bleu, BleuOptions
from evalharness.records import Message, Reply, Sample
from evalharness.stats.interval import Floats

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "wmt17-en-de"
needs_wmt17 = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the WMT17 data are not at {FOLDER}")
BLEU = Bleu(BleuOptions(tokenize="none"))


@cache
def lines(name: str) -> list[str]:
    return (FOLDER / name).read_text(encoding="utf-8").split("\n")[:-1]


@cache
def samples() -> list[Sample]:
    return [Sample.of([Message("user", str(i))], [line]) for i, line in enumerate(lines("ref.de"))]


@cache
def replies(system: str) -> list[Reply]:
    return [Reply(str(i), line, "stop") for i, line in enumerate(lines(f"hyp.{system}.de"))]


@cache
def bleu_stats(system: str) -> Floats:
    """(3004, 10) BLEU statistics of a system."""
    return np.asarray(score_all(BLEU, samples(), replies(system)))
