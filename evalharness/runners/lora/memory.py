"""The most memory that this process ever held.

>>> peak_mib() > 0
True
"""

from __future__ import annotations

import platform
import resource
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_mib() -> int:
    """Peak resident memory of this process in MiB.

    Linux' getrusage hands the peak of the process that started this one on; its VmHWM begins with the program.
    """
    if _STATUS.is_file():
        found = [line.split() for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        if found:
            return int(found[0][1]) // 2**10
    unit = 2**20 if platform.system() == "Darwin" else 2**10  # getrusage counts bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit
