"""A retriever whose kind an installed package adds."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from mrsearch.config.base import Model, Name
from mrsearch.config.installed import completed
from mrsearch.extensions import RETRIEVERS


class InstalledRetriever(Model):
    """A retriever whose kind an installed package adds."""

    kind: Name
    """The name that the package gives it."""
    of: tuple[Name, ...] = ()
    """Other retrievers of the study that it searches, by their names."""
    settings: dict[str, Any] = {}
    """Its settings, by the package's own model."""
    package: str | None = None
    """Name and version of the package; written down when a study is started, and in its digests."""

    @property
    def members(self) -> tuple[str, ...]:
        """The retrievers that it searches."""
        return self.of

    @property
    def indexed(self) -> bool:
        """Whether it has an index of its own."""
        return bool(getattr(RETRIEVERS.load(self.kind), "indexed", False))

    @model_validator(mode="before")
    @classmethod
    def _is_installed(cls, raw: Any) -> Any:
        return completed(raw, RETRIEVERS, "kind", "settings", "package")
