"""What two modules need stands in one of them: a second telling of these would go its own way sooner or later."""

from __future__ import annotations

import re

import pytest
from support.project import ROOT

SOURCE = ROOT / "src" / "mrsearch"
TOLD_ONCE = {
    "closing tags": (r'close="</search>"', "config/wording.py"),
    "where a generation ends": (r"^class StopRule\b", "agent/protocol.py"),
    "the headline answer": (r'= "final"$', "evaluation/choices.py"),
    "the name of the training questions": (r'^TRAIN = "train"$', "data/registry.py"),
    "reading questions": (r"^def read_questions\(", "agent/questions.py"),
    "the final question mark": (r'endswith\("\?"\)', "config/protocol.py"),
    "locks between processes": (r"fcntl\.flock\(", "files.py"),
    "the end of a log": (r"last lines of", "files.py"),
    "pauses before another try": (r"\bclass TransientError\b|stop_before_delay\(", "retries.py"),
    "what goes over HTTP to servers of a run": (r"\bClientSession\($|\bClientTimeout\(", "exchange.py"),
    "which statuses may pass": (r"\b408, 425\b", "retries.py"),
    "bytes that outlast a crash": (r"os\.O_EXCL|os\.O_NOFOLLOW", "durable.py"),
    "children that end with their parent": (r"preexec_fn=", "cluster/children.py"),
    "draws by purpose and seed": (r"random\.Random\(.*encode\(", "draws.py"),
    "keys that digests leave out": (r"@model_serializer", "config/base.py"),
    "procedures that do not search": (r"\bWITHOUT_SEARCH\b", "config/methods.py"),
}


@pytest.mark.parametrize("fact", TOLD_ONCE)
def test_each_fact_has_one_home(fact: str):
    pattern, home = TOLD_ONCE[fact]
    telling = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert telling == {home}
