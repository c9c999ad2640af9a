"""Metrics whose name the suite may choose, so that one plug-in can be used twice: `contains: {text: sorry, name: says_sorry}`.

>>> NamedOptions(name="polite").model_dump()
{}
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from evalharness import protocols
from evalharness.metrics import PerSample


class NamedOptions(protocols.Options):
    """Options with a name, which decides no number and so is left out of the metric's identity."""

    name: str | None = Field(default=None, pattern=r"^\w[\w.+-]{0,79}$", exclude=True)
    """What the suite calls this metric, where it uses the same one twice."""


class Named(PerSample):
    """A metric with `plugin`, the name it is registered by, which is also its name where the suite gives none."""

    Options: ClassVar[type[protocols.Options]] = NamedOptions
    plugin: ClassVar[str]

    name = ""

    def __init__(self, options: protocols.Options | None = None) -> None:
        super().__init__(options)
        self.name = getattr(self.options, "name", None) or self.plugin

    def identity(self) -> dict[str, object]:
        """The name it is registered by, version and options."""
        return {"name": self.plugin, "version": self.version, "options": self.options.model_dump(mode="json")}
