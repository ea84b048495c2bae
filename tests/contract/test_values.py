"""Integers on a stream: packed as the format says, and back; against a tiny implementation of one bit at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.values import BIPOLAR, VALUES, Values


def beat(values: list[int], kind: Values) -> bytes:
    """One beat as an integer, the first value in the low bits."""
    word = 0
    for i, value in enumerate(values):
        code = (value + 1) // 2 if kind.name == BIPOLAR else value % 2**kind.bits
        word |= code << (i * kind.bits)
    return word.to_bytes(-(-len(values) * kind.bits // 8), "little")


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(VALUES)),
    count=st.integers(1, 4),
    beats=st.integers(1, 5),
    lanes=st.integers(1, 20),
    seed=st.integers(0, 999),
)
def test_packing_is_the_definition_and_comes_back(name: str, count: int, beats: int, lanes: int, seed: int) -> None:
    kind = VALUES[name]
    values = kind.random(np.random.default_rng(seed), (count, beats * lanes))
    assert values.dtype == kind.dtype and kind.hold(values)
    packed = kind.pack(values, lanes=lanes)
    assert packed.dtype == np.uint8 and packed.shape == (count, beats * kind.beat_bytes(lanes))
    rows = values.reshape(count * beats, lanes).tolist()
    assert packed.tobytes() == b"".join(beat(row, kind) for row in rows)
    back = kind.unpack(packed, lanes=lanes)
    assert back.dtype == kind.dtype
    np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize("name", sorted(VALUES))
def test_values_outside_are_seen(name: str) -> None:
    kind = VALUES[name]
    whole = np.iinfo(kind.dtype)
    every = np.arange(whole.min, whole.max + 1).astype(kind.dtype)
    legal = {-1, 1} if name == BIPOLAR else set(range(kind.low, kind.high + 1))
    assert [kind.hold(value) for value in every[:, None]] == [int(value) in legal for value in every]
    assert kind.hold(every[:0])
