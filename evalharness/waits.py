"""How long a service asks to wait, by what its answers' headers say.

>>> retry_after({"Retry-After": "7"})
7.0
>>> span("6m0s")
360.0
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def span(text: str) -> float | None:
    """Seconds of "1.5", "20ms", "1s" or "6m0s"; None if it is none of these."""
    text = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = _SPAN.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that retry-after-ms or Retry-After (seconds or an HTTP date) ask to wait; None if neither does."""
    found = {name.lower(): value for name, value in headers.items()}
    milliseconds = span(found.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    asked = found.get("retry-after", "")
    seconds = span(asked)
    if seconds is not None:
        return seconds
    date = email.utils.parsedate_tz(asked) if asked else None
    return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None


def retry_info(body: object) -> float | None:
    """Seconds that an error's details ask to wait (google.rpc.RetryInfo): in its JSON body, or alone; None if they do not.

    >>> retry_info({"error": {"details": [{"retryDelay": "1.5s"}]}})
    1.5
    """
    if isinstance(body, dict):
        inner = body.get("error")
        return retry_info(inner.get("details") if isinstance(inner, dict) else body.get("details"))
    details = [one for one in body if isinstance(one, dict)] if isinstance(body, list | tuple) else []
    return next((wait for one in details if (wait := span(str(one.get("retryDelay", "")))) is not None), None)
