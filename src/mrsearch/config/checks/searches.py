"""Searches of a study reach retrievers that are there and can answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrsearch.config.choices import choices

if TYPE_CHECKING:
    from mrsearch.config.study import Study


def retriever_exists(study: Study) -> None:
    """The shared retriever is there."""
    retrieval = study.retrieval
    if retrieval.use not in retrieval.retrievers:
        raise ValueError(
            f"retrieval.use ({retrieval.use!r}) is not among retrieval.retrievers: {choices(retrieval.retrievers)}"
        )


def retrievers_of_methods_exist(study: Study) -> None:
    """Methods with a retriever of their own name one that is there."""
    retrievers = study.retrieval.retrievers
    for name, method in study.methods.items():
        if method.retrieval is not None and method.retrieval.use not in retrievers:
            raise ValueError(
                f"methods.{name}.retrieval.use ({method.retrieval.use!r}) is not among retrieval.retrievers: "
                f"{choices(retrievers)}"
            )


def compared_retrievers_exist(study: Study) -> None:
    """Retrievers that the report on retrieval compares are there, each once."""
    retrieval = study.retrieval
    for name in retrieval.compared:
        if name not in retrieval.retrievers or retrieval.compared.count(name) > 1:
            raise ValueError(
                f"retrieval.compared names {name!r}, which is not a retriever of the study or stands there twice: "
                f"{choices(retrieval.retrievers)}"
            )


def members_share_the_corpus(study: Study) -> None:
    """No retriever searches one that is not there, that has another corpus, or, over others, itself."""
    retrievers = study.retrieval.retrievers
    for name in retrievers:
        path: list[tuple[str, ...]] = [(name,)]
        while path:
            reached = path.pop()
            for member in retrievers[reached[-1]].members:
                key = f"retrieval.retrievers.{reached[-1]}.of"
                if member not in retrievers:
                    raise ValueError(
                        f"{key} names {member!r}, which is no retriever of this study: {choices(retrievers)}"
                    )
                if member in reached:
                    raise ValueError(f"{key} runs in a circle: {' -> '.join([*reached, member])}")
                if retrievers[member].kind == "remote":
                    raise ValueError(f"{key} names {member!r}, which finds passages of another corpus than the study's")
                path.append((*reached, member))


def compared_retrievers_share_the_corpus(study: Study) -> None:
    """The report on retrieval compares nothing that has another corpus."""
    for name in study.retrieval.compared:
        if study.retrieval.retrievers[name].kind == "remote":
            raise ValueError(f"retrieval.compared names {name!r}, whose passages are not the study's: leave it out")


def server_answers_topk(study: Study) -> None:
    """The server gives as many passages as agents ask for."""
    retrieval = study.retrieval
    if retrieval.topk > retrieval.service.max_topk:
        raise ValueError(
            f"retrieval.topk ({retrieval.topk}) is larger than retrieval.service.max_topk "
            f"({retrieval.service.max_topk})"
        )


def retriever_uses_its_gpus(study: Study) -> None:
    """GPUs of the retriever's job hold an index, or a cross-encoder."""
    gpus = study.resources.retriever.gpus
    if gpus and not study.gpu_indexes() and not study.reranks():
        raise ValueError(
            f"resources.retriever.gpus ({gpus}): no index of retrieval.use ({study.retrieval.use!r}) can use a "
            "GPU: set its index to torch, which searches exactly on GPUs, or resources.retriever.gpus to 0"
        )


SEARCHES = (
    retriever_exists,
    retrievers_of_methods_exist,
    compared_retrievers_exist,
    members_share_the_corpus,
    compared_retrievers_share_the_corpus,
    server_answers_topk,
    retriever_uses_its_gpus,
)
