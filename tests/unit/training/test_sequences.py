"""How sequences share passes."""

from __future__ import annotations

import pytest

from mrsearch.training.sequences import micro_batches


def test_micro_batches_by_count_and_by_padded_tokens() -> None:
    lengths = [2, 3, 3, 5, 9, 4]
    assert micro_batches(lengths, 4, None) == [range(4), range(4, 6)]
    # 2, 3, 3 are 9 tokens padded, with 5 they would be 20; 5 and 9 would be 18; 9 and 4 too.
    assert micro_batches(lengths, 4, 10) == [range(3), range(3, 4), range(4, 5), range(5, 6)]
    assert micro_batches(lengths, 4, 18) == [range(3), range(3, 5), range(5, 6)]
    assert micro_batches([], 4, 10) == micro_batches([], 4, None) == []
    with pytest.raises(ValueError, match=r"max_token_len_per_gpu \(8\) has no room for 9 tokens"):
        micro_batches(lengths, 4, 8)
