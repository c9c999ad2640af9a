"""Where a base model is and what identifies it: the embedded one, a folder, or a hub id. Never loads it.

>>> identity("embedded").keys()                                                     # doctest: +SKIP
dict_keys(['weights', 'template'])
"""

from __future__ import annotations

import importlib.util
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from evalharness.errors import ConfigError, MissingExtra, Problem
from evalharness.ids import digest, file_digest

TEMPLATE = "chat_template.jinja"
_ELSEWHERE = ("chat_template.json", "additional_chat_templates")
"""Where a folder may keep templates that only its tokenizer can read."""


def require(*packages: str, needed_by: str) -> None:
    """Raises MissingExtra for the first package of the extra `local` that is not installed. Imports none of them."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, "local", needed_by)


def require_four_bit() -> None:
    """Raises MissingExtra if weights cannot be loaded in 4 bits here for want of a package."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtra("bitsandbytes", "qlora", "load_in_4bit")


def resolve(base: str, root: Path | None = None) -> str:
    """The folder of "embedded" or of an existing folder (below `root`, else the current one); a hub id unchanged."""
    if base == "embedded":
        from evalharness import embedded

        return str(embedded.path())
    for folder in ((root or Path()) / base, Path(base).expanduser()):
        if folder.is_dir():
            return str(folder.resolve())
    return base


def identity(base: str, revision: str | None = None) -> dict[str, str]:
    """What decides the base's answers, without loading it or importing torch.

    A folder: {"weights", "template"} hashes of its contents, wherever it lies. A hub id: {"base", "revision"} with
    the commit that is cached, or, not cached, that the hub says it would give (the wanted name if it cannot be
    reached); a commit fixes the template, too.
    """
    name = resolve(base)
    if Path(name).is_dir():
        return {"weights": _weights_digest(Path(name)), **_template_entry(Path(name))}
    snapshot = _snapshot(name, revision)
    if snapshot is not None:
        return {"base": name, "revision": snapshot.name}
    try:
        return {"base": name, "revision": _ask_hub(name, revision)}
    except ConfigError:
        return {"base": name, "revision": revision or "main"}


def ends(base: str) -> dict[str, str]:
    """{"ends"}: hash of the tokens that a folder's settings say end an answer; nothing for a hub id, whose commit fixes them."""
    folder = Path(resolve(base))
    if not folder.is_dir():
        return {}
    named = (("generation_config.json", "eos_token_id"), ("tokenizer_config.json", "eos_token"))
    return {"ends": digest([_setting(folder / file, key) for file, key in named])}


def check(name: str, revision: str | None = None) -> str:
    """The revision to load: a cached commit before the network, so that what `identity` said is what is loaded.

    Raises ConfigError for a folder without a model, or a hub id that is neither cached nor to be had.
    """
    folder = Path(name)
    if not folder.is_dir():
        snapshot = _snapshot(name, revision)
        if snapshot is not None:
            return snapshot.name
        _ask_hub(name, revision)
        return revision or "main"  # loaded by this name, the cache remembers which commit it was
    if not (folder / "config.json").is_file():
        raise bad(name, "has no config.json", "Give the folder of a saved transformers model")
    if not list(folder.glob("*.safetensors")):
        raise bad(name, "has no *.safetensors weights", "Save the model with safetensors; pickled weights are not read")
    if not _template_entry(folder) and not any((folder / other).exists() for other in _ELSEWHERE):
        raise mute(name)
    return "main"


def mute(base: str) -> ConfigError:
    """The error about a base that no chat can be written for."""
    return bad(base, "has no chat template", f"Use a chat model, or put a {TEMPLATE} beside its tokenizer")


def bad(base: str, found: str, fix: str) -> ConfigError:
    """An error about the trainer's or model's `base`."""
    return ConfigError([Problem("", "base", f"{base!r} {found}", fix)])


def _weights_digest(folder: Path) -> str:
    files = [folder / "config.json", *sorted(folder.glob("*.safetensors")), folder / "tokenizer.json"]
    found = tuple(path for path in files if path.is_file())
    return _files_digest(found, tuple((path.stat().st_mtime_ns, path.stat().st_size) for path in found))


@lru_cache(maxsize=32)
def _files_digest(files: tuple[Path, ...], _state: tuple[tuple[int, int], ...]) -> str:
    return file_digest(*files)


def _template_entry(folder: Path) -> dict[str, str]:
    if (folder / TEMPLATE).is_file():
        return {"template": digest((folder / TEMPLATE).read_text("utf-8"))}
    template = _setting(folder / "tokenizer_config.json", "chat_template")
    if isinstance(template, list):  # several named templates, as older tokenizers kept them
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    return {"template": digest(template)} if template else {}


def _setting(file: Path, key: str) -> Any:
    return json.loads(file.read_text("utf-8")).get(key) if file.is_file() else None


def _snapshot(name: str, revision: str | None) -> Path | None:
    """The folder of the hub model in the local cache, named after its commit."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError:
        return None
    return Path(config).parent if isinstance(config, str) else None


def _ask_hub(name: str, revision: str | None) -> str:
    """The commit that the hub would give, by one short request: the loader alone retries an unreachable hub for 46 s."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise MissingExtra("huggingface_hub", "local", f"the base {name!r}")
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RemoteEntryNotFoundError, RepositoryNotFoundError

    try:
        return get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision), timeout=10).commit_hash or revision or "main"
    except HFValidationError as error:
        raise bad(name, "is neither a folder nor a hub id", "Give an existing folder, owner/name, or embedded") from error
    except GatedRepoError as error:
        raise bad(name, "is gated on the hub", "Accept its terms there and set HF_TOKEN") from error
    except (RepositoryNotFoundError, RemoteEntryNotFoundError) as error:
        raise bad(name, "is not on the hub (or is private)", "Check the name; set HF_TOKEN for a private model") from error
    except Exception as error:  # whichever HTTP library the hub client uses, its errors all mean the same here
        raise bad(name, "is no folder here, and the hub cannot be reached", "Give a folder with the model, or go online once") from error
