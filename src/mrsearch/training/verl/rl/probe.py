"""A trained policy's log-probabilities on a few sequences, to recognise it by after export."""

from __future__ import annotations

from typing import Any

from mrsearch.training.verl.rl.batches import subset


def take(workers: Any, batch: Any, config: Any) -> dict[str, Any]:
    """Tokens, masks and log-probabilities of the policy that the workers hold now, on the shortest rows of a batch.

    Returns {"temperature", "rows": [{"prompt", "response", "mask", "logprobs"}]}.
    """
    import transfer_queue as tq
    from verl.workers.utils.padding import response_from_nested

    # The workers want whole micro-batches on every rank.
    ranks = config.trainer.nnodes * config.trainer.n_gpus_per_node
    rollout = config.actor_rollout_ref.rollout
    micro_batch_size = 1 if rollout.log_prob_use_dynamic_bsz else rollout.log_prob_micro_batch_size_per_gpu
    padding = [bool(tag.get("is_padding", False)) for tag in batch.tags]
    order = sorted(range(len(batch.keys)), key=lambda n: (padding[n], batch.tags[n]["seq_len"], batch.keys[n]))
    positions = order[: ranks * micro_batch_size]
    probed = subset(batch, positions)
    temperature = float(rollout.temperature)
    probed.extra_info |= {"calculate_entropy": False, "compute_loss": False, "temperature": temperature}
    # Left on the batch by the reference of a KL term, which is the policy without its adapters.
    probed.extra_info.pop("no_lora_adapter", None)
    workers.compute_log_prob(probed)
    fields = ["prompts", "responses", "response_mask", "log_probs"]
    data = tq.kv_batch_get(keys=probed.keys, partition_id=probed.partition_id, select_fields=fields)
    logprobs = response_from_nested(data["log_probs"], data["response_mask"])
    rows = []
    columns = [data["prompts"], data["responses"], data["response_mask"], logprobs]
    for position, (prompt, response, mask, values) in zip(
        positions, zip(*(column.unbind() for column in columns), strict=True), strict=True
    ):
        if padding[position]:
            continue
        rows.append(
            {
                "prompt": prompt.tolist(),
                "response": response.tolist(),
                "mask": mask.tolist(),
                "logprobs": values[: len(response)].tolist(),
            }
        )
    return {"temperature": temperature, "rows": rows}
