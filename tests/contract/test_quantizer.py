"""What real inputs may be, before integers are made of them."""

from typing import Any

import numpy as np
import pytest

from contract.quantizer import GREATEST, InputRule, is_exact

RULE = InputRule("float", "uint2", 0, ((0.5, 1.5, 2.5),))


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int64, np.uint64, np.float16, np.float32, np.float64])
def test_numbers_that_float64_holds_are_floats(dtype: Any) -> None:
    values = np.array([[0, 1, 1]], dtype=dtype)
    assert RULE.fits(values) and is_exact(values[:0])
    np.testing.assert_array_equal(RULE(values), [[0, 1, 1]])


@pytest.mark.parametrize(
    "values",
    [
        np.array([[2**53 + 1]], dtype=np.int64),
        np.array([[-(2**63)]], dtype=np.int64),
        np.array([[2**64 - 1]], dtype=np.uint64),
        np.array([[1j]]),
        np.array([["1"]]),
    ],
)
def test_others_are_not(values: Any) -> None:
    assert not is_exact(values) and not RULE.fits(values)


@pytest.mark.parametrize(
    ("thresholds", "words"),
    [
        (((-0.875, 0.25, 0.625),), "uint2 by 3 thresholds from -0.875 to 0.625"),
        (((0.0,), (0.5,)), "uint2 by 1 threshold from 0 to 0.5"),
        (((0.5,),), "uint2 by 1 threshold at 0.5"),
        (((-GREATEST, 2 * GREATEST),), "uint2 by 2 thresholds"),
    ],
)
def test_a_rule_for_people(thresholds: Any, words: str) -> None:
    assert str(InputRule("float", "uint2", 0, thresholds)) == words
