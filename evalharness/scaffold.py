"""`evalh init`: a workspace with the packaged suites and trainers, schemas for editors, and a place for results.

>>> init(Path("my-evals"))                                                          # doctest: +SKIP
[PosixPath('my-evals/.gitignore'), PosixPath('my-evals/results/README.md'), ...]
"""

from __future__ import annotations

import json
from pathlib import Path

from evalharness.data.paths import display
from evalharness.errors import ConfigError, Problem
from evalharness.reading import json_schemas

PARTS = {"suites": "suite", "trainers": "trainer"}
"""Folder -> the schema of its YAML files."""
_IGNORE = "results/*\n!results/README.md\n"
_RESULTS = """# Results

`evalh.duckdb` holds every run: outputs, scores, trainings and verdicts. Adapters lie under `trainings/`.
Nothing here belongs in git. `evalh report` prints it, `evalh sql` asks it anything.
"""


def packaged(part: str) -> Path:
    """The folder of the suites or trainers that evalh ships: in the installed package, or in the source tree.

    Raises ConfigError if an installation has lost it.
    """
    here = Path(__file__).parent
    for folder in (here / "workspace" / part, here.parent / part):
        if folder.is_dir():
            return folder
    raise ConfigError(f"the installed package has no {part}. Install evalh again")


def init(folder: Path) -> list[Path]:
    """Writes a workspace into the folder (made if need be) and gives the files in order.

    Raises ConfigError, having written nothing, if any of the files is there already or the folder cannot be written.
    """
    contents = _contents()
    there = [folder / name for name in contents if (folder / name).exists() or (folder / name).is_symlink()]
    if there:
        fix = "Nothing was written. Choose another folder, or move it away"
        raise ConfigError([Problem(display(path), "", "is there already", fix) for path in there])
    written: list[Path] = []
    try:
        for name, content in contents.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("xb") as file:
                written.append(folder / name)
                file.write(content)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        found = f"cannot be written ({error.strerror})"
        raise ConfigError([Problem(display(Path(error.filename or folder)), "", found, "Choose a folder that you may write to")]) from None
    return written


def _contents() -> dict[str, bytes]:
    """Path -> content of everything that a workspace begins with."""
    found = {".gitignore": _IGNORE.encode(), "results/README.md": _RESULTS.encode()}
    for name, schema in json_schemas().items():
        found[f"schemas/{name}.schema.json"] = (json.dumps(schema, indent=2) + "\n").encode()
    for part, schema_name in PARTS.items():
        folder = packaged(part)
        for path in sorted(each for each in folder.rglob("*") if each.is_file() and "__pycache__" not in each.parts):
            name = path.relative_to(folder).as_posix()
            content = path.read_bytes()
            if "/" not in name and name.endswith(".yaml"):
                content = f"# yaml-language-server: $schema=../schemas/{schema_name}.schema.json\n".encode() + content
            found[f"{part}/{name}"] = content
    return found
