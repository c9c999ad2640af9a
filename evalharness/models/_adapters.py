"""LoRA adapters over one base: many rows, each with its own adapter or none, in one forward pass.

A row's layer output gets B(A(x)) added. The rows of each adapter are seated together, so that all adapters of a batch
are two thin batched products a layer, and no row meets another's adapter.

>>> adapters = Adapters(model, "cpu")                                     # doctest: +SKIP
>>> adapters.load("results/trainings/a/adapter")                          # doctest: +SKIP
>>> adapters.wear(["results/trainings/a/adapter", None])                  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import embedding, linear, pad

from evalharness.errors import RunError
from evalharness.models._peft import WEIGHTS, read_config, scaling
from evalharness.models._seats import Seats

_PREFIX = "base_model.model."
_KEPT = 8
"""Adapters that stay in memory when no row of a batch wears them."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """One layer's adapter: `a` (rank, inputs), `b` (outputs, rank) with the scaling inside; float32, as PEFT computes."""

    a: torch.Tensor
    b: torch.Tensor


@dataclass(frozen=True, slots=True)
class _Worn:
    """What a layer adds: of one adapter that all rows wear, or stacked over the groups of `seats`."""

    a: torch.Tensor
    b: torch.Tensor
    seats: Seats[str] | None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """B(A(x)) for x (rows, tokens, inputs), or for token ids (rows, tokens) of an embedding, whose A has a column for each."""
        if not x.is_floating_point():
            return self._looked_up(x)
        x = x.to(self.a.dtype)
        if self.seats is None:
            return linear(linear(x, self.a), self.b)
        if x.dim() != 3:  # layers that mix rows, as experts do: the batch is tried again in smaller parts, of one adapter at last
            raise RuntimeError("rows with different adapters cannot go through this layer together")
        groups, most = self.seats.rows.shape
        seated = x[self.seats.rows].view(groups, -1, x.shape[2])
        return self._unseated((seated @ self.a.transpose(1, 2) @ self.b.transpose(1, 2)).view(groups * most, x.shape[1], -1))

    def _looked_up(self, ids: torch.Tensor) -> torch.Tensor:
        if self.seats is None:
            return linear(embedding(ids, self.a.T), self.b)
        seated = ids[self.seats.rows]
        added = [linear(embedding(of, a.T), b) for of, a, b in zip(seated, self.a, self.b, strict=True)]
        return self._unseated(torch.stack(added).flatten(0, 1))

    def _unseated(self, added: torch.Tensor) -> torch.Tensor:
        """What each row gets, out of what was seated (groups x most, tokens, outputs)."""
        assert self.seats is not None  # one adapter for all rows needs no seats
        added = added[self.seats.places]
        return added if self.seats.seated is None else added.masked_fill(~self.seats.seated[:, None, None], 0.0)


class Adapters:
    """The adapters that a model has loaded, and who wears which."""

    def __init__(self, model: Any, device: str) -> None:
        self._model, self._device = model, device
        self._modules: dict[str, Any] = dict(model.named_modules())
        self._loaded: dict[str, dict[str, _Pair]] = {}
        self._stamps: dict[str, tuple[int, int]] = {}
        self._hooked: set[str] = set()
        self._worn: dict[str, _Worn] = {}
        self._who: tuple[str | None, ...] = ()

    def load(self, folder: str) -> None:
        """Read the adapter in `folder` unless it is here and unchanged. Raises RunError if it does not fit the model."""
        stamp = _stamp(Path(folder))
        if self._stamps.get(folder) == stamp and folder in self._loaded:
            self._loaded[folder] = self._loaded.pop(folder)  # the newest is last
            return
        pairs = self._read(Path(folder))
        self._stamps[folder] = stamp
        for name in pairs.keys() - self._hooked:
            self._modules[name].register_forward_hook(self._hook(name))
            self._hooked.add(name)
        self._loaded[folder] = pairs
        self._who = ()

    def trim(self, needed: Iterable[str | None]) -> None:
        """Forget the longest unused adapters beyond a few; `needed` ones stay."""
        needed = set(needed)
        unused = [folder for folder in self._loaded if folder not in needed]
        for folder in unused[: max(0, len(self._loaded) - _KEPT)]:
            del self._loaded[folder]

    def wear(self, folders: Sequence[str | None]) -> None:
        """From now on row i of a batch goes through the adapter `folders[i]` (None: the plain base)."""
        who = tuple(folders)
        if who == self._who:
            return
        for folder in set(who) - {None}:  # another batch may have had it forgotten
            self.load(str(folder))
        self._who = who
        modules = dict.fromkeys(name for folder in set(who) - {None} for name in self._loaded[str(folder)])
        seatings: dict[frozenset[str], Seats[str]] = {}
        self._worn = {name: self._stack(name, seatings) for name in modules}

    def _stack(self, name: str, seatings: dict[frozenset[str], Seats[str]]) -> _Worn:
        mine = {folder: self._loaded[folder][name] for folder in self._who if folder is not None and name in self._loaded[folder]}
        if len(mine) == 1 and len(set(self._who)) == 1:
            (pair,) = mine.values()
            return _Worn(pair.a, pair.b, None)
        if frozenset(mine) not in seatings:
            seatings[frozenset(mine)] = Seats.of([folder if folder in mine else None for folder in self._who], self._device)
        seats = seatings[frozenset(mine)]
        most = max(pair.a.shape[0] for pair in mine.values())
        pairs = [mine[folder] for folder in seats.distinct]  # smaller ranks are filled up with zeros
        a = torch.stack([pad(pair.a, (0, 0, 0, most - pair.a.shape[0])) for pair in pairs])
        b = torch.stack([pad(pair.b, (0, most - pair.b.shape[1])) for pair in pairs])
        return _Worn(a, b, seats)

    def _hook(self, name: str) -> Any:
        def add(_module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
            worn = self._worn.get(name)
            if worn is None:
                return None
            return output + worn(inputs[0]).to(output.dtype)

        return add

    def _read(self, folder: Path) -> dict[str, _Pair]:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        config = read_config(folder)
        try:
            tensors: Mapping[str, torch.Tensor] = load_file(folder / WEIGHTS, device=self._device)
        except (OSError, SafetensorError) as error:
            raise RunError(f"{WEIGHTS} cannot be read: {error}") from error
        names = {_module_of(key) for key in tensors if not self._is_the_base(key, tensors[key])}
        return {name: self._pair(name, tensors, config) for name in sorted(names)}

    def _is_the_base(self, key: str, tensor: torch.Tensor) -> bool:
        """PEFT saves the base's embedding beside an adapter of it; one that differs would have to be loaded, so it is refused below."""
        module = self._modules.get(key.removeprefix(_PREFIX).removesuffix(".base_layer.weight"))
        weight = getattr(module, "weight", None)
        same = weight is not None and weight.shape == tensor.shape and torch.equal(weight.float(), tensor.to(weight.device).float())
        return key.endswith(".base_layer.weight") and same

    def _pair(self, name: str, tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> _Pair:
        form = "embedding_{}" if isinstance(self._modules.get(name), torch.nn.Embedding) else "{}.weight"
        keys = [f"{_PREFIX}{name}.lora_{form.format(side)}" for side in "AB"]
        if not all(key in tensors for key in keys):
            raise RunError(f"{WEIGHTS} has half an adapter for {name!r}")
        a, b = (tensors[key].float() for key in keys)
        found, wanted = (b.shape[0], a.shape[1]), self._shape(name)
        if found != wanted or a.shape[0] != b.shape[1]:
            raise RunError(f"made for another base model: {name!r} is {wanted or 'no layer'} here, {found} in the adapter")
        b = b * scaling(config, name, a.shape[0])
        if not (a.isfinite().all() and b.isfinite().all()):
            raise RunError(f"{WEIGHTS} has values that are not numbers at {name!r}: the training diverged")
        return _Pair(a, b)

    def _shape(self, name: str) -> tuple[int, int] | None:
        module = self._modules.get(name)
        if isinstance(module, torch.nn.Linear):
            return module.out_features, module.in_features
        if isinstance(module, torch.nn.Embedding):
            return module.embedding_dim, module.num_embeddings
        weight = getattr(module, "weight", None)  # GPT-2's Conv1D keeps its weight as (inputs, outputs)
        return tuple(reversed(weight.shape)) if weight is not None and hasattr(module, "nf") else None


def _stamp(folder: Path) -> tuple[int, int]:
    try:
        found = (folder / WEIGHTS).stat()
    except OSError as error:
        raise RunError(f"{WEIGHTS} cannot be read: {error}") from error
    return found.st_mtime_ns, found.st_size


def _module_of(key: str) -> str:
    for ending in (".lora_A.weight", ".lora_B.weight", ".lora_embedding_A", ".lora_embedding_B"):
        if key.startswith(_PREFIX) and key.endswith(ending):
            return key[len(_PREFIX) : -len(ending)]
    raise RunError(f"{WEIGHTS} has {key!r}: only plain LoRA matrices can be used")
