"""Clipped n-gram matches of many answers at once, counted by sorting instead of by dictionaries of tuples.

>>> matched_ngrams([["the", "the", "cat"]], [[["the", "cat"], ["the", "the"]]], order=2)
array([[3., 2.]])
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, count

import numpy as np

from evalharness.protocols import Floats

Tokens = Sequence[str]


def matched_ngrams(answers: Sequence[Tokens], references: Sequence[Sequence[Tokens]], order: int) -> Floats:
    """(n, order): how many of each answer's n-grams of each length occur in its references.

    Each n-gram counts at most as often as in the one reference that has it most often (Papineni et al. 2002).
    """
    n = len(answers)
    counts = np.fromiter(map(len, references), np.int64, n)
    segments = [*answers, *chain.from_iterable(references)]
    sample = np.concatenate([np.arange(n), np.repeat(np.arange(n), counts)])
    slot = np.concatenate([np.zeros(n, np.int64), 1 + np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)])
    lengths = np.fromiter(map(len, segments), np.int64, len(segments))
    vocabulary: defaultdict[str, int] = defaultdict(count().__next__)
    tokens = np.fromiter(map(vocabulary.__getitem__, chain.from_iterable(segments)), np.int64, lengths.sum())
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(tokens))
    sample, slot = np.repeat(sample, lengths), np.repeat(slot, lengths)

    matched = np.zeros((n, order))
    at, gram = np.arange(len(tokens)), sample  # an n-gram is told apart by its sample and its tokens
    for k in range(order):
        fits = left[at] > k
        at, gram = at[fits], gram[fits]
        if len(at) == 0:
            break
        first, gram = np.unique(gram * len(vocabulary) + tokens[at + k], return_index=True, return_inverse=True)[1:]
        times = [np.bincount(gram[slot[at] == which], minlength=len(first)) for which in range(int(counts.max()) + 1)]
        common = np.minimum(times[0], np.maximum.reduce(times[1:]))
        matched[:, k] = np.bincount(sample[at[first]], weights=common, minlength=n)
        alive = common[gram] > 0  # a longer n-gram matches only where its beginning does
        at, gram = at[alive], gram[alive]
    return matched
