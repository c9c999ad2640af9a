"""See `evalharness.buying`."""

import sys

from evalharness import buying
from evalharness.buying import LOOKS_S, Calls, NotThere, pages, whole

__all__ = ["LOOKS_S", "Calls", "NotThere", "pages", "whole"]
sys.modules[__name__] = buying
