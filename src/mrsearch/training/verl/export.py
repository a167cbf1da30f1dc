"""From FSDP shards to a Hugging Face folder, and the proof that it is the same policy."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mrsearch.config.lora import Lora
from mrsearch.training.adapters import Adapters
from mrsearch.training.export import export_model

log = logging.getLogger(__name__)
WRAPPER = "base_model.model."
"""What peft puts before the names of a model's weights; verl saves its wrapper."""
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""Mean absolute difference of log-probabilities that arithmetic explains; a wrong merge is off by whole units."""


def export_checkpoint(
    checkpoint: Path, start: Path, out: Path, shards: str = "actor", lora: Lora | None = None
) -> float:
    """Write the policy of a checkpoint folder (`global_step_N`) to `out` in the precision of `start`.

    shards: where in the folder the policy's shards lie; lora: what they are adapters of `start` by.
    The merged model scores the checkpoint's probe sequences first: RuntimeError, and nothing is written, where its
    log-probabilities are not those that the trained policy had. Returns their mean absolute difference.
    """
    from mrsearch.policy.causal_model import load_model
    from mrsearch.policy.tokenizer import load_tokenizer

    model, state = load_model(start, "auto", generates=False), merged_state(checkpoint / shards)
    if lora is None:
        load_merged(model, state)
    else:
        model = with_adapters(model, state, lora)
    probe = json.loads((checkpoint / "probe.json").read_text(encoding="utf-8"))
    difference = probe_difference(model, probe)
    limit = TOLERANCE.get(model.dtype, TOLERANCE[torch.bfloat16])
    if not difference <= limit:
        raise RuntimeError(
            f"{checkpoint}: the merged model is not the trained policy: log-probabilities differ by {difference:.3g} "
            f"on average, more than {limit:g}"
        )
    log.info("%s: log-probabilities differ by %.3g on average", checkpoint.name, difference)
    export_model(model, load_tokenizer(start), out)
    return difference


def merged_state(actor: Path) -> dict[str, Tensor]:
    """The whole tensors of a checkpoint's shards, in the precision they were saved in.

    verl's own merger rounds to bfloat16, which a float32 policy would not survive unchanged.
    """
    world = int(json.loads((actor / "fsdp_config.json").read_text(encoding="utf-8"))["world_size"])
    shards = [_load(actor / f"model_world_size_{world}_rank_{rank}.pt") for rank in range(world)]
    return {name: _join(name, [shard[name] for shard in shards]) for name in shards[0]}


def with_adapters(model: Any, state: dict[str, Tensor], lora: Lora) -> Any:
    """The model with the adapters of a checkpoint in its weights; ValueError where they are not its adapters."""
    adapters = Adapters(model, lora)
    adapters.load_state_dict({name.removeprefix(WRAPPER): tensor for name, tensor in state.items()})
    return adapters.merged()


def load_merged(model: Any, state: dict[str, Tensor]) -> None:
    """Put the tensors into the model; ValueError where a name or a shape differs. Tied weights may be given once."""
    tensors = model.state_dict()
    unknown = sorted(set(state) - set(tensors))
    # Two names of one tensor: a checkpoint may hold either.
    covered = {tensors[name].data_ptr() for name in state if name in tensors}
    missing = sorted(name for name in tensors if name not in state and tensors[name].data_ptr() not in covered)
    shapes = sorted(name for name in state if name in tensors and tensors[name].shape != state[name].shape)
    if unknown or missing or shapes:
        raise ValueError(
            f"the checkpoint does not fit the model: unknown {unknown[:3]}, missing {missing[:3]}, other shape "
            f"{shapes[:3]}"
        )
    with torch.no_grad():
        for name, tensor in state.items():
            tensors[name].copy_(tensor)


@torch.no_grad()
def probe_difference(model: Any, probe: dict[str, Any]) -> float:
    """Mean absolute difference between a model's log-probabilities and the probe's, over the trained tokens."""
    total, count = 0.0, 0
    for row in probe["rows"]:
        ids = torch.tensor([row["prompt"] + row["response"]])
        first = len(row["prompt"])
        logits_TV = model(input_ids=ids).logits[0, first - 1 : -1].float() / (probe["temperature"] or 1.0)
        logprobs_T = torch.log_softmax(logits_TV, -1).gather(-1, ids[0, first:, None])[:, 0]
        mask_T = torch.tensor(row["mask"], dtype=torch.bool)
        total += (logprobs_T - torch.tensor(row["logprobs"]))[mask_T].abs().sum().item()
        count += int(mask_T.sum())
    return total / max(1, count)


def _load(path: Path) -> dict[str, Any]:
    """Tensors and plain values only: nothing else is unpickled."""
    import torch.distributed.tensor

    loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return loaded


def _join(name: str, shards: list[Any]) -> Tensor:
    """One tensor of its shards in the order of ranks."""
    from torch.distributed.tensor import DTensor

    if not isinstance(shards[0], DTensor):
        return torch.as_tensor(shards[0])
    placements = shards[0].placements
    assert len(placements) == 1, f"{name} is sharded over {len(placements)} dimensions of the device mesh"
    local = [shard.to_local() for shard in shards]
    if placements[0].is_replicate():
        return local[0]
    placement: Any = placements[0]
    assert placement.is_shard(), f"{name} has placement {placement}"
    return torch.cat(local, dim=placement.dim)
