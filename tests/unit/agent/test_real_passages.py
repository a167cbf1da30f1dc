"""Titles and texts of the real corpus pass through whole, from its file to what the policy reads."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import orjson
import pytest

from mrsearch.agent.formats import joined_passages
from mrsearch.agent.ports import Hit
from mrsearch.config.protocol import Protocol
from mrsearch.data.corpus import format_contents, read_corpus
from mrsearch.exchange import Reply
from mrsearch.retrieval.indexes.passages import PassageStore, build_store
from mrsearch.retrieval.service.wire import read_answer

KINDS = {
    "quoted": lambda title, text: title.startswith('"'),
    "bare, wrapped around an article's end": lambda title, text: not title.startswith('"'),
    "quotes in the title": lambda title, text: '"' in title[1:-1],
    "doubled quotes in the text": lambda title, text: '""' in text,
    "an entity of HTML": lambda title, text: "&amp;" in text,
    "not ASCII": lambda title, text: not (title + text).isascii(),
}
EACH = 40


@pytest.fixture(scope="module")
def rows(real_data: Path) -> dict[str, list[dict[str, str]]]:
    """Rows of the corpus file by what is particular about them."""
    found: dict[str, list[dict[str, str]]] = {kind: [] for kind in KINDS}
    with gzip.open(real_data / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            title, _, text = row["contents"].partition("\n")
            for kind, holds in KINDS.items():
                if len(found[kind]) < EACH and holds(title, text):
                    found[kind].append(row)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_title_and_text_reach_the_policy_as_they_lie_in_the_file(rows, tmp_path, kind):
    unique = {row["id"]: row for row in rows[kind]}
    assert unique
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in unique.values()))
    build_store(read_corpus(tmp_path / "corpus.jsonl"), tmp_path / "store")
    store = PassageStore(tmp_path / "store")
    sent = [
        {"document": {"id": passage.id, "contents": format_contents(passage.title, passage.text)}, "score": 1.0}
        for passage in (store[position] for position in range(len(store)))
    ]
    (hits,) = read_answer(Reply(200, {}, orjson.dumps({"result": [sent]})), "http://server", 1, len(sent))
    for hit, row in zip(hits, unique.values(), strict=True):
        title, _, text = row["contents"].partition("\n")
        assert (hit.passage.id, hit.passage.title, hit.passage.text) == (row["id"], title, text)
        assert shown(hit, "kept") == f"Doc 1(Title: {title}) {text}"
        bare = title[1:-1] if title.startswith('"') else title
        assert shown(hit, "removed") == f"Doc 1(Title: {bare}) {text}"


def shown(hit: Hit, title_quotes: str) -> str:
    """The passage under Search-R1's format, with the quotes of its title or without."""
    return joined_passages(Protocol(preset="search_r1", title_quotes=title_quotes), [hit])
