"""Google's APIs as a runner and a model reach them: address, project, location and credentials, from options or the environment.

    Vertex AI    GOOGLE_VERTEX_BASE_URL, GOOGLE_CLOUD_PROJECT, GOOGLE_CLOUD_LOCATION; an access token in
                 GOOGLE_OAUTH_ACCESS_TOKEN, else application default credentials (GOOGLE_APPLICATION_CREDENTIALS names a
                 service account's file; or `gcloud auth application-default login`; or the machine's own account)
    storage      STORAGE_EMULATOR_HOST; the same credentials

A server on this machine (a test's, a gateway's) is asked anonymously unless a token or a file is named.

>>> address("europe-west4")
'https://europe-west4-aiplatform.googleapis.com'
"""

from __future__ import annotations

import ipaddress
import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from evalharness.errors import ConfigError, MissingExtra, Problem

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

TOKEN_ENV = "GOOGLE_OAUTH_ACCESS_TOKEN"
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_VERSION = re.compile(r"/(v\d\w*)$")
_SEVERAL_REGIONS = frozenset({"us", "eu"})
ANONYMOUS = "anonymous"
"""The token that a server on this machine is sent where there is none: Vertex AI's protocol wants one."""


def address(location: str, own: str | None = None) -> str:
    """Vertex AI's base URL, without a slash at its end: `own`, else GOOGLE_VERTEX_BASE_URL, else the location's."""
    if chosen := own or os.environ.get("GOOGLE_VERTEX_BASE_URL"):
        return chosen.rstrip("/")
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in _SEVERAL_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


def versioned(url: str, default: str = "v1beta1") -> tuple[str, str]:
    """A base URL without its version, and the version: the URL's own, else GOOGLE_GENAI_API_VERSION, else the default.

    >>> versioned("http://127.0.0.1:8080/v1")
    ('http://127.0.0.1:8080', 'v1')
    """
    if found := _VERSION.search(url):
        return url[: found.start()], found[1]
    asked = os.environ.get("GOOGLE_GENAI_API_VERSION", "")
    return url, default if asked in ("", "beta") else asked


def storage_address(own: str | None = None) -> str | None:
    """Cloud Storage's base URL: `own`, else STORAGE_EMULATOR_HOST (with or without http://), else None for Google's."""
    chosen = own or os.environ.get("STORAGE_EMULATOR_HOST")
    if not chosen:
        return None
    return chosen.rstrip("/") if "://" in chosen else f"http://{chosen.rstrip('/')}"


def location(own: str | None, default: str) -> str:
    """`own`, else GOOGLE_CLOUD_LOCATION, else the default."""
    return own or os.environ.get("GOOGLE_CLOUD_LOCATION") or default


def project(own: str | None, needed_by: str) -> str:
    """`own`, else GOOGLE_CLOUD_PROJECT. Raises ConfigError if neither is set."""
    found = own or os.environ.get("GOOGLE_CLOUD_PROJECT", "").strip()
    if not found:
        raise ConfigError([Problem("", "project", f"{needed_by} needs a Google Cloud project", "Set GOOGLE_CLOUD_PROJECT, or project")])
    return found


def is_here(url: str | None) -> bool:
    """The URL's host is this machine."""
    host = urlsplit(url or "").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def token(variable: str | None = None) -> str:
    """The access token in the environment; empty if there is none. Raises ConfigError if it can be none."""
    name = variable or TOKEN_ENV
    found = os.environ.get(name, "").strip()
    if not (found.isascii() and found.isprintable()):
        raise ConfigError([Problem("", name, "holds characters that no token has", "Set it again, without quotes or line breaks")])
    return found


def credentials(variable: str | None, needed_by: str, *, anonymous: bool) -> Credentials:
    """What signs requests: a token, else (unless `anonymous` will do) the application default. Raises ConfigError, MissingExtra."""
    try:
        import google.auth
        import google.auth.exceptions
        from google.oauth2.credentials import Credentials as Fixed
    except ModuleNotFoundError as error:
        raise MissingExtra("google-auth", "vertex", needed_by) from error
    found = token(variable) or (ANONYMOUS if anonymous and not os.environ.get("GOOGLE_APPLICATION_CREDENTIALS") else "")
    if found:
        fixed: Credentials = Fixed(found)  # type: ignore[no-untyped-call]
        return fixed
    try:
        default: Credentials = google.auth.default(scopes=_SCOPES)[0]
    except (google.auth.exceptions.GoogleAuthError, OSError, ValueError) as error:
        fix = f"Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS or {variable or TOKEN_ENV}"
        raise ConfigError([Problem("", "", f"{needed_by} has no Google credentials: {_line(error)}", fix)]) from None
    return default


def nobody(signed: Credentials) -> Credentials:
    """The credentials, or ones that sign nothing if they are nobody's: Cloud Storage's protocol wants no token."""
    from google.auth.credentials import AnonymousCredentials

    if signed.token != ANONYMOUS:
        return signed
    unsigned: Credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    return unsigned


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(". ")
