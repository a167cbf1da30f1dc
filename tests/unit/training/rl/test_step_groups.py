"""How many batches a step generates, and what it trains on of them."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from mrsearch.agent.records import Question
from mrsearch.agent.rewards import EpisodeRewards
from mrsearch.config.training import PolicyTraining
from mrsearch.training.rl import rollouts

POOL = [Question(f"q{n}", f"question {n}", ("gold",)) for n in range(12)]
SIZE = 3


@pytest.fixture
def generate(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function of the questions whose groups vary: what a step generates in groups of two."""
    firsts: list[int] = []

    def run(varied: Sequence[str], filter_groups: dict[str, int] | None, pool: Sequence[Question] = POOL) -> Any:
        def roll_out(questions: Sequence[Question], *_: Any, first: int, **__: Any) -> list[Any]:
            firsts.append(first)
            return [(question, member) for question in questions for member in range(2)]

        def rewarded(meta: Any, *_: Any) -> EpisodeRewards:
            question, member = meta
            return EpisodeRewards([float(member * (question.id in varied))], {})

        monkeypatch.setattr(rollouts, "roll_out", roll_out)
        monkeypatch.setattr(rollouts, "episode_rewards", rewarded)
        config = PolicyTraining(train_batch_size=SIZE, mini_batch_size=SIZE, group_size=2, filter_groups=filter_groups)
        spec: Any = SimpleNamespace(episodes=1, protocol=None)
        unused: Any = None
        firsts.clear()
        step = rollouts.step_groups(pool, unused, None, spec, unused, config, unused, seed=0, step=4)
        assert firsts == list(range(0, len(step.rewards_QGN), SIZE)), "the numbers of questions go on"
        names = [meta[0].id for meta in step.metas[::2]]
        assert len(set(names)) == len(names), "no question is asked twice"
        return step, names

    return run


def test_without_a_filter_a_step_is_one_batch(generate: Any) -> None:
    step, names = generate([], None)
    assert names == [question.id for question in rollouts.draw_questions(POOL, SIZE, 0, 4)]
    assert step.trained(SIZE) is step


def test_batches_are_generated_until_enough_groups_vary(generate: Any) -> None:
    _, names = generate([], {"max_num_gen_batches": 4})
    assert len(names) == 12, "as many batches as may be"
    varied = [names[0], *names[4:6], names[8]]
    step, again = generate(varied, {"max_num_gen_batches": 4})
    assert again == names[:6], "three vary in the first two batches"
    trained = step.trained(SIZE)
    assert [meta[0].id for meta in trained.metas[::2]] == varied[:3]
    assert trained.rewards_QGN[:, 1, 0].tolist() == [1.0] * 3
    assert len(trained.rewards) == len(trained.metas) == 2 * SIZE


def test_the_first_of_the_others_fill_up(generate: Any) -> None:
    _, names = generate([], {"max_num_gen_batches": 2})
    step, _ = generate([names[4]], {"max_num_gen_batches": 2})
    assert [meta[0].id for meta in step.trained(SIZE).metas[::2]] == [names[0], names[1], names[4]]


def test_a_small_pool_ends_the_batches(generate: Any) -> None:
    _, names = generate([], {"max_num_gen_batches": 4}, POOL[:8])
    assert len(names) == 6
