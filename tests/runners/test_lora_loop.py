"""The training loop: the right gradients, the same bits twice and after a resume, the best weights at the end."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalharness import causal
from evalharness.causal import Causal, Example
from evalharness.errors import ConfigError
from evalharness.records import Message, Point
from evalharness.runners.lora import checkpoint
from evalharness.runners.lora.audit import audit
from evalharness.runners.lora.data import encode
from evalharness.runners.lora.loop import Diverged, Loop, Stopped, eval_steps, learning_rate, total_steps
from evalharness.runners.lora.network import Network
from evalharness.runners.lora.options import LoraOptions
from tests import tiny

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

CHATS = [(Message("user", "say " + "x" * (i * 7 % 23)), Message("assistant", str(i % 10) * (1 + i % 4))) for i in range(24)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def rows() -> list[Example]:
    return encode(tiny.byte_tokenizer(), CHATS, 200, "train")


def base(folder: Path, dtype: str = "auto") -> Causal:
    return causal.load(str(folder), device="cpu", dtype=dtype)


def options(**changed: Any) -> LoraOptions:
    return LoraOptions(**{"rank": 4, "learning_rate": 5e-3, "epochs": 3, "batch_size": 8, "eval_steps": 3, "warmup_ratio": 0, **changed})


def make_loop(folder: Path, rows: list[Example], where: Path, dev: int = 8, seed: int = 0, **changed: Any) -> Loop:
    return Loop(Network(base(folder), options(**changed), seed), rows[dev:], rows[:dev], where, seed)


def bits(loop: Loop) -> dict[str, bytes]:
    return {name: weight.numpy().tobytes() for name, weight in loop.network.copy().items()}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_and_gradients_are_those_of_padded_rows_with_full_logits(folder: Path, rows: list[Example], checkpointing: bool) -> None:
    import torch

    network = Network(base(folder), options(learning_rate=0.0, max_grad_norm=1e9, gradient_checkpointing=checkpointing), 0)
    torch.manual_seed(1)
    for name, weight in network.weights.items():
        if "lora_B" in name:  # zero at the start, and then A has no gradient
            torch.nn.init.normal_(weight, std=0.05)
    loss, _ = network.learn(rows[:8], 0, 0.0)
    found = {name: weight.grad.clone() for name, weight in network.weights.items() if weight.grad is not None}
    assert found.keys() == network.weights.keys()

    network._hook.remove()
    products = [module for module in network.model.modules() if "forward" in vars(module)]
    assert len(products) == 14  # seven linear layers in each of two blocks
    for module in products:
        del module.forward  # back to PEFT's own
    length = max(len(row.ids) for row in rows[:8])
    ids = torch.zeros(8, length, dtype=torch.long)
    labels, mask = torch.full((8, length), -100), torch.zeros(8, length, dtype=torch.long)
    for i, row in enumerate(rows[:8]):
        n = len(row.ids)
        ids[i, :n], mask[i, :n] = torch.tensor(row.ids), 1
        labels[i, row.answer_start : n] = torch.tensor(row.ids[row.answer_start :])
    network.optimizer.zero_grad()
    reference = network.model(input_ids=ids, attention_mask=mask, labels=labels).loss
    reference.backward()
    assert loss == pytest.approx(float(reference.detach()), rel=1e-6)
    for name, weight in network.weights.items():
        assert weight.grad is not None
        torch.testing.assert_close(found[name], weight.grad, rtol=1e-3, atol=1e-7)


def test_only_the_adapter_learns(folder: Path, rows: list[Example]) -> None:
    network = Network(base(folder), options(), 0)
    frozen = {name: p.detach().clone() for name, p in network.model.named_parameters() if name not in network.weights}
    network.learn(rows[:8], 0, 1e-2)
    after = dict(network.model.named_parameters())
    assert all(after[name].grad is None and after[name].equal(weight) for name, weight in frozen.items())
    assert network.trained_parameters == sum(w.numel() for w in network.weights.values())
    assert network.total_parameters == sum(w.numel() for w in frozen.values())


def test_the_head_sees_labelled_positions_only(folder: Path, rows: list[Example]) -> None:
    network = Network(base(folder), options(), 0)
    seen: list[int] = []
    network.model.get_output_embeddings().register_forward_hook(lambda _m, inputs, _out: seen.append(inputs[0].shape[0]))
    network.dev_loss(rows)
    assert sum(seen) == sum(len(row.ids) - row.answer_start for row in rows)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_equal_seeds_give_equal_bits_and_a_resume_changes_none(folder: Path, rows: list[Example], tmp_path: Path, dropout: float) -> None:
    import torch

    whole = make_loop(folder, rows, tmp_path / "a", dropout=dropout)
    torch.manual_seed(99)  # what others drew before must not matter
    again = make_loop(folder, rows, tmp_path / "b", dropout=dropout)
    other = make_loop(folder, rows, tmp_path / "c", dropout=dropout, seed=1)
    for loop in (whole, again, other):
        loop.run()
    assert bits(whole) == bits(again) != bits(other)
    assert [p.train_loss for p in whole.progress.points] == [p.train_loss for p in again.progress.points]

    for stop in (1, 4):
        broken = make_loop(folder, rows, tmp_path / f"stop{stop}", dropout=dropout)
        broken.asked = lambda loop=broken, stop=stop: loop.progress.step == stop  # type: ignore[misc]
        with pytest.raises(Stopped):
            broken.run()
        torch.manual_seed(7)
        resumed = make_loop(folder, rows, tmp_path / f"stop{stop}", dropout=dropout)
        assert resumed.resume()
        assert resumed.progress.step == stop
        resumed.run()
        assert bits(resumed) == bits(whole)
        assert _losses(resumed) == _losses(whole)


def _losses(loop: Loop) -> list[tuple[object, ...]]:
    return [(p.step, p.train_loss, p.dev_loss, p.learning_rate) for p in loop.progress.points]


def test_training_learns_what_is_in_the_rows(folder: Path, tmp_path: Path) -> None:
    same = encode(tiny.byte_tokenizer(), [(Message("user", "hi"), Message("assistant", "abc"))] * 8, 100, "train")
    loop = make_loop(folder, same * 2, tmp_path, epochs=40, learning_rate=2e-2, rank=8)
    progress = loop.run()
    assert progress.base_dev_loss is not None
    assert progress.best_dev_loss is not None
    assert progress.best_dev_loss < progress.base_dev_loss - 0.5


def test_the_best_weights_are_put_back(folder: Path, rows: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = make_loop(folder, rows, tmp_path, eval_steps=1)
    losses, seen = iter([9.0, 3.0, 1.0, 2.0, math.nan, 1.5, 1.0]), []

    def dev_loss(_rows: object) -> float:
        seen.append(bits(loop))
        return next(losses)

    monkeypatch.setattr(loop.network, "dev_loss", dev_loss)
    progress = loop.run()
    assert (progress.best_step, progress.best_dev_loss) == (2, 1.0)
    assert bits(loop) == seen[2] != seen[-1]


def test_patience_ends_a_training_early(folder: Path, rows: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = make_loop(folder, rows, tmp_path, eval_steps=1, patience=2)
    losses = iter([9.0, 3.0, 4.0, 2.0, 2.0, 2.1, 0.0])
    monkeypatch.setattr(loop.network, "dev_loss", lambda _rows: next(losses))
    progress = loop.run()
    assert (progress.step, progress.best_step, progress.stopped) == (5, 3, True)


def test_without_dev_rows_the_last_weights_stay(folder: Path, rows: list[Example], tmp_path: Path) -> None:
    loop = make_loop(folder, rows, tmp_path, dev=0, epochs=1)
    progress = loop.run()
    assert progress.best_step is None
    assert [p.dev_loss for p in progress.points] == [None] * 3


def test_a_loss_that_is_no_number_stops(folder: Path, rows: list[Example], tmp_path: Path) -> None:
    loop = make_loop(folder, rows, tmp_path, learning_rate=1e25, schedule="constant")
    with pytest.raises(Diverged, match=r"became (nan|inf).* at step \d+ of 6. Lower learning_rate"):
        loop.run()
    assert all(math.isfinite(p.train_loss or 0) for p in loop.progress.points)


def test_a_loss_far_above_where_it_began_stops(folder: Path, rows: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = make_loop(folder, rows, tmp_path, dev=0, epochs=100)
    monkeypatch.setattr(loop.network, "learn", lambda *_: (1.0 if loop.progress.step == 0 else 7.0, 1.0))
    with pytest.raises(Diverged, match=r"training loss diverged: 6\.7 over the last 20 steps at step 20, 1 at first"):
        loop.run()


def test_points_and_progress_are_told(folder: Path, rows: list[Example], tmp_path: Path) -> None:
    loop = make_loop(folder, rows, tmp_path)
    points: list[Point] = []
    steps: list[int] = []
    loop.log, loop.say = points.append, lambda progress: steps.append(progress.step)
    progress = loop.run()
    assert steps == [1, 2, 3, 4, 5, 6]
    assert points == progress.points
    assert [p.step for p in points] == [0, 1, 2, 3, 4, 5, 6]
    assert [p.step for p in points if p.dev_loss is not None] == [0, 3, 6]
    assert progress.tokens == sum(len(row.ids) for row in rows[8:]) * 3
    seconds = [p.seconds or 0 for p in points]
    assert seconds == sorted(seconds)


def test_long_trainings_log_means(folder: Path, rows: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = make_loop(folder, rows, tmp_path, dev=0, max_steps=800, epochs=400)
    monkeypatch.setattr(loop.network, "learn", lambda *_: (float(loop.progress.step % 4), 1.0))
    progress = loop.run()
    assert len(progress.points) == 200
    assert {p.train_loss for p in progress.points} == {1.5}


@pytest.mark.parametrize(
    ("changed", "rates"),
    [
        ({"schedule": "constant", "warmup_ratio": 0}, [1, 1, 1, 1]),
        ({"schedule": "linear", "warmup_ratio": 0}, [1, 0.75, 0.5, 0.25]),
        ({"schedule": "linear", "warmup_ratio": 0.5}, [0.5, 1, 1, 0.5]),
        ({"schedule": "cosine", "warmup_ratio": 0}, [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
    ],
)
def test_schedules(changed: dict[str, Any], rates: list[float]) -> None:
    chosen = options(learning_rate=1.0, **changed)
    assert [learning_rate(step, 4, chosen) for step in range(4)] == pytest.approx(rates)


def test_steps_of_a_training() -> None:
    assert total_steps(17, options(batch_size=8, epochs=2)) == 6
    assert total_steps(17, options(batch_size=8, epochs=0.5)) == 2
    assert total_steps(17, options(batch_size=8, epochs=2, max_steps=4)) == 4
    assert eval_steps(800, 80, options(eval_steps=7)) == 7
    assert eval_steps(800, 80, options(eval_steps=None)) == 25  # a quarter of 100 steps
    assert eval_steps(80, 800, options(eval_steps=None)) == 167  # a large dev set is measured seldom


def test_layers_that_are_not_there(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"params\.target_modules: .*query"):
        Network(base(folder), options(target_modules=["query"]), 0)


def test_bfloat16_trains_float32_matrices(folder: Path, rows: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False)
    network = Network(base(folder, "bf16"), options(), 0)
    exact = Network(base(folder), options(), 0)
    assert {weight.dtype for weight in network.weights.values()} == {torch.float32}
    assert network.learn(rows, 0, 1e-3)[0] == pytest.approx(exact.learn(rows, 0, 1e-3)[0], rel=0.01)


def test_closing_gives_the_base_back(folder: Path, rows: list[Example]) -> None:
    import torch

    network = Network(base(folder), options(), 0)
    network.learn(rows[:8], 0, 1e-2)
    model = network.close().model
    fresh = base(folder).model
    ids = torch.tensor([rows[0].ids])
    assert model(ids).logits.equal(fresh(ids).logits)


def _saved(network: Network, where: Path) -> Path:
    network.model.save_pretrained(str(where), save_embedding_layers=False)
    return where


def test_the_audit_sees_whether_an_adapter_does_anything(folder: Path, rows: list[Example], tmp_path: Path) -> None:
    network = Network(base(folder), options(), 0)
    idle = _saved(network, tmp_path / "idle")
    network.learn(rows, 0, 1e-2)
    moved = _saved(network, tmp_path / "moved")
    plain = base(folder)
    assert audit(plain, idle, CHATS) == 0
    assert audit(plain, moved, CHATS) > 1e-2
    assert audit(plain, moved, CHATS) == audit(plain, moved, CHATS)


def test_checkpoints_are_whole_newest_first_and_plain_data(folder: Path, rows: list[Example], tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path) is None
    loop = make_loop(folder, rows, tmp_path, checkpoint_steps=1)
    loop.asked = lambda: loop.progress.step == 3
    with pytest.raises(Stopped):
        loop.run()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]
    assert sorted(path.name for path in (tmp_path / "checkpoint-3").iterdir()) == ["progress.json", "state.safetensors"]
    assert json.loads((tmp_path / "checkpoint-3" / "progress.json").read_text())["step"] == 3
    (tmp_path / ".checkpoint.123").mkdir()  # killed while writing
    found = checkpoint.load(tmp_path)
    assert found is not None
    assert found[0] == loop.progress
    checkpoint.remove(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_time_decides_when_steps_do_not(folder: Path, rows: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    monkeypatch.setattr(checkpoint, "save", lambda _folder, progress, *_: saved.append(progress.step))
    ticks = iter(range(0, 10_000, 5))
    clock: Callable[[], float] = lambda: float(next(ticks))  # noqa: E731
    loop = make_loop(folder, rows, tmp_path, dev=0)
    monkeypatch.setattr("evalharness.runners.lora.loop.time.monotonic", clock)
    loop.run()
    assert 0 < len(saved) < loop.total
