"""The policy over verl's servers: cut on token ids, continued where a server stopped too early, never without proof."""

import asyncio
from types import SimpleNamespace

import pytest
from support.tiny import word_tokenizer

from mrsearch.agent.ports import Finish, Sampling
from mrsearch.agent.protocol import StopRule
from mrsearch.training.verl.rl.policy import ServerPolicy, stop_parameters

TOKENIZER = word_tokenizer()
RULE = StopRule(TOKENIZER)


def ids(text):
    return TOKENIZER.encode(text, add_special_tokens=False)


class Servers:
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    async def generate(self, request_id, *, prompt_ids, sampling_params):
        self.asked.append((request_id, list(prompt_ids), dict(sampling_params)))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        tokens, fields = answer if isinstance(answer, tuple) else (answer, {})
        return SimpleNamespace(token_ids=tokens, log_probs=[-0.5] * len(tokens), stop_reason="x", extra_fields=fields)


def generate(servers, max_tokens=20, rollout="vllm", context=(1, 2), seeded=False):
    policy = ServerPolicy(servers, RULE, rollout, "sticky", seeded)
    made = asyncio.run(policy.generate(list(context), Sampling(max_tokens, 1.0, 0.9, 7), "request"))
    return made, policy


def test_what_follows_the_closing_tag_is_cut():
    made, _ = generate(Servers(ids("<search> w1 </search> w2 w3")))
    assert TOKENIZER.decode(made.token_ids) == "<search> w1 </search>"
    assert (len(made.logprobs), made.finish) == (3, Finish.stop)


def test_a_server_that_stopped_too_early_is_asked_to_go_on():
    servers = Servers(ids("<answer> w1"), ids("w2 </answer>"))
    made, _ = generate(servers, seeded=True)
    assert TOKENIZER.decode(made.token_ids) == "<answer> w1 w2 </answer>"
    (_, first, one), (_, second, two) = servers.asked
    assert second == first + ids("<answer> w1")
    assert (one["max_tokens"], two["max_tokens"]) == (20, 18)
    assert one["seed"] != two["seed"]


def test_the_budget_holds_exactly():
    made, _ = generate(Servers(ids("w1 w2 w3 w4 w5 w6")), max_tokens=4)
    assert (made.token_ids, made.finish) == (ids("w1 w2 w3 w4"), Finish.length)


def test_all_turns_are_routed_to_one_server_and_weights_versions_are_kept():
    servers = Servers(
        (ids("w1"), {"min_global_steps": 3, "max_global_steps": 4}),
        (ids("</answer>"), {"min_global_steps": 2, "max_global_steps": 5}),
    )
    _, policy = generate(servers)
    assert {asked[0] for asked in servers.asked} == {"sticky"}
    assert policy.versions == {"global_steps": 5, "min_global_steps": 2, "max_global_steps": 5}


def test_answers_without_tokens_or_proof_are_errors():
    with pytest.raises(RuntimeError, match="3 answers without tokens"):
        generate(Servers([], [], []))
    servers = Servers(ids("w1"))

    async def without(*_, **__):
        return SimpleNamespace(token_ids=[5], log_probs=None, stop_reason="x", extra_fields={})

    servers.generate = without
    with pytest.raises(RuntimeError, match="without log-probabilities"):
        generate(servers)


def test_a_servers_own_error_passes_through():
    with pytest.raises(ConnectionError):
        generate(Servers(ConnectionError("gone")))


def test_engines_are_told_to_stop_in_their_own_words():
    vllm, sglang = stop_parameters("vllm", [3]), stop_parameters("sglang", [3])
    assert vllm["include_stop_str_in_output"] and sglang["no_stop_trim"]
    assert vllm["stop"] == sglang["stop"] == ["</search>", "</answer>"]
    assert vllm["stop_token_ids"] == sglang["stop_token_ids"] == [3]


@pytest.mark.parametrize(
    ("rollout", "seeded", "sent"),
    [("vllm", False, False), ("vllm", True, True), ("sglang", True, False), ("transformers", False, True)],
)
def test_seeds_are_sent_where_they_are_wanted(rollout, seeded, sent):
    servers = Servers(ids("</answer>"))
    generate(servers, rollout=rollout, seeded=seeded)
    assert ("seed" in servers.asked[0][2]) is sent


@pytest.mark.parametrize(
    ("token", "logprob"), [(None, -0.5), (-1, -0.5), (5, None), (5, float("nan")), (5, float("-inf")), (5, 0.5)]
)
def test_what_no_sampled_token_can_have_is_an_error(token, logprob):
    servers = Servers()

    async def wrong(*_, **__):
        return SimpleNamespace(token_ids=[token], log_probs=[logprob], stop_reason="x", extra_fields={})

    servers.generate = wrong
    with pytest.raises(RuntimeError, match=r"request: .* is no (token id|log-probability)"):
        generate(servers)
