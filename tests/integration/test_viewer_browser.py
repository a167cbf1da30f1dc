"""The viewer in a real browser: from disk and served, with hostile text, wide and narrow, and with 20,000 records."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from mrsearch.agent.ports import Hit, Passage
from mrsearch.agent.record_files import read_records, write_records
from mrsearch.agent.records import ActionKind, Episode, StopReason, Turn
from mrsearch.config import Study
from mrsearch.evaluation.scores import score_record
from mrsearch.reporting.viewer import StudyRecords, write_viewer

pytestmark = pytest.mark.integration
HOSTILE = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "</script><script>document.title='owned'</script>",
    "\u202eright-to-left\u202c \u2028 \x07 😀 日本語",
    "&lt;b&gt; ${1} `x` ' \"",
    "x" * 3000,
]


@pytest.fixture(scope="module")
def viewer(
    small_study: Study,
    make_records: Callable[..., Path],
    make_groups: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Made-up records; every answer, query, thought, title and passage of one benchmark is hostile."""
    made = tmp_path_factory.mktemp("viewer")
    folder = make_records(small_study, made / "eval", 6)
    for path in folder.rglob("two.*.jsonl.zst"):
        records = list(read_records(path))
        for number, record in enumerate(records):
            text = HOSTILE[number]
            hits = [Hit(Passage(text, text, text + " right"), 1.5), Hit(Passage("1", "Plain", "wrong"), 0.5)]
            search = Turn(
                8, 14, f"<think> {text} </think> <search> {text} </search>", ActionKind.search, text, "", hits
            )
            answer = Turn(
                20, 26, f"<information>{text}</information><answer> {text} </answer>", ActionKind.answer, text
            )
            record.episodes[0] = Episode([search, answer], text, StopReason.answered)
            record.tags["scores"] = score_record(record)
        write_records(path, records)
    write_viewer([StudyRecords(small_study, folder, make_groups(small_study, made / "models"))], made / "viewer")
    return made / "viewer"


@pytest.fixture(scope="module")
def served(viewer: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(viewer))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()
    server.server_close()


def visit(browser: Any, address: str, **context: Any) -> Any:
    """A page whose errors fail the test when it is closed by `leave`."""
    page = browser.new_context(**context).new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
    page.goto(address)
    page.wait_for_selector(".row")
    return page


def leave(page: Any) -> None:
    assert page.problems == []
    assert page.title() == "small: meta-episodes"
    page.context.close()


def test_from_disk_and_from_a_server(browser: Any, viewer: Path, served: str):
    for address in (viewer.joinpath("index.html").as_uri(), served):
        page = visit(browser, address)
        page.wait_for_selector(".pane .episode")
        assert page.inner_text("#counts") == "300 of 300 meta-episodes"
        leave(page)


def test_hostile_text_stays_text(browser: Any, viewer: Path):
    page = visit(
        browser, viewer.joinpath("index.html").as_uri() + "#benchmark=two&method=direct&seed=0&decoding=greedy"
    )
    seen = ""
    for _ in HOSTILE:
        page.wait_for_selector(".pane .episode")
        page.click("#passages")
        page.wait_for_timeout(50)
        seen += page.text_content("#panes")
        assert page.locator("#panes img, #panes script, #panes b b, script:not([src])").count() == 0
        page.keyboard.press("j")
        page.wait_for_timeout(100)
    for text in HOSTILE:
        assert text.strip() in seen
    assert "holds a gold answer" in seen
    assert "writes an information block itself" in seen
    width = page.locator("#detail").bounding_box()["width"]
    assert page.locator(".pane").bounding_box()["width"] <= width
    leave(page)


def test_filters_outcomes_and_search(browser: Any, viewer: Path):
    page = visit(browser, viewer.joinpath("index.html").as_uri())
    page.select_option("#filter-method", "mr_search")
    page.select_option("#filter-outcome", "corrected")
    page.wait_for_timeout(100)
    shown = page.locator(".row .outcome").all_text_contents()
    assert shown
    assert all("✗✓" in pattern for pattern in shown)
    page.select_option("#filter-outcome", "")
    page.fill("#text", "question 3")
    page.wait_for_selector("#counts:text-matches('^12 of')")
    page.fill("#text", "no such words anywhere")
    page.wait_for_selector("#counts:text-matches('^0 of')")
    assert page.inner_text("#panes") == "Nothing matches."
    page.fill("#text", "right-to-left wrong")
    page.wait_for_selector("#counts:text-matches('^0 of')")
    page.check("#everywhere")
    page.wait_for_selector("#counts:text-matches('^4 of 300 meta-episodes$')")
    leave(page)


def test_two_methods_side_by_side(browser: Any, viewer: Path):
    page = visit(browser, viewer.joinpath("index.html").as_uri())
    page.select_option("#filter-method", "mr_search")
    page.select_option("#filter-compare", "search_r1")
    page.wait_for_selector("#panes.two")
    left, right = page.locator(".pane").all()
    assert left.locator("h2").inner_text() == right.locator("h2").inner_text()
    assert left.locator(".facts").first.inner_text().startswith("MR-Search")
    assert right.locator(".facts").first.inner_text().startswith("Search-R1")
    assert left.locator(".episode").count() == 3
    assert left.locator(".reflection").count() == 2
    page.select_option("#filter-versus", "better")
    page.wait_for_timeout(100)
    assert all(pattern.endswith("✓") for pattern in page.locator(".row .outcome").all_text_contents())
    leave(page)


def test_a_trainings_group_with_its_advantages(browser: Any, viewer: Path):
    address = viewer.joinpath("index.html").as_uri()
    page = visit(browser, address + "#benchmark=train&decoding=training+step+4")
    page.wait_for_selector(".group")
    assert page.locator(".row").count() == 6
    assert page.locator(".group tbody tr").count() == 3
    current = page.locator(".group .current td").all_inner_texts()
    assert current[0] == "1"
    facts = page.locator(".episode > .facts").all_inner_texts()
    for cell, text in zip(current[1:], facts, strict=True):
        reward, advantage = cell.split(" · ")
        assert f"EM {reward} " in text
        assert text.endswith(f"advantage {advantage}")
    page.click(".group tbody tr:nth-child(3) a")
    page.wait_for_selector(".group .current:nth-child(3)")
    assert "member 3" in page.inner_text(".pane .facts >> nth=0")
    shared = page.url
    leave(page)
    again = visit(browser, shared)
    again.wait_for_selector(".group .current:nth-child(3)")
    leave(again)


def test_groups_open_at_one_that_teaches(
    browser: Any,
    small_study: Study,
    make_records: Callable[..., Path],
    make_groups: Callable[..., Path],
    tmp_path: Path,
):
    """The first group's rewards are all alike: it stands first in the list, and the second one is opened."""
    folder, models = make_records(small_study, tmp_path / "eval", 1), make_groups(small_study, tmp_path / "models")
    (path,) = models.rglob("groups.jsonl.zst")
    records = list(read_records(path))
    alike = records[0].question.id
    for record in records:
        if record.question.id == alike:
            record.tags["rewards"] = [[0.0, 1.0, 1.0]] * 3
    write_records(path, records)
    write_viewer([StudyRecords(small_study, folder, models)], tmp_path / "viewer")
    page = visit(
        browser, tmp_path.joinpath("viewer", "index.html").as_uri() + "#benchmark=train&decoding=training+step+4"
    )
    page.wait_for_selector(".group")
    first = page.inner_text(".row[aria-posinset='1'] .question")
    assert page.inner_text(".pane h2") != first and "alike" not in page.inner_text(".group caption").lower()
    page.click(".row[aria-posinset='1']")
    page.wait_for_selector(".group caption:has-text('all alike: nothing to learn from')")
    page.select_option("#filter-outcome", "instructive")
    page.wait_for_function("document.querySelectorAll('.row').length === 3")
    assert page.locator(".prompt .said").is_hidden()
    page.click(".prompt summary")
    told = page.inner_text(".prompt .said")
    assert told.startswith("Answer the question below.") and told.endswith(f"Question: {page.inner_text('.pane h2')}")
    leave(page)


def test_a_group_of_a_critic_shows_its_rewards_alone(
    browser: Any,
    small_study: Study,
    make_records: Callable[..., Path],
    make_groups: Callable[..., Path],
    tmp_path: Path,
):
    models = make_groups(small_study, tmp_path / "models")
    (path,) = models.rglob("groups.jsonl.zst")
    records = list(read_records(path))
    for record in records:
        del record.tags["advantages"]
    write_records(path, records)
    write_viewer(
        [StudyRecords(small_study, make_records(small_study, tmp_path / "eval", 1), models)], tmp_path / "viewer"
    )
    page = visit(browser, tmp_path.joinpath("viewer", "index.html").as_uri() + "#benchmark=train")
    page.wait_for_selector(".group")
    assert page.inner_text(".group caption").lower().startswith("its group: reward")
    assert set(page.locator(".group .current td").all_inner_texts()[1:]) <= {"0", "1"}
    assert "advantage" not in page.inner_text(".pane")
    leave(page)


def test_two_studies_in_one_page(browser: Any, small_study: Study, make_records: Callable[..., Path], tmp_path: Path):
    raw = small_study.model_dump() | {"name": "other", "seeds": [5]}
    raw["protocol"]["prompts"]["reflection"] = "look again"
    studies = [small_study, Study.model_validate(raw)]
    sources = [StudyRecords(study, make_records(study, tmp_path / study.name, 2)) for study in studies]
    write_viewer(sources, tmp_path / "viewer")
    page = visit(browser, tmp_path.joinpath("viewer", "index.html").as_uri() + "#method=mr_search")
    assert page.inner_text("#counts") == "36 of 144 meta-episodes"
    page.select_option("#filter-study", "other")
    page.wait_for_selector("#counts:text-matches('^12 of')")
    page.wait_for_selector(".reflection:has-text('look again')")
    assert "record=other%2Ftiny%2Fmr_search" in page.url
    assert page.inner_text(".pane .facts >> nth=0").startswith("other · MR-Search")
    assert page.title() == "small, other: meta-episodes"
    assert page.problems == []
    page.context.close()
    with pytest.raises(ValueError, match="studies small, small: two have the same name"):
        write_viewer([sources[0]] * 2, tmp_path / "viewer")


def test_permanent_links_and_keys(browser: Any, viewer: Path):
    address = viewer.joinpath("index.html").as_uri()
    page = visit(browser, address)
    page.wait_for_selector(".row.selected")
    first = page.url
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.wait_for_selector(".row.selected[aria-posinset='2']")
    second = page.url
    assert second != first
    heading = page.inner_text(".pane .facts >> nth=0")
    page.keyboard.press("/")
    assert page.locator("#text:focus").count() == 1
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.locator("#help[open]").count() == 1
    page.keyboard.press("Escape")
    leave(page)
    again = visit(browser, second)
    again.wait_for_selector(".row.selected[aria-posinset='2']")
    assert again.inner_text(".pane .facts >> nth=0") == heading
    leave(again)
    record = quote("small/tiny/mr_search/1/sampled/extra/extra-4", safe="")
    named = visit(browser, f"{address}#record={record}&method=direct")
    named.wait_for_selector(".pane")
    assert "extra-4" in named.inner_text(".pane .facts >> nth=0")
    leave(named)


def test_narrow_and_dark(browser: Any, viewer: Path):
    page = visit(
        browser,
        viewer.joinpath("index.html").as_uri() + "#benchmark=two&method=mr_search",
        viewport={"width": 360, "height": 700},
        color_scheme="dark",
    )
    assert page.locator("#detail").is_hidden()
    for place in range(6):
        page.locator(".row").nth(place).click()
        page.wait_for_selector(".pane .episode")
        assert page.locator("#browse").is_hidden()
        box = page.locator(".pane").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
        page.keyboard.press("Escape")
        page.wait_for_selector("#browse", state="visible")
    leave(page)


def test_rows_stay_the_same_elements_while_they_are_pressed(browser: Any, viewer: Path):
    page = visit(browser, viewer.joinpath("index.html").as_uri())
    page.wait_for_selector(".row.selected[aria-posinset='1']")
    box = page.locator(".row[aria-posinset='4']").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.evaluate(
        """() => new Promise((drawn) => {
          document.getElementById("list").dispatchEvent(new Event("scroll"));
          requestAnimationFrame(() => requestAnimationFrame(drawn));
        })"""
    )
    page.mouse.up()
    page.wait_for_selector(".row.selected[aria-posinset='4']")
    places = page.locator(".row").evaluate_all("rows => rows.map((row) => Number(row.ariaPosInSet))")
    assert places == sorted(places), "a screen reader reads the rows in their order"
    leave(page)


COUNT_ROWS = """() => {
  window.rowsMade = 0;
  new MutationObserver((changes) => {
    for (const change of changes)
      for (const node of change.addedNodes)
        if (node.nodeType === Node.ELEMENT_NODE)
          window.rowsMade += node.matches(".row") + node.querySelectorAll(".row").length;
  }).observe(document.body, { childList: true, subtree: true });
}"""


def test_twenty_thousand_records_stay_smooth(
    browser: Any, small_study: Study, make_records: Callable[..., Path], tmp_path: Path
):
    """48 files of 417 records: few rows in the page, and none made that nobody looks at."""
    folder = make_records(small_study, tmp_path / "eval", 417)
    write_viewer([StudyRecords(small_study, folder)], tmp_path / "viewer", max_records=20_016)
    page = visit(browser, tmp_path.joinpath("viewer", "index.html").as_uri())
    assert page.inner_text("#counts") == "20,016 of 20,016 meta-episodes"
    assert page.locator(".row").count() < 60
    page.evaluate(COUNT_ROWS)
    for _ in range(20):
        page.mouse.move(100, 500)
        page.mouse.wheel(0, 60_000)
    page.wait_for_selector(".row[aria-posinset='20016']")
    page.select_option("#filter-method", "mr_search")
    page.wait_for_selector("#counts:text-matches('^5,004 of')")
    page.fill("#text", "question 41")
    page.wait_for_selector("#counts:text-matches('^132 of')")
    assert 0 < page.evaluate("window.rowsMade") < 20_016, "an action makes the rows in sight, not all"
    leave(page)
