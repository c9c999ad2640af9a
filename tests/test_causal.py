"""Bases by name, their identity, and chats as token ids."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness import bases, causal
from evalharness.errors import ConfigError, MissingExtra
from evalharness.records import Message
from tests import tiny

CHAT = (Message("system", "Be brief."), Message("user", "2+2?"), Message("assistant", "4"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def loaded(folder: Path) -> causal.Causal:
    return causal.load(str(folder))


def test_resolve_finds_folders_below_the_root_and_leaves_hub_ids(folder: Path) -> None:
    assert causal.resolve(folder.name, folder.parent) == str(folder)
    assert causal.resolve(str(folder)) == str(folder)
    assert causal.resolve("owner/name", folder) == "owner/name"


def test_the_embedded_base_is_a_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    from evalharness import embedded

    monkeypatch.setattr(embedded, "path", lambda: folder)
    assert causal.resolve("embedded") == str(folder)
    assert causal.identity("embedded") == causal.identity(str(folder))


def test_identity_is_of_the_contents_not_of_the_place(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert causal.identity(str(copy)) == causal.identity(str(folder))
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert causal.identity(str(copy))["weights"] != causal.identity(str(folder))["weights"]
    assert causal.identity(str(copy))["template"] == causal.identity(str(folder))["template"]


def test_the_template_is_found_wherever_tokenizers_keep_it(folder: Path, tmp_path: Path, loaded: causal.Causal) -> None:
    expected = causal.template_hash(loaded.tokenizer)
    assert causal.identity(str(folder))["template"] == expected
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "chat_template.jinja").unlink()
    assert "template" not in causal.identity(str(copy))
    for kept in (tiny.CHATML, [{"name": "rag", "template": "x"}, {"name": "default", "template": tiny.CHATML}]):
        config = json.loads((copy / "tokenizer_config.json").read_text()) | {"chat_template": kept}
        (copy / "tokenizer_config.json").write_text(json.dumps(config))
        assert causal.identity(str(copy))["template"] == expected


def test_load_gives_an_evaluating_model_in_float32_on_a_cpu(loaded: causal.Causal, folder: Path) -> None:
    assert not loaded.model.training
    assert loaded.identity == causal.identity(str(folder))
    if loaded.device == "cpu":
        assert loaded.dtype == "float32"
        assert {str(p.dtype) for p in loaded.model.parameters()} == {"torch.float32"}


def _message(**options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        causal.load(**options)
    return str(caught.value)


def test_folders_that_hold_no_usable_model(folder: Path, tmp_path: Path) -> None:
    assert "has no config.json" in _message(base=str(tmp_path))
    without = Path(shutil.copytree(folder, tmp_path / "pickled"))
    (without / "model.safetensors").rename(without / "pytorch_model.bin")
    assert "no *.safetensors weights" in _message(base=str(without))
    mute = Path(shutil.copytree(folder, tmp_path / "mute"))
    (mute / "chat_template.jinja").unlink()
    assert "has no chat template" in _message(base=str(mute))
    with pytest.raises(ConfigError, match="has no chat template"):  # before anything is loaded
        bases.check(str(mute))
    (mute / "chat_template.json").write_text("{}")
    assert bases.check(str(mute)) == "main"
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / "config.json").write_text("{}")
    assert "cannot be loaded" in _message(base=str(broken))


def test_devices_and_dtypes_that_are_not_there(folder: Path) -> None:
    import torch

    assert "'tpu' is not available here" in _message(base=str(folder), device="tpu")
    assert "'int7' is no dtype" in _message(base=str(folder), dtype="int7")
    if not torch.cuda.is_available():
        assert "'cuda' is not available here" in _message(base=str(folder), device="cuda")


def test_bfloat16_where_the_processor_has_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False)
    assert causal.load(str(folder), device="cpu", dtype="bf16").dtype == "bfloat16"
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False, raising=False)
    assert "no bfloat16 instructions" in _message(base=str(folder), device="cpu", dtype="bf16")


def test_four_bits_need_bitsandbytes_and_cuda(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "bitsandbytes" else find(name, *a))
    with pytest.raises(MissingExtra, match="bitsandbytes"):
        causal.load(str(folder), device="cpu", load_in_4bit=True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: find("json") if name == "bitsandbytes" else find(name, *a))
    assert "needs a CUDA device, found cpu" in _message(base=str(folder), device="cpu", load_in_4bit=True)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "transformers" else find(name, *a))
    with pytest.raises(MissingExtra, match=r"transformers.*evalh\[local\]"):
        causal.load("owner/name")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("RepositoryNotFoundError", "is not on the hub"),
        ("RemoteEntryNotFoundError", "is not on the hub"),
        ("GatedRepoError", "is gated on the hub"),
        ("HfHubHTTPError", "the hub cannot be reached"),
    ],
)
def test_what_the_hub_refuses(monkeypatch: pytest.MonkeyPatch, name: str, said: str) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    def refuse(*_args: Any, **_options: Any) -> None:
        kind: Any = getattr(errors, name)
        raise kind.__new__(kind)

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", refuse)
    assert said in _message(base="owner/never-there")
    assert causal.identity("owner/never-there", "v1") == {"base": "owner/never-there", "revision": "v1"}


def test_a_name_that_can_be_no_base() -> None:
    assert "neither a folder nor a hub id" in _message(base="a/b/c")


def test_a_cached_hub_model_is_its_commit(monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path) -> None:
    import huggingface_hub

    snapshot = Path(shutil.copytree(folder, tmp_path / "0a1b2c"))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_a, **_k: str(snapshot / "config.json"))
    assert causal.identity("owner/name") == {"base": "owner/name", "revision": "0a1b2c"}
    assert bases.check("owner/name") == "0a1b2c"


def test_a_hub_model_that_is_not_cached_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    class Found:
        commit_hash = "abc"

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_a, **_k: None)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_a, **_k: Found)
    assert causal.identity("owner/name") == {"base": "owner/name", "revision": "abc"}
    assert bases.check("owner/name", None) == "main"
    assert bases.check("owner/name", "v2") == "v2"


def test_loss_is_on_the_answer_and_its_end_of_turn(loaded: causal.Causal) -> None:
    example = causal.encode_example(loaded.tokenizer, CHAT, 1000)
    assert loaded.tokenizer.decode(example.ids[example.answer_start :]) == "4<|im_end|>"
    assert list(example.ids[: example.answer_start]) == causal.encode_prompt(loaded.tokenizer, CHAT[:-1])
    assert not example.truncated


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(turns=st.lists(TEXT, min_size=1, max_size=4), answer=TEXT)
def test_training_continues_exactly_what_generation_is_given(turns: list[str], answer: str) -> None:
    tokenizer = _tokenizer(tiny.CHATML)
    chat = [Message("user" if i % 2 == 0 else "assistant", text) for i, text in enumerate(turns)]
    example = causal.encode_example(tokenizer, [*chat, Message("assistant", answer)], 10_000)
    assert list(example.ids[: example.answer_start]) == causal.encode_prompt(tokenizer, chat)
    assert tokenizer.decode(example.ids[example.answer_start :]) == answer + "<|im_end|>"


_TOKENIZERS: dict[str, Any] = {}


def _tokenizer(template: str) -> Any:
    if template not in _TOKENIZERS:
        _TOKENIZERS[template] = tiny.byte_tokenizer(template)
    return _TOKENIZERS[template]


def test_cut_rows_say_so(loaded: causal.Causal) -> None:
    whole = causal.encode_example(loaded.tokenizer, CHAT, 1000)
    cut = causal.encode_example(loaded.tokenizer, CHAT, len(whole.ids) - 1)
    assert cut.truncated
    assert cut.ids == whole.ids[:-1]
    gone = causal.encode_example(loaded.tokenizer, CHAT, 5)
    assert gone.truncated
    assert gone.answer_start == len(gone.ids) == 5
    assert not causal.encode_example(loaded.tokenizer, CHAT, len(whole.ids)).truncated


REWRITES = (  # the generation prompt opens a thought that finished chats do not show
    "{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant\n"
    "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}\n"
    "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def test_a_template_that_rewrites_history_needs_marks() -> None:
    marked = causal.encode_example(_tokenizer(REWRITES), CHAT, 1000)
    assert _tokenizer(REWRITES).decode(marked.ids[marked.answer_start :]) == "4<|im_end|>"
    bare = REWRITES.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    with pytest.raises(ConfigError, match="generation"):
        causal.encode_example(_tokenizer(bare), CHAT, 1000)
    elsewhere = bare.replace(
        "{{ m.content }}<|im_end|>\n{% endif", "{% generation %}{% endgeneration %}{{ m.content }}<|im_end|>\n{% endif"
    )
    with pytest.raises(ConfigError, match="marks no part"):
        causal.encode_example(_tokenizer(elsewhere), CHAT, 1000)


THINKS = (  # as Qwen3's: finished answers follow a thought, be it empty, and prompts open it only where none is wanted
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def test_a_model_that_may_think_aloud_is_asked_and_taught_the_answer_alone() -> None:
    tokenizer = _tokenizer(THINKS)
    example = causal.encode_example(tokenizer, CHAT, 1000)
    assert tokenizer.decode(example.ids[example.answer_start :]) == "4<|im_end|>"
    assert list(example.ids[: example.answer_start]) == causal.encode_prompt(tokenizer, CHAT[:-1])


def test_an_answer_without_an_end_of_turn_gets_one() -> None:
    plain = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    example = causal.encode_example(_tokenizer(plain), CHAT, 1000)
    assert _tokenizer(plain).decode(example.ids[example.answer_start :]) == "4\n<|im_end|>"


def test_an_answer_whose_first_letters_merge_with_the_prompt_is_split_there() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    plain = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
    tokenizer = tiny.byte_tokenizer(plain)
    vocab = tokenizer.get_vocab() | {":4": 999}
    backend = Tokenizer(models.BPE(vocab={k: v for k, v in vocab.items() if not k.startswith("<|")}, merges=[(":", "4")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    merging = type(tokenizer)(tokenizer_object=backend, eos_token="<|im_end|>")
    merging.chat_template = plain
    assert 999 in merging("a:4")["input_ids"]
    example = causal.encode_example(merging, CHAT, 1000)
    assert list(example.ids[: example.answer_start]) == causal.encode_prompt(merging, CHAT[:-1])
    assert 999 not in example.ids


def test_a_template_may_refuse_the_turns() -> None:
    strict = "{{ raise_exception('no system turns, please') }}"
    with pytest.raises(ConfigError, match=r"refuses the turns \(system, user\): no system turns, please"):
        causal.encode_prompt(_tokenizer(strict), CHAT[:-1])


def test_a_model_without_an_end_token_ends_where_the_text_ends() -> None:
    plain = "{% for m in messages %}{{ m.content }}{% endfor %}"
    tokenizer = tiny.byte_tokenizer(plain)
    tokenizer.eos_token = None
    example = causal.encode_example(tokenizer, (Message("user", ""), Message("assistant", "abc")), 1000)
    assert example.answer_start == 1  # nothing predicts the first token of all
    assert tokenizer.decode(example.ids) == "abc"
