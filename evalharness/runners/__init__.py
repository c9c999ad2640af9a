"""Runners: each trains models in one place, behind the same protocol (see evalharness.protocols.Runner)."""
