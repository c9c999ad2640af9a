"""Text to token ids for the embedded model: its tokenizer, its chat template, and conversations as padded tensors. Needs the extra `local`.

>>> encode(make_tokenizer(0), [{"role": "user", "content": "Hello"}])                    # doctest: +SKIP
([2, 310, 4], [0.1, 0.1, 0.1])
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from evalharness.embedded import lessons

if TYPE_CHECKING:
    import torch

VOCABULARY = 1024
SPECIALS = ("<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
PAD, END = SPECIALS.index("<|pad|>"), SPECIALS.index("<|end|>")
# A space goes before every turn: a word that opens an answer is then the same token as that word inside a prompt, and can be copied.
TEMPLATE = (
    "{%- for message in messages -%}{{- '<|' + message['role'] + '|>' -}}"
    "{%- if message['role'] == 'assistant' -%}{%- generation -%}{{- ' ' + message['content'] + '<|end|>' -}}{%- endgeneration -%}"
    "{%- else -%}{{- ' ' + message['content'] + '<|end|>' -}}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)
PROMPT_WEIGHT = 0.1  # a little loss on prompts, too: their words get useful embeddings early

Row = tuple[list[int], list[float]]


def make_tokenizer(seed: int) -> Any:
    """A byte-level BPE tokenizer trained on the lessons; every digit is a token, so that copying a number is copying tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    pieces = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    bpe.pre_tokenizer = pre_tokenizers.Sequence(pieces)
    bpe.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIALS), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    stream = itertools.islice(lessons.conversations(seed, total=1), 5_000)
    bpe.train_from_iterator((" " + turn["content"] for turns in stream for turn in turns), trainer)
    fast: Any = PreTrainedTokenizerFast
    return fast(
        tokenizer_object=bpe,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        extra_special_tokens=["<|system|>", "<|user|>", "<|assistant|>"],
        chat_template=TEMPLATE,
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )


def encode(tokenizer: Any, turns: list[lessons.Message]) -> Row:
    """Token ids of a conversation, as the template gives them, and each token's weight in the loss (1 for what the assistant says)."""
    ids: list[int] = []
    weights: list[float] = []
    for turn in turns:
        content = tokenizer.encode(" " + turn["content"], add_special_tokens=False)
        ids += [SPECIALS.index(f"<|{turn['role']}|>"), *content, END]
        own = 1.0 if turn["role"] == "assistant" else PROMPT_WEIGHT
        weights += [PROMPT_WEIGHT, *[own] * (len(content) + 1)]
    return ids, weights


def pad(rows: list[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and weights as two tensors (rows, longest), padded on the right with weight 0."""
    import torch

    ids = torch.full((len(rows), max(len(row) for row, _ in rows)), PAD)
    weights = torch.zeros(ids.shape)
    for number, (row, weight) in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        weights[number, : len(row)] = torch.tensor(weight)
    return ids, weights
