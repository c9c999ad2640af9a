"""evalh in processes of their own, started fast: forked from one that has already imported what a run needs.

A fresh interpreter spends half of a short run's CPU time on imports. `test_kill.py` and the tests of the command line start
evalh as a user's shell does.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

NEEDED = (
    "evalharness.cli",
    "evalharness.pipeline",
    "evalharness.report",
    "evalharness.report.html",
    "evalharness.runners.fireworks",
    "evalharness.runners.huggingface",
    "evalharness.runners.openai",
    "evalharness.runners.together",
    "evalharness.runners.vertex",
    "evalharness.store",
    "evalharness.verdict",
    "aiohttp",
    "fireworks",
    "google.genai.types",
    "huggingface_hub.hf_api",
    "openai.resources",
    "pandas",
    "pyarrow",
    "scipy.stats",
    "together.resources",
)
"""What the server imports before it forks; a name that is not there is left out."""
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload([*NEEDED, __name__])


class Evalh:
    """A run of evalh, as `subprocess.Popen` shows one; stdout is dropped, stderr kept.

    argv: what follows `evalh` on the command line. env: the whole environment.
    """

    def __init__(self, argv: Sequence[str], root: Path, env: Mapping[str, str]) -> None:
        with tempfile.NamedTemporaryFile(delete=False) as said:
            self._said = Path(said.name)
        self._process = FORKED.Process(target=_evalh, args=(tuple(argv), str(root), dict(env), str(self._said)))
        self._process.start()

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: signal.Signals) -> None:
        """Nothing if it has ended."""
        if self._process.exitcode is None and self._process.pid is not None:
            os.kill(self._process.pid, number)

    def wait(self, timeout: float) -> int:
        """The exit code; negative: the signal that ended it. Raises TimeoutError, and kills it, after `timeout` seconds."""
        self._process.join(timeout)
        if self.returncode is None:
            self.kill()
            self._process.join(60)
            raise TimeoutError(f"evalh still ran after {timeout} s")
        return self.returncode

    def communicate(self, timeout: float) -> tuple[None, bytes]:
        """(None, all of stderr) once it has ended. Raises TimeoutError, and kills it, after `timeout` seconds."""
        try:
            self.wait(timeout)
            return None, self._said.read_bytes()
        finally:
            self._said.unlink(missing_ok=True)

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode


def _evalh(argv: tuple[str, ...], root: str, env: dict[str, str], said: str) -> None:
    os.chdir(root)
    os.environ.clear()
    os.environ.update(env)
    for number, file in ((1, os.devnull), (2, said)):
        os.dup2(os.open(file, os.O_WRONLY), number)
    sys.argv[0] = "evalh"
    from evalharness.cli import main

    main(argv)
