"""Bags of words: weights by hand, equal bytes whatever the hash seed, and refused files."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mrsearch.retrieval.indexes import bow

PASSAGES = [("Ann Lee", "born in Oslo"), ("Oslo", "a city"), ("Bo", "born in Rome, in May")]


def test_vectors_are_the_weights_of_words_as_often_as_they_occur():
    model = bow.fit(PASSAGES)
    born, oslo = math.log(1 + (3 - 2 + 0.5) / 2.5), math.log(1 + (3 - 2 + 0.5) / 2.5)
    rome = math.log(1 + (3 - 1 + 0.5) / 1.5)
    vector = np.zeros(len(model.weights))
    for word, weight in (("born", born), ("oslo", 2 * oslo), ("rome", rome)):
        vector[list(model.weights).index(word)] = weight
    (row,) = model.encode(["Born; OSLO oslo Rome unknown"])
    assert row == pytest.approx(vector / np.linalg.norm(vector), abs=1e-6)


def test_a_text_without_a_known_word_is_zero():
    assert not bow.fit(PASSAGES).encode(["nothing of this", ""]).any()


def test_what_is_saved_is_what_is_loaded(tmp_path):
    model = bow.fit(PASSAGES)
    model.save(str(tmp_path))
    again = bow.load(tmp_path)
    assert bow.fingerprint(again) == bow.fingerprint(model)
    assert (again.encode(["born in oslo"]) == model.encode(["born in oslo"])).all()


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"weights": {}}', '{"weights": {"a": null}}', '{"weights": {"a": NaN}}']
)
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / bow.FILE).write_text(content)
    with pytest.raises(ValueError):
        bow.load(tmp_path)
    with pytest.raises(ValueError, match=r"holds no bow\.json"):
        bow.load(tmp_path / "absent")
