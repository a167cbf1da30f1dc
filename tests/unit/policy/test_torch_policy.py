"""The batched policy against plain forward passes of the same model."""

import asyncio

import pytest
import torch
from support.tiny import tiny_model, word_tokenizer

from mrsearch.agent.ports import BatchingPolicy, Finish, Sampling
from mrsearch.agent.protocol import StopRule
from mrsearch.policy.sampling import sample
from mrsearch.policy.torch_policy import TorchPolicy


@pytest.fixture
def policy():
    tokenizer = word_tokenizer()
    return TorchPolicy(tiny_model(len(tokenizer)), tokenizer, StopRule(tokenizer))


def logits_after(policy, ids):
    with torch.inference_mode():
        return policy.model(input_ids=torch.tensor([ids])).logits[0, -1]


def greedy_alone(policy, context, count):
    """Reference: one full forward pass per token."""
    ids, logprobs = list(context), []
    for _ in range(count):
        distribution = torch.log_softmax(logits_after(policy, ids).float(), -1)
        ids.append(int(distribution.argmax()))
        logprobs.append(float(distribution.max()))
        if policy.stop_rule.is_end(ids[len(context) :]):
            break
    return ids[len(context) :], logprobs


def run(policy, requests):
    async def all_of_them():
        for request_id, _, _ in requests:
            policy.attach(request_id)
        results = await asyncio.gather(
            *(policy.generate(context, sampling, request_id) for request_id, context, sampling in requests)
        )
        return dict(zip([request_id for request_id, _, _ in requests], results, strict=True))

    return asyncio.run(all_of_them())


def test_is_a_batching_policy(policy):
    assert isinstance(policy, BatchingPolicy)


def test_greedy_equals_full_forward_passes_over_several_turns(policy):
    generator = torch.Generator().manual_seed(3)
    contexts = {
        f"r{i}": torch.randint(4, len(policy.tokenizer), (3 + 5 * i,), generator=generator).tolist() for i in range(5)
    }
    for turn in range(3):
        results = run(
            policy, [(name, ids, Sampling(max_tokens=4 + i)) for i, (name, ids) in enumerate(contexts.items())]
        )
        for i, (name, ids) in enumerate(contexts.items()):
            expected, logprobs = greedy_alone(policy, ids, 4 + i)
            assert results[name].token_ids == expected, (turn, name)
            assert results[name].logprobs == pytest.approx(logprobs, abs=2e-5)
            more = torch.randint(4, len(policy.tokenizer), (1 + (i * 7 + turn) % 6,), generator=generator).tolist()
            contexts[name] = ids + results[name].token_ids + more


def test_a_changed_context_is_not_answered_from_the_old_cache(policy):
    first = [5, 6, 7, 8, 9, 10]
    run(policy, [("a", first, Sampling(max_tokens=3))])
    changed = [5, 6, 11, 12, 13]
    result = run(policy, [("a", changed, Sampling(max_tokens=5))])["a"]
    assert result.token_ids == greedy_alone(policy, changed, 5)[0]


def test_new_weights_need_forget(policy):
    context = [5, 6, 7, 8]
    run(policy, [("a", context, Sampling(max_tokens=3))])
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(1.5)
    policy.forget()
    result = run(policy, [("a", [*context, 9], Sampling(max_tokens=5))])["a"]
    assert result.token_ids == greedy_alone(policy, [*context, 9], 5)[0]


def test_draws_do_not_depend_on_the_batch(policy):
    sampling = Sampling(max_tokens=8, temperature=1.0, seed=11)
    alone = run(policy, [("a", [5, 6, 7], sampling)])["a"]
    for name in ("a",):
        policy.detach(name)
    others = [(f"b{i}", [8, 9, 10 + i], Sampling(max_tokens=12, temperature=1.0, seed=i)) for i in range(4)]
    together = run(policy, [*others, ("a", [5, 6, 7], sampling)])["a"]
    assert together.token_ids == alone.token_ids
    assert together.logprobs == pytest.approx(alone.logprobs, abs=2e-5)


def test_logprobs_are_those_of_the_tempered_distribution(policy):
    context = [5, 6, 7]
    result = run(policy, [("a", context, Sampling(max_tokens=4, temperature=0.7, seed=2))])["a"]
    ids = list(context)
    for token, logprob in zip(result.token_ids, result.logprobs, strict=True):
        assert logprob == pytest.approx(float(torch.log_softmax(logits_after(policy, ids) / 0.7, -1)[token]), abs=2e-5)
        ids.append(token)


def test_stops_at_a_closing_tag_and_at_the_budget(policy):
    closing = policy.tokenizer.convert_tokens_to_ids("</answer>")
    with torch.no_grad():
        policy.model.get_output_embeddings().weight[closing] = 0
        policy.model.get_decoder().norm.weight.zero_()
    result = run(policy, [("a", [5, 6], Sampling(max_tokens=3))])["a"]
    assert result.finish is Finish.length
    assert len(result.token_ids) == 3


def test_batch_waits_for_every_attached_meta_episode(policy):
    async def scenario():
        policy.attach("a")
        policy.attach("b")
        first = asyncio.ensure_future(policy.generate([5, 6], Sampling(max_tokens=2), "a"))
        await asyncio.sleep(0.05)
        assert not first.done()
        policy.detach("b")
        return await asyncio.wait_for(first, 5)

    assert len(asyncio.run(scenario()).token_ids) <= 2


def test_refuses_an_empty_context(policy):
    with pytest.raises(ValueError, match="context has 0 tokens"):
        asyncio.run(policy.generate([], Sampling(max_tokens=2), "a"))


def test_load_names_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(ValueError, match=r"is not a Hugging Face model folder"):
        TorchPolicy.load(tmp_path)


def test_sampling_follows_the_distribution():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2]])).expand(20000, -1)
    uniform = torch.rand(20000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ones = torch.ones(20000)
    tokens, _ = sample(logits, ones, ones, uniform)
    frequency = torch.bincount(tokens, minlength=3) / 20000
    torch.testing.assert_close(frequency, torch.tensor([0.5, 0.3, 0.2]), atol=0.015, rtol=0)
    nucleus, logprobs = sample(logits, ones, ones * 0.6, uniform)
    assert set(nucleus.tolist()) == {0, 1}
    assert logprobs[nucleus == 1][0].item() == pytest.approx(torch.log(torch.tensor(0.3)).item(), abs=1e-6)


def test_rows_that_ended_leave_the_batch_and_keep_their_cache(policy):
    """Very unequal lengths, turn after turn: the same tokens as full forward passes, one request at a time."""
    lengths = {"a": 1, "b": 2, "c": 2, "d": 5, "e": 9, "f": 17}
    contexts = {name: [5 + place, 6, 7 + 2 * place] for place, name in enumerate(lengths)}
    for turn in range(3):
        wanted = {name: count if turn % 2 == 0 else 18 - count for name, count in lengths.items()}
        results = run(policy, [(name, contexts[name], Sampling(max_tokens=wanted[name])) for name in lengths])
        for name, context in contexts.items():
            expected, logprobs = greedy_alone(policy, context, wanted[name])
            assert results[name].token_ids == expected, (turn, name)
            assert results[name].logprobs == pytest.approx(logprobs, abs=2e-5)
            contexts[name] = [*context, *expected, 8, 9]
