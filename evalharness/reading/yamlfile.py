"""A YAML file as plain values, strictly: YAML 1.2 scalars, no repeated keys, no surprises.

>>> parse("a: [1, no, 1e-4]", "x.yaml")
{'a': [1, 'no', 0.0001]}

PyYAML follows YAML 1.1, where `no` is false, `010` is 8, `1e-4` is text and `2024-01-01` is a date, and where the
second of two equal keys silently wins. Here `yaml.SafeLoader` is narrowed to what a reader of the file expects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from evalharness.data.paths import display
from evalharness.errors import ConfigError, Problem
from evalharness.reading.problems import join, nearest, shown

_TAG = "tag:yaml.org,2002:"
_MOST_BYTES = 1_000_000
_MOST_NODES = 100_000
_DEEPEST = 50


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2's core schema and nothing else."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  the name and type are PyYAML's
    yaml_constructors = {  # noqa: RUF012
        _TAG + kind: yaml.SafeLoader.yaml_constructors[_TAG + kind] for kind in ("null", "bool", "float", "seq", "map")
    }


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = node.value.lower()
    return int(text, 0) if text.startswith(("0x", "0o")) else int(text)


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    """JSON writes an emoji as two escapes, halves of a pair, which PyYAML leaves apart."""
    try:
        return str(node.value).encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        found = "half of a surrogate pair; write the character itself or both \\u escapes"
        raise yaml.constructor.ConstructorError(None, None, found, node.start_mark) from None


def _unknown_tag(loader: _Loader, node: yaml.Node) -> object:
    raise yaml.constructor.ConstructorError(None, None, f"the tag {node.tag!r} is not allowed", node.start_mark)


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("merge", "<<", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(f"(?:{_pattern})$"), _first)
_Loader.add_constructor(_TAG + "int", _integer)
_Loader.add_constructor(_TAG + "str", _text)
_Loader.add_constructor(None, _unknown_tag)


def read_text(path: Path) -> str:
    """The file's text. Raises ConfigError if it is not there, is not UTF-8, or is far too large for a suite."""
    name = display(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        near = nearest(path.name, [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else [])
        raise ConfigError([Problem(name, "", "there is no such file", near)]) from None
    except OSError as error:
        raise ConfigError([Problem(name, "", f"cannot be read ({error.strerror})")]) from None
    if len(content) > _MOST_BYTES:
        raise ConfigError([Problem(name, "", f"has {len(content):,} bytes", "Put data and long prompts into files of their own")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(f"{name}:{line}", "", "is not UTF-8", "Save the file as UTF-8")]) from None


def parse(text: str, name: str) -> dict[str, Any]:
    """The mapping that the text holds; `name` is the file in error messages.

    Raises ConfigError for bad YAML (with the line), repeated keys (all of them), keys that are no text, and aliases
    that blow up or refer to themselves.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        problems = list(_Walk(name).problems(node, (), 0)) if node is not None else []
        if problems:
            raise ConfigError(problems)
        value = loader.construct_document(node) if node is not None else None
    except yaml.YAMLError as error:
        raise ConfigError([_bad_yaml(error, name)]) from None
    except RecursionError:
        raise ConfigError([Problem(name, "", "is nested too deeply")]) from None
    except (ValueError, KeyError) as error:  # a tag such as !!int before something else
        raise ConfigError([Problem(name, "", f"holds a value that does not fit its tag: {error}", "Leave the tag out")]) from None
    if not isinstance(value, dict):
        found = "is empty" if value is None else f"holds {shown(value)}, expected keys with values"
        raise ConfigError([Problem(name, "", found, "See the examples that `evalh init` writes")])
    return value


def _bad_yaml(error: yaml.YAMLError, name: str) -> Problem:
    mark = getattr(error, "problem_mark", None)
    where = f"{name}:{mark.line + 1}" if mark is not None else name
    reason = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    if "'\\t'" in reason:
        return Problem(where, "", "a tab indents the line", "Indent by spaces")
    if "single document" in reason or "single document" in str(error):
        return Problem(where, "", "a second document begins ('---')", "Keep one document to a file")
    column = f", column {mark.column + 1}" if mark is not None else ""
    return Problem(where, "", f"is not YAML: {reason}{column}", "Check indentation, quotes and brackets there")


class _Walk:
    """Looks at a document's nodes before values are made of them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes = 0

    def problems(self, node: yaml.Node, key: tuple[str | int, ...], depth: int) -> Iterator[Problem]:
        """What is wrong below the node; aliases count as often as they are used."""
        self.nodes += 1
        if self.nodes > _MOST_NODES or depth > _DEEPEST:
            where = f"{self.name}:{node.start_mark.line + 1}"
            raise ConfigError([Problem(where, "", "nesting or aliases make the file far too large", "Write it out without aliases")])
        if isinstance(node, yaml.SequenceNode):
            for i, each in enumerate(node.value):
                yield from self.problems(each, (*key, i), depth + 1)
        elif isinstance(node, yaml.MappingNode):
            yield from self._mapping(node, key, depth)

    def _mapping(self, node: yaml.MappingNode, key: tuple[str | int, ...], depth: int) -> Iterator[Problem]:
        lines: dict[str, int] = {}
        for name, value in node.value:
            line = name.start_mark.line + 1
            if name.tag not in (_TAG + "str", _TAG + "merge"):
                found = name.value if isinstance(name, yaml.ScalarNode) else "..."
                yield Problem(f"{self.name}:{line}", join(key), f"the key {found} is no text", f'Put it in quotes: "{found}"')
                continue
            if name.value in lines:
                found = f"the key is there twice, in lines {lines[name.value]} and {line}"
                yield Problem(self.name, join((*key, name.value)), found, "Keep one")
            lines.setdefault(name.value, line)
            yield from self.problems(value, (*key, name.value), depth + 1)
