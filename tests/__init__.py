"""Tests mirror the floors of the package."""

import os

# Threads that wait for each other sleep instead of spin: on a busy machine spinning makes torch hundreds of times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
