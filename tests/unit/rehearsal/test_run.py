"""What a rehearsal says of its links: each in turn, and the first that does not hold is the last."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mrsearch.config import Run, load_study
from mrsearch.files import read_json
from mrsearch.rehearsal.links import LinkFailed, Rehearsal
from mrsearch.rehearsal.run import projection, rehearse
from mrsearch.rehearsal.study import rehearsed


class Chain(Rehearsal):
    """A rehearsal whose links are given."""

    given = ()

    def links(self):
        yield from self.given


def chain(root, out, *links):
    study = load_study(Run(), root)
    run = Run.model_validate({"paths": {"results": str(out), "resources": str(out / "resources")}})
    made = Chain(run, rehearsed(study), Path(sys.executable))
    made.given = links
    return study, made


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (LinkFailed("no room"), "no room"),
        (ValueError("the retriever answers 'x' otherwise"), "ValueError: the retriever answers 'x' otherwise"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
    ],
)
def test_the_first_broken_link_is_named_and_ends_it(root, tmp_path, error, said):
    def breaks():
        raise error

    def never():
        raise AssertionError("a link after a broken one was tried")

    shown = []
    study, made = chain(root, tmp_path, ("first", lambda: "well"), ("second", breaks), ("third", never))
    assert not rehearse(study, made, shown.append)
    assert [line.split("(")[0] for line in shown] == ["pass  first ", "FAIL  second "]
    assert shown[-1].endswith(f"): {said}")
    result = read_json(made.result)
    assert (result["held"], [link["held"] for link in result["links"]]) == (False, [True, False])


def test_an_earlier_rehearsal_leaves_nothing_behind(root, tmp_path):
    study, made = chain(root, tmp_path, ("only", lambda: "well"))
    old = made.layout.root / "models" / "old"
    old.mkdir(parents=True)
    assert rehearse(study, made, lambda line: None)
    assert not old.exists()


def test_rates_are_projected_to_the_whole_study(root, tmp_path):
    study, made = chain(root, tmp_path)
    steps, batch = study.training.steps, study.training.train_batch_size
    made.measured = {"step_seconds": 9.0, "training_start_seconds": 0.0, "trained_tokens_per_second": 1e3}
    first, second, _ = projection(study, made)
    small = made.study.training.train_batch_size
    assert f"{9.0 * steps * batch / small / 3600:.1f} hours; this study has 4." in first
    assert "An evaluation of 1,600 questions" in second


def test_what_was_not_measured_is_not_projected(root, tmp_path):
    study, made = chain(root, tmp_path)
    assert len(projection(study, made)) == 1
