"""Answers per second: the batched policy against a loop of `transformers.generate`, one turn after the other.

Both answer the same questions with the same weights, prompts, searches and stop rule, greedily. The loop keeps nothing
between turns, as a loop of `generate` does. Prints both rates, their ratio, and whether the answers are the same.

    python benchmarks/evaluation_speed.py
"""

# ruff: noqa: T201  (a script that prints its measurements)
from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, StoppingCriteria, StoppingCriteriaList

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.tiny import word_tokenizer

from mrsearch.agent.agent import Agent, Request
from mrsearch.agent.batch import run_batch
from mrsearch.agent.ports import Finish, Generation, Hit, Passage
from mrsearch.agent.procedures import run_procedure
from mrsearch.agent.protocol import StopRule
from mrsearch.agent.records import Question
from mrsearch.agent.renderer import Renderer
from mrsearch.agent.spec import AgentSpec
from mrsearch.config.models import TinyModel
from mrsearch.config.protocol import Prompts, Protocol
from mrsearch.policy.torch_policy import TorchPolicy

TAG_PREFERENCE = 2.0
PROTOCOL = Protocol(
    prompts=Prompts(search="w1 {question}", reflection="w2 w3", invalid_action=" w4 "),
    max_turn_tokens=24,
    max_context_tokens=480,
    max_observation_tokens=40,
)


class SequentialPolicy:
    """One `generate` call a turn, over the whole context."""

    def __init__(self, model, tokenizer) -> None:
        self.model, self.tokenizer, self.stop_rule = model, tokenizer, StopRule(tokenizer)

    async def generate(self, context, sampling, request_id) -> Generation:
        rule, start = self.stop_rule, len(context)

        class Ends(StoppingCriteria):
            def __call__(self, input_ids, scores, **_):
                return torch.tensor([rule.is_end(input_ids[0, start:].tolist())])

        ids = torch.tensor([list(context)])
        with torch.inference_mode():
            made = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=sampling.max_tokens,
                do_sample=False,
                stopping_criteria=StoppingCriteriaList([Ends()]),
            )
        token_ids = made[0, start:].tolist()
        finish = Finish.stop if rule.is_end(token_ids) else Finish.length
        return Generation(token_ids, [0.0] * len(token_ids), finish)


class OnePassage:
    async def search(self, query, topk):
        return [Hit(Passage("p", "w5", " ".join(f"w{n}" for n in range(20))), 1.0)]


def untrained(tokenizer, hidden: int, layers: int):
    """A Qwen2 with random weights, which likes tags, so that turns end as in an agent."""
    shape = TinyModel(hidden_size=hidden, intermediate_size=2 * hidden, layers=layers)
    torch.manual_seed(shape.seed)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=shape.hidden_size,
            intermediate_size=shape.intermediate_size,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            max_position_embeddings=shape.max_positions,
            initializer_range=0.3,
            tie_word_embeddings=True,
            pad_token_id=0,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    ).eval()
    tags = tokenizer.convert_tokens_to_ids(["<search>", "</search>", "<answer>", "</answer>"])
    with torch.no_grad():
        model.get_output_embeddings().weight[tags] *= TAG_PREFERENCE
    return model


def answer(policy, count: int):
    """Records of `count` questions, and wall and CPU seconds."""
    renderer = Renderer(policy.tokenizer, PROTOCOL)
    agent = Agent(policy, OnePassage(), AgentSpec(protocol=PROTOCOL, episodes=3, turns=3, topk=1), renderer)

    def job(number):
        question = Question(f"q{number}", f"w{number % 50} w{number // 50 + 1}", ("w7",))
        return lambda: run_procedure(question, agent, Request(question.id))

    started, used = time.perf_counter(), time.process_time()
    concurrency = count if isinstance(policy, TorchPolicy) else 1
    records = asyncio.run(run_batch([(f"q{number}", job(number)) for number in range(count)], policy, concurrency))
    return records, time.perf_counter() - started, time.process_time() - used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=400, help="as many as an evaluation answers at once")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=128, help="width of the model; the demo's is 128")
    parser.add_argument("--layers", type=int, default=3, help="layers of the model; the demo's has 3")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokenizer = word_tokenizer(size=1000)
    model = untrained(tokenizer, options.hidden, options.layers)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    batched, sequential = TorchPolicy(model, tokenizer, StopRule(tokenizer)), SequentialPolicy(model, tokenizer)
    for policy in (batched, sequential):
        answer(policy, 2)
    fast, fast_seconds, fast_cpu = answer(batched, options.questions)
    slow, slow_seconds, slow_cpu = answer(sequential, options.questions)
    turns = sum(len(episode.turns) for record in fast for episode in record.episodes)
    tokens = sum(sum(record.loss_mask) for record in fast)
    same = sum(one.token_ids == other.token_ids for one, other in zip(fast, slow, strict=True))
    print(f"{parameters / 1e6:.1f} million parameters")
    print(f"{options.questions} questions, {turns} turns, {tokens} generated tokens, {options.threads} threads")
    print(f"batched policy       {options.questions / fast_seconds:8.2f} questions/s ({fast_seconds:.2f} s)")
    print(f"loop of generate     {options.questions / slow_seconds:8.2f} questions/s ({slow_seconds:.2f} s)")
    print(f"ratio                {slow_seconds / fast_seconds:8.2f}, in CPU time {slow_cpu / fast_cpu:.2f}")
    print(f"same transcripts     {same} of {options.questions}")


if __name__ == "__main__":
    main()
