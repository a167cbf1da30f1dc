"""A plan as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from mrsearch.config import Study
from mrsearch.planning import memory
from mrsearch.planning.needs import listed
from mrsearch.planning.plan import GB, Plan, StageCost, Summary
from mrsearch.planning.shapes import Shape, shape_of
from mrsearch.planning.trainings import training_memory_of

HEADER = ("stage", "model", "jobs", "GPUs", "hours", "GPU hours", "disk GB", "GPU GB", "")


def plan_text(plan: Plan, rows: Sequence[StageCost], total: Summary) -> str:
    """The table, its sums, and the assumptions behind it."""
    study = plan.study
    lines = [
        *_columns([HEADER, *map(_cells, rows)]),
        "",
        _together(study, total),
        "Hours and GPU hours are of one job, and of all jobs of the row. GPU GB: on each GPU, at worst.",
        f"Card: {plan.card.name} ({plan.card.memory / GB:.0f} GB, {plan.card.flops / 1e12:.0f} TFLOP/s in bfloat16, "
        f"{plan.card.bandwidth / 1e12:.2f} TB/s). {plan.questions():,} questions, {len(study.seeds)} seeds, "
        f"{len(study.evaluation.decoding)} decodings.",
        *_memory(plan),
        "Assumed, not measured: " + ", ".join(plan.assumptions.described()) + ".",
    ]
    return "\n".join(lines)


def _memory(plan: Plan) -> list[str]:
    """What a GPU holds in a policy training, a line for each model; empty where none is trained on GPUs."""
    study = plan.study
    by_reward = any(method.train and study.training_stage(name) == "train" for name, method in study.methods.items())
    if not (by_reward and study.resources.train.gpus):
        return []
    lines = []
    for name, model in study.models.items():
        shape = shape_of(model)
        resources = study.resources.train
        trained = training_memory_of(study, shape, "train", resources.gpus * resources.nodes)
        update, generation = trained.update, trained.generation or _server_memory(plan, shape)
        lines.append(
            f"Training {name}, on each GPU: {sum(update.values()) / GB:.1f} GB in an update ({listed(update)}); "
            f"{sum(generation.values()) / GB:.1f} GB while it generates ({listed(generation)})."
        )
    return lines


def _server_memory(plan: Plan, shape: Shape) -> dict[str, float]:
    """What a GPU of verl's generation server holds."""
    verl = plan.study.training.verl
    return memory.generation_memory(shape, verl.tensor_parallel, plan.card.memory, verl.gpu_memory_utilization)


def _checkpoints(study: Study) -> int:
    return 1 + max(study.training_of(name).checkpoints_kept for name in study.methods)


def _together(study: Study, total: Summary) -> str:
    disk = f"Disk {total.disk / GB:,.0f} GB, with {_checkpoints(study)} checkpoints of every training."
    if not total.gpu_hours:
        return f"No stage asks for GPUs. {disk}"
    return (
        f"Together {total.gpu_hours:,.0f} GPU hours; on one node of {total.node} GPUs {total.node_hours:,.0f} hours, "
        f"and the retriever's {total.retriever_gpu_hours:,.0f} GPU hours beside them. {disk}"
    )


def _cells(row: StageCost) -> tuple[str, ...]:
    return (
        row.stage,
        row.model,
        str(row.jobs),
        str(row.gpus) if row.gpus else "-",
        f"{row.hours:.1f}" if row.hours else "-",
        f"{row.gpu_hours:,.0f}" if row.gpu_hours else "-",
        f"{row.disk / GB:,.1f}",
        f"{row.gpu_memory / GB:.0f}" if row.gpu_memory is not None else "-",
        row.note,
    )


def _columns(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    left_columns = (0, 1, len(widths) - 1)
    return [
        "  ".join(
            cell.ljust(width) if column in left_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
