"""A tuned model's adapter, downloaded and verified: adapter_config.json and adapter_model.safetensors, and nothing else.

>>> download(service, "ft-1", Path("results/adapters/ft-1"))                                          # doctest: +SKIP
PosixPath('results/adapters/ft-1')
"""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from evalharness.errors import ProviderError
from evalharness.runners.together.service import Service

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MOST_BYTES = 20 * 2**30
"""More than any adapter has: a small archive may unpack to anything."""
_HEADER_BYTES = 100 * 2**20
"""The longest header that safetensors files may have."""


def download(service: Service, job: str, folder: Path, step: int | None = None) -> Path:
    """The folder with the job's adapter, or with a checkpoint's, fetched if it is not there yet.

    Raises ProviderError if it is not a whole LoRA adapter.
    """
    if not (folder / WEIGHTS).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as parts:
            archive, fresh = Path(parts) / "archive", Path(parts) / "adapter"
            service.calls.read(lambda: _fetch(service, job, archive, step))
            fresh.mkdir()
            _unpack(archive, fresh)
            verify(fresh)
            shutil.rmtree(folder, ignore_errors=True)
            fresh.replace(folder)
    verify(folder)
    return folder


def _fetch(service: Service, job: str, to: Path, step: int | None) -> None:
    from together import omit

    stream = service.patient.fine_tuning.with_streaming_response
    with stream.content(ft_id=job, checkpoint="adapter", checkpoint_step=omit if step is None else step) as response:
        response.stream_to_file(to)


def verify(folder: Path) -> None:
    """Raises ProviderError unless the folder holds a plain LoRA configuration and weights as long as their header says."""
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        if config["peft_type"] != "LORA":
            raise ProviderError(f"the adapter's {CONFIG} says peft_type {config['peft_type']!r}; only LORA can be used")
        size = (folder / WEIGHTS).stat().st_size
        with (folder / WEIGHTS).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= min(size, _HEADER_BYTES):
                raise ValueError("its header has no length")
            tensors = {name: one for name, one in json.loads(file.read(length)).items() if name != "__metadata__"}
        end = max(one["data_offsets"][1] for one in tensors.values())
        if 8 + length + end != size:
            raise ValueError(f"it has {size:,} bytes, and its header speaks of {8 + length + end:,}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProviderError(f"the downloaded adapter is not whole: {error}") from None


def base_of(folder: Path) -> str:
    """The base model that the adapter names; empty if it names none."""
    return str(json.loads((folder / CONFIG).read_text("utf-8")).get("base_model_name_or_path") or "")


def _unpack(archive: Path, to: Path) -> None:
    """Write the two files out of a zip, tar, tar.gz or tar.zst, by their bare names: no path in the archive is followed."""
    left = MOST_BYTES
    try:
        for name, content in _members(archive):
            if name in (CONFIG, WEIGHTS) and not (to / name).exists():
                with (to / name).open("wb") as file:
                    while block := content.read(min(left + 1, 2**20)):
                        left -= file.write(block)
                        if left < 0:
                            raise ProviderError(f"the adapter unpacks to more than {MOST_BYTES:,} bytes")
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError) as error:
        raise ProviderError(f"the downloaded adapter cannot be unpacked: {error}") from None
    missing = [name for name in (CONFIG, WEIGHTS) if not (to / name).exists()]
    if missing:
        raise ProviderError(f"the downloaded adapter has no {' and no '.join(missing)}; only safetensors are read")


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                if not entry.is_dir():
                    with packed.open(entry) as content:
                        yield PurePosixPath(entry.filename).name, content
        return
    with _tar(archive) as unpacked:
        for member in unpacked:
            plain = unpacked.extractfile(member) if member.isreg() else None
            if plain is not None:
                yield PurePosixPath(member.name).name, plain


@contextmanager
def _tar(archive: Path) -> Iterator[tarfile.TarFile]:
    with archive.open("rb") as file:
        start = file.read(4)
    if start == b"\x28\xb5\x2f\xfd":  # Zstandard, which tarfile does not read before Python 3.14
        import pyarrow

        source: Any = pyarrow.input_stream(str(archive), compression="zstd")
        with source, tarfile.open(fileobj=source, mode="r|") as found:
            yield found
    else:
        with tarfile.open(archive, mode="r:*") as found:
            yield found
