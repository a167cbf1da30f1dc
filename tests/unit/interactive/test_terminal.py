"""What stands in the terminal: every step told apart, and nothing that steers it; `mrsearch inspect`."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.commands import mrsearch
from unit.agent.conftest import CannedEngine, Stage, tokenizer_named

from mrsearch.agent.record_files import write_records
from mrsearch.agent.records import MetaEpisode, Question
from mrsearch.config import Study
from mrsearch.config.layout import GROUPS_FILE, RUN_FILE, record_file, seed_folder
from mrsearch.config.protocol import Protocol
from mrsearch.interactive.as_data import as_line, final_answer
from mrsearch.interactive.terminal import SHOWN, TerminalView

SEARCH = "<think> what prize </think> <search> prize of Gadurin </search>"
ANSWER, OTHER = "<answer> Bla </answer>", "<answer> Köln </answer>"
HOSTILE = "\x1b]0;title\x07\x1b[2J\u202e\x9b31m[red]bold[/red]"


def shown(record: MetaEpisode, protocol: Protocol, seconds: float | None = None, **settings: Any) -> str:
    """What a terminal of 100 columns gets, colours included."""
    console = Console(width=100, force_terminal=True, markup=False, highlight=False, emoji=False)
    with console.capture() as capture:
        view = TerminalView(console, protocol, **settings)
        view.begin(record.question)
        view.end(record, final_answer(record, protocol), seconds)
    return capture.get()


def plain(text: str) -> str:
    """Without colours, in single spaces."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())


@pytest.fixture
def stage() -> Stage:
    return Stage("bpe", tokenizer_named("bpe"))


def test_every_step_stands_behind_its_name(stage: Stage) -> None:
    record = stage.play(stage.policy([SEARCH, ANSWER, OTHER]), episodes=2, max_turns=2)
    assert plain(shown(record, stage.protocol, seconds=2.04)) == (
        "question what is the prize of Gadurin ? gold Bla "
        "episode 1 reasoning what prize search prize of Gadurin "
        "passages 1 Gadurin (0.5, holds a gold answer): Gadurin won Bla answer Bla (right) "
        "reflection reflect and search again episode 2 answer Köln (wrong) "
        f"result Köln (wrong) cost 2 episodes, 3 turns, 1 search, {sum(record.loss_mask)} tokens generated of "
        f"{len(record.token_ids)}, 2.0 s"
    )


def test_kinds_of_steps_look_different(stage: Stage) -> None:
    text = shown(stage.play(stage.policy([SEARCH, ANSWER, OTHER]), episodes=2, max_turns=2), stage.protocol)
    styles = {
        name: match[1]
        for name in ("reasoning", "search", "passages", "answer", "reflection")
        if (match := re.search(rf"(\x1b\[[0-9;]*m){name}", text))
    }
    assert len(set(styles.values())) == 5


def test_a_live_view_shows_each_step_once(stage: Stage) -> None:
    out = io.StringIO()
    view = TerminalView(Console(file=out, width=100, markup=False, highlight=False, emoji=False), stage.protocol)
    lengths: list[int] = []

    def watch(meta: MetaEpisode) -> None:
        view.update(meta)
        lengths.append(len(out.getvalue()))

    view.begin(stage.question)
    record = stage.play(stage.policy([SEARCH, ANSWER, OTHER]), watch=watch, episodes=2, max_turns=2)
    view.end(record, final_answer(record, stage.protocol))
    assert plain(out.getvalue()) == plain(shown(record, stage.protocol))
    assert len(set(lengths)) > 3, "it was shown while it was made"


def test_texts_from_outside_steer_nothing(stage: Stage) -> None:
    stage.question = Question(HOSTILE, f"what {HOSTILE}", (HOSTILE,))
    stage.engine = CannedEngine(HOSTILE, HOSTILE)
    lines = [
        f"<search> {HOSTILE} </search>",
        f"<think> {HOSTILE} </think> <answer> {HOSTILE} </answer>",
        HOSTILE,
        HOSTILE,
    ]
    record = stage.play(stage.policy(lines), episodes=2, max_turns=2)
    record.tags = {"study": HOSTILE}
    for text in (shown(record, stage.protocol), as_line(record, stage.protocol)):
        left = re.sub(r"\x1b\[[0-9;]*m", "", text)
        assert not set("\x1b\x07\x9b\u202e") & set(left)
        assert "[red]bold[/red]" in left.replace("\n", "")
    assert "\\u202e" in shown(record, stage.protocol)


def test_long_passages_are_shown_from_their_beginning_or_whole(stage: Stage) -> None:
    stage.engine = CannedEngine("Gadurin", "won " * SHOWN + "Bla")
    record = stage.play(stage.policy([SEARCH, ANSWER]), max_turns=2)
    assert "Bla holds" not in plain(shown(record, stage.protocol))
    assert " ..." in plain(shown(record, stage.protocol))
    assert "won Bla answer" in plain(shown(record, stage.protocol, whole_passages=True))


@pytest.fixture
def evaluated(small_study: Study, make_records: Callable[..., Path], tmp_path: Path) -> Path:
    """The folder of one evaluation of a study with prompts of its own."""
    make_records(small_study, tmp_path / "eval", 6)
    prompts = small_study.protocol.prompts.model_copy(update={"reflection": "look again"})
    protocol = small_study.protocol.model_copy(update={"prompts": prompts})
    folder = seed_folder(tmp_path / "eval", "tiny", "mr_search", 0)
    config = small_study.model_copy(update={"protocol": protocol}).model_dump(mode="json")
    (folder / RUN_FILE).write_text(json.dumps({"config": config, "method": "mr_search"}))
    return folder


def test_inspect_shows_a_record_as_its_study_made_it(evaluated: Path) -> None:
    path = record_file(evaluated, "two", "greedy")
    done = mrsearch("inspect", str(path), "two-3", cwd=evaluated)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert text.startswith("question question 3 gold right")
    assert "study small, model tiny, method mr_search, seed 0, decoding greedy, benchmark two" in text
    assert text.count("reflection look again") == 2
    assert "episode 3" in text
    assert "3 episodes" in text


def test_inspect_gives_scripts_a_line_of_json(evaluated: Path) -> None:
    path = record_file(evaluated, "two", "greedy")
    data = json.loads(mrsearch("inspect", str(path), "two-3", "--json", cwd=evaluated).stdout)
    assert (data["id"], data["method"], len(data["episodes"])) == ("two-3", "mr_search", 3)


def test_inspect_shows_every_member_of_a_group(
    small_study: Study, make_groups: Callable[..., Path], tmp_path: Path
) -> None:
    path = seed_folder(make_groups(small_study, tmp_path), "tiny", "mr_search", 0) / GROUPS_FILE
    done = mrsearch("inspect", str(path), "train-1", "--json", cwd=tmp_path)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["step"], line["member"]) for line in lines] == [(s, m) for s in (0, 4) for m in range(3)]


def test_inspect_names_what_is_missing(evaluated: Path, tmp_path: Path, stage: Stage) -> None:
    path = record_file(evaluated, "two", "greedy")
    done = mrsearch("inspect", str(path), "nope", cwd=evaluated)
    assert (done.returncode, done.stdout) == (2, "")
    assert "holds no question 'nope'; the first that it holds: 'two-0', 'two-1'" in done.stderr
    assert "no such file" in mrsearch("inspect", "absent.jsonl.zst", "nope", cwd=tmp_path).stderr
    write_records(tmp_path / "empty.jsonl.zst", [])
    assert "the first that it holds: none" in mrsearch("inspect", "empty.jsonl.zst", "nope", cwd=tmp_path).stderr
