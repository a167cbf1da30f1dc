"""The viewer's files: every record, each passage once a file, the same bytes, and no markup from outside."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mrsearch.agent.ports import Hit, Passage
from mrsearch.agent.record_files import read_records, write_records
from mrsearch.agent.records import ActionKind, Episode, MetaEpisode, Question, StopReason, Turn
from mrsearch.cli import app
from mrsearch.config import Study, write_study
from mrsearch.reporting.viewer import StudyRecords, write_viewer
from mrsearch.reporting.viewer.records import instructive, packed, shown_record

pytestmark = pytest.mark.slow

MARKUP = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc")
"""Ways to turn text into markup or code."""


@pytest.fixture
def records(small_study: Study, make_records: Callable[..., Path], tmp_path: Path) -> Path:
    return make_records(small_study, tmp_path / "eval", 6)


def load(path: Path) -> Any:
    """What a data file hands to the page."""
    script = path.read_text(encoding="ascii").strip().removesuffix(";").removesuffix(")")
    literal = script.removeprefix("mrsearchChunk(").removeprefix("var mrsearchIndexText = ")
    return json.loads(json.loads(literal))


def test_every_record_is_there(small_study: Study, records: Path, tmp_path: Path):
    write_viewer([StudyRecords(small_study, records)], tmp_path / "viewer")
    index = load(tmp_path / "viewer" / "data" / "index.js")
    expected = 4 * 2 * 2 * 3 * 6
    assert index["total"] == expected
    assert {len(column) for column in index["columns"].values()} == {expected}
    shown = 0
    for number in range(-(-expected // index["chunk"])):
        chunk = load(tmp_path / "viewer" / "data" / f"{number}.js")
        assert chunk["number"] == number
        for record in chunk["records"]:
            pattern = "".join(str(int(episode["em"])) for episode in record["episodes"])
            assert pattern == index["columns"]["pattern"][shown]
            for episode in record["episodes"]:
                assert episode["searches"] == sum(turn["action"] == "search" for turn in episode["turns"])
                assert episode["generated_tokens"] == sum(turn["tokens"] for turn in episode["turns"])
            shown += 1
    assert shown == expected
    assert (tmp_path / "viewer" / "index.html").is_file()


def test_the_search_behind_the_first_prompt_is_counted_as_in_the_tables():
    hit = Hit(Passage("1", "t", "the party began"), 1.0)
    turn = Turn(2, 4, "<answer> art </answer>", ActionKind.answer, "art", aside_tokens=3)
    ids = [0] * 4
    episodes = [Episode([turn], "art", StopReason.answered)]
    record = MetaEpisode(
        Question("1", "q?", ("art",)), ids, [0, 0, 1, 1], ids, [0.0] * 4, 2, episodes, StopReason.answered
    )
    record.prompt_hits = [hit]
    (shown,) = packed(0, [shown_record(record)])["records"]
    assert (shown["episodes"][0]["searches"], shown["episodes"][0]["generated_tokens"]) == (1, 5)
    assert shown["hits"] == [[0, 1.0, 0]], "art is no word of the passage"


def test_the_same_records_give_the_same_bytes(small_study: Study, records: Path, tmp_path: Path):
    for name in ("a", "b"):
        write_viewer([StudyRecords(small_study, records)], tmp_path / name)
    files = {path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert files == {path.relative_to(tmp_path / "b") for path in (tmp_path / "b").rglob("*") if path.is_file()}
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_large_studies_keep_the_same_questions_for_every_method(small_study: Study, records: Path, tmp_path: Path):
    write_viewer([StudyRecords(small_study, records)], tmp_path / "viewer", max_records=100)
    index = load(tmp_path / "viewer" / "data" / "index.js")
    columns = index["columns"]
    assert len(columns["method"]) == 96 < index["total"]
    asked = {
        method: {q for q, m in zip(columns["question"], columns["method"], strict=True) if m == method}
        for method in range(4)
    }
    assert len({frozenset(found) for found in asked.values()}) == 1


def test_files_of_records_are_read_no_further_than_their_first_ones(small_study: Study, records: Path, tmp_path: Path):
    """As evaluations order them; in any other order the same records are shown."""
    path = records / "tiny" / "direct" / "seed0" / "one.greedy.jsonl.zst"
    ordered = sorted(read_records(path), key=lambda record: sha1(record.question.id.encode()).hexdigest())
    shown = []
    for name, order in (("ordered", ordered), ("reversed", ordered[::-1])):
        write_records(path, order)
        if name == "ordered":
            os.truncate(path, path.stat().st_size - 1)
        write_viewer([StudyRecords(small_study, records)], tmp_path / name, max_records=100)
        shown.append([file.read_bytes() for file in sorted((tmp_path / name / "data").iterdir())])
    assert shown[0] == shown[1]
    write_records(path, ordered[1:])
    with pytest.raises(ValueError, match=rf"one.greedy.*holds no record of question '{ordered[0].question.id}', of"):
        write_viewer([StudyRecords(small_study, records)], tmp_path / "viewer", max_records=100)


def test_passages_are_kept_once_and_golds_are_found(small_study: Study, records: Path, tmp_path: Path):
    path = records / "tiny" / "mr_search" / "seed0" / "one.greedy.jsonl.zst"
    changed = list(read_records(path))
    hits = [Hit(Passage("7", "Title", "all is Right."), 0.5), Hit(Passage("8", "Other", "wrong"), 0.25)]
    for record in changed:
        record.episodes[0].turns = [Turn(8, 14, "<search> x </search>", ActionKind.search, "x", "seen", hits)] * 2
        count = len(record.episodes[0].turns)
        record.tags["scores"]["turns"][0] = count
    write_records(path, changed)
    write_viewer([StudyRecords(small_study, records)], tmp_path / "viewer")
    found = 0
    for file in (tmp_path / "viewer" / "data").glob("[0-9]*.js"):
        chunk = load(file)
        assert len({tuple(passage) for passage in chunk["passages"]}) == len(chunk["passages"])
        for record in chunk["records"]:
            for turn in record["episodes"][0]["turns"]:
                if turn["hits"]:
                    assert [chunk["passages"][place][0] for place, _, _ in turn["hits"]] == ["7", "8"]
                    assert [gold for _, _, gold in turn["hits"]] == [1, 0]
                    found += 1
    assert found == 12


def test_nothing_from_outside_can_become_markup(small_study: Study, records: Path, tmp_path: Path):
    path = records / "tiny" / "direct" / "seed0" / "one.greedy.jsonl.zst"
    changed = list(read_records(path))
    hostile = "</script><script>alert(1)</script><!-- \u2028 \u202e & \" ' \\ \x00 ]]>"
    changed[0].episodes[0].answer = hostile
    changed[0].episodes[0].turns[0].text = hostile
    write_records(path, changed)
    write_viewer([StudyRecords(small_study, records)], tmp_path / "viewer")
    texts = []
    for file in (tmp_path / "viewer" / "data").iterdir():
        raw = file.read_bytes()
        assert raw.isascii()
        assert b"<" not in raw
        texts.append(json.dumps(load(file), ensure_ascii=False))
    assert any(json.dumps(hostile, ensure_ascii=False)[1:-1] in text for text in texts)


def test_the_page_never_writes_markup():
    """Strings reach the page through text nodes: none of the ways that parse markup appears in the scripts."""
    import mrsearch.reporting.viewer as viewer

    page = Path(viewer.__file__).parent / "page"
    for script in page.glob("*.js"):
        source = script.read_text(encoding="utf-8")
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "srcdoc",
        ):
            assert way not in source, f"{script.name} uses {way}"
    for file in page.iterdir():
        assert "http://" not in (text := file.read_text(encoding="utf-8"))
        assert "https://" not in text


def test_a_missing_file_is_an_error(small_study: Study, records: Path, tmp_path: Path):
    (records / "tiny" / "direct" / "seed0" / "one.greedy.jsonl.zst").unlink()
    with pytest.raises(ValueError, match="1 of 48 record files are missing"):
        write_viewer([StudyRecords(small_study, records)], tmp_path / "viewer")
    assert not (tmp_path / "viewer").exists()


def test_groups_of_trainings_stand_beside_the_evaluations(
    small_study: Study, records: Path, make_groups: Callable[..., Path], tmp_path: Path
):
    models = make_groups(small_study, tmp_path / "models")
    write_viewer([StudyRecords(small_study, records, models)], tmp_path / "viewer")
    index = load(tmp_path / "viewer" / "data" / "index.js")
    assert index["total"] == 4 * 2 * 2 * 3 * 6 + 2 * 2 * 3
    assert index["decodings"][-2:] == ["training step 0", "training step 4"]
    assert index["benchmarks"][-1] == {"id": "train", "label": "Training questions"}
    assert index["columns"]["member"][-6:] == [0, 1, 2, 0, 1, 2]
    assert index["columns"]["member"][0] is None
    chunks = [load(tmp_path / "viewer" / "data" / f"{n}.js") for n in range(-(-index["total"] // index["chunk"]))]
    shown = [record for chunk in chunks for record in chunk["records"]]
    assert all(record["group"] is None for record in shown[:-12])
    for first in (-12, -9, -6, -3):
        group = shown[first]["group"]
        sums = [sum(rewards) for rewards in group["rewards"]]
        by_hand = [own - (sum(sums) - own) / 2 for own in sums]
        assert [values[0] for values in group["advantages"]] == pytest.approx(by_hand, abs=1e-5)
        assert [episode["em"] for episode in shown[first]["episodes"]] == group["rewards"][0]


def test_a_group_that_a_critic_trained_has_rewards_and_no_advantages(small_study: Study, make_groups, tmp_path: Path):
    from mrsearch.agent.record_files import read_records
    from mrsearch.reporting.viewer.records import packed, shown_record

    folder = make_groups(small_study, tmp_path)
    (record, *_) = read_records(folder / "tiny" / "mr_search" / f"seed{small_study.seeds[0]}" / "groups.jsonl.zst")
    del record.tags["advantages"]
    (shown,) = packed(0, [shown_record(record)])["records"]
    assert shown["group"].keys() == {"member", "rewards"}


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([[0.0, 1.0], [0.0, 0.0]], True),
        ([[0.0, 1.0], [0.0, 1.0]], False),
        ([[1.0, 0.0], [1.0]], False),
        ([[1.0], [1.0, 0.0], [1.0, 0.5]], True),
    ],
)
def test_a_group_teaches_where_rewards_of_the_same_episode_differ(rewards: list[list[float]], expected: bool):
    record = MetaEpisode(Question("1", "q?", ("a",)), [], [], [], [], 0, [], StopReason.answered)
    record.tags = {"member": 0, "rewards": rewards}
    assert instructive(record) is expected
    del record.tags["member"]
    assert not instructive(record)


def test_the_page_knows_what_each_agent_was_told(small_study: Study, records: Path, tmp_path: Path):
    write_viewer([StudyRecords(small_study, records)], tmp_path / "viewer")
    (prompts,) = load(tmp_path / "viewer" / "data" / "index.js")["prompts"]
    texts = small_study.protocol.prompts
    assert prompts["direct"]["first"] == texts.direct and prompts["mr_search"]["first"] == texts.search
    assert (prompts["mr_search"]["reflection"], prompts["mr_search"]["system"]) == (texts.reflection, None)
    assert prompts["direct"]["templated"]


def test_em_from_an_episode_on(small_study: Study, records: Path, tmp_path: Path):
    """What an advantage compares within a group; of one episode, or of samples side by side, there is none."""
    write_viewer([StudyRecords(small_study, records)], tmp_path / "viewer")
    for record in load(tmp_path / "viewer" / "data" / "0.js")["records"]:
        em = [episode["em"] for episode in record["episodes"]]
        expected = [sum(em[n:]) for n in range(len(em))] if len(em) > 1 else [None]
        assert [episode["return"] for episode in record["episodes"]] == expected


def test_the_command(small_study: Study, records: Path, tmp_path: Path):
    write_study(small_study, tmp_path / "study.json")
    chosen = ["--study", str(tmp_path / "study.json"), "--records", str(records)]
    done = CliRunner().invoke(app, ["report", "viewer", *chosen, "--out", str(tmp_path / "viewer")])
    assert done.exit_code == 0, done.output
    assert load(tmp_path / "viewer" / "data" / "index.js")["studies"] == ["small"]
    done = CliRunner().invoke(app, ["report", "viewer", *chosen, "--records", "x", "--out", str(tmp_path / "other")])
    assert "1 --study, 2 --records" in str(done.exception)
