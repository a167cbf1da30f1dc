"""Retrievers without an index of their own: over another one, on a server of somebody else's, or for control."""

from __future__ import annotations

from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import field_validator, model_validator

from mrsearch.config.base import Model, Name, PositiveInt, Seed, Share, check_commit, check_repository


class RerankedRetriever(Model):
    """A cross-encoder's order of what another retriever of the study finds."""

    indexed: ClassVar[bool] = False
    kind: Literal["reranked"] = "reranked"
    """Marks this retriever."""
    of: Name
    """The retriever whose passages are ordered anew, by its name."""
    path: str
    """The cross-encoder, as sentence-transformers reads it: a folder, or with `revision` a repository of the hub. It
    gives one score to a query and a passage; code of its own is never run."""
    revision: str | None = None
    """Pinned commit of a repository; null reads a folder."""
    depth: PositiveInt = 50
    """Passages that are scored for each query; never fewer than are asked for."""
    max_tokens: PositiveInt = 512
    """Longer pairs of query and passage are cut."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the cross-encoder."""
    batch_size: PositiveInt = 64
    """Pairs in one forward pass. Each query's pairs are passes of their own, so that a score depends on its query and
    `depth` alone and not on who else searches."""

    @property
    def members(self) -> tuple[str, ...]:
        """The retrievers that it searches."""
        return (self.of,)

    @model_validator(mode="after")
    def _repositories_are_pinned(self) -> RerankedRetriever:
        if self.revision is not None:
            check_repository(self.path)
            check_commit(self.revision)
        return self


class RemoteRetriever(Model):
    """A server that speaks Search-R1's `/retrieve`, which somebody else starts. Its corpus is its own."""

    indexed: ClassVar[bool] = False
    kind: Literal["remote"] = "remote"
    """Marks this retriever."""
    url: str
    """Address of the server, without `/retrieve`. Example: http://search.example:8000."""
    token_file: str | None = None
    """File that holds the bearer token which every request carries, and nothing else; only its owner may read it. The
    study names the file, so that no record holds the token."""

    @property
    def members(self) -> tuple[str, ...]:
        """It searches no other retriever."""
        return ()

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        try:
            address = urlsplit(url)
            usable = address.scheme in ("http", "https") and address.hostname and (address.port or 1)
        except ValueError:
            usable = False
        if not usable or not url.isprintable() or " " in url:
            raise ValueError(f"{url[:200]!r} is not the address of a server: http://<host>:<port>")
        if address.username is not None or address.password is not None:
            raise ValueError("the address holds a user or a password, which records would show: use token_file")
        if address.query or address.fragment or address.path.rstrip("/").endswith("/retrieve"):
            raise ValueError(f"{url[:200]!r} goes on after the server's address: leave out /retrieve, ? and #")
        return url.rstrip("/")


class RandomRetriever(Model):
    """Passages drawn at random, by seed and query: a floor for what searching is worth."""

    indexed: ClassVar[bool] = False
    kind: Literal["random"] = "random"
    """Marks this retriever."""
    seed: Seed = 0
    """Decides, with the query, what is drawn; the same query gets the same passages."""

    @property
    def members(self) -> tuple[str, ...]:
        """It searches no other retriever."""
        return ()


class EmptyRetriever(Model):
    """A search engine that finds nothing: what an agent does without evidence."""

    indexed: ClassVar[bool] = False
    kind: Literal["empty"] = "empty"
    """Marks this retriever."""

    @property
    def members(self) -> tuple[str, ...]:
        """It searches no other retriever."""
        return ()


class WithheldRetriever(Model):
    """Another retriever of the study, for which some passages do not exist."""

    indexed: ClassVar[bool] = False
    kind: Literal["withheld"] = "withheld"
    """Marks this retriever."""
    of: Name
    """The retriever whose passages are withheld, by its name."""
    title_word: str
    """Passages with this word in their title are withheld. Example: rumour, the synthetic world's distractors."""
    share: Share = 1.0
    """Share of them that is; those of a smaller share are among those of a larger one."""
    seed: Seed = 0
    """Decides, with a passage's id, whether it is one of the share."""

    @property
    def members(self) -> tuple[str, ...]:
        """The retrievers that it searches."""
        return (self.of,)


class NoisyRetriever(Model):
    """Another retriever of the study, some of whose searches bring random passages instead."""

    indexed: ClassVar[bool] = False
    kind: Literal["noisy"] = "noisy"
    """Marks this retriever."""
    of: Name
    """The retriever that the other searches reach, by its name."""
    share: Share
    """Share of queries whose passages are replaced, all of them, by as many random ones. Those of a smaller share are
    among those of a larger one."""
    seed: Seed = 0
    """Decides, with the query, whether and by what passages are replaced: always the same for the same query."""

    @property
    def members(self) -> tuple[str, ...]:
        """The retrievers that it searches."""
        return (self.of,)
