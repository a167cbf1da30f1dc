"""Every key of a preset, held against recordings that the agent made under it."""

from __future__ import annotations

import pytest

from mrsearch.agent.recordings.check import check_records
from mrsearch.agent.recordings.keys import all_keys, other_values, with_value

UNREAD = {
    "preset",
    "wording",
    "scoring",
    "chat_template.date",
    *(f"prompts.{name}" for name in ("direct", "cot", "rag", "ircot", "conclude", "read")),
}
"""Keys that a searching agent does not read."""
UNSHOWN = {
    "own": {"tags.information.open", "tags.information.close", "title_quotes"},
    "search_r1": {"max_context_tokens", "invalid_action_role", "reflection.role"},
    "mr_search": {"max_context_tokens"},
    "r1_searcher": {"turns_are", "invalid_action_role", "reflection.role"},
}
"""Keys that no text can show under a preset: formats that spell the tags out, titles without quotes, what a rolling
context leaves out, whose turn it is without a chat template, and turns that are all searches."""


@pytest.fixture(scope="module", params=UNSHOWN)
def checked(request, made):
    """A preset's name, its recordings, and the verdict on them under the preset itself."""
    recordings = made(request.param)
    return request.param, recordings, check_records(recordings.records, recordings.protocol, recordings.count)


def test_what_the_agent_made_is_rendered_exactly(checked):
    _, _, verdict = checked
    assert [(result.recorded.name, result.difference) for result in verdict.results if result.difference] == []


def test_exactly_the_keys_that_no_text_can_show_are_listed(checked):
    preset, _, verdict = checked
    assert {unshown.key for unshown in verdict.unshown} == UNREAD | UNSHOWN[preset]
    assert all(unshown.reason for unshown in verdict.unshown)


def test_every_other_change_of_one_key_fails_and_names_the_key(checked):
    preset, recordings, _ = checked
    missed = list[tuple[str, object, set[str]]]()
    for key, value in all_keys(recordings.protocol).items():
        if key in UNREAD | UNSHOWN[preset]:
            continue
        for changed in other_values(key, value):
            try:
                protocol = with_value(recordings.protocol, key, changed)
            except ValueError as error:
                assert key.split(".")[-1] in str(error)
                continue
            keys = check_records(recordings.records, protocol, recordings.count).keys
            if key not in keys:
                missed.append((key, changed, keys))
    assert missed == []
