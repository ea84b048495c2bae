"""Whatever a name holds, a table's text is one printable line, and no program."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.table import cell, shown


@given(st.text(st.characters(codec=None)))
def test_a_text_is_one_line_that_every_encoding_has_signs_for(text: str) -> None:
    line = shown(text)
    line.encode()
    assert len(line.splitlines()) <= 1 and not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in line)
    if all(" " <= c <= "~" for c in text):
        assert line == text


UNSEEN = st.characters(categories=("Z", "C", "M")) | st.sampled_from("\t\n\u200b\ufeff\u2060\u3164\u2800")
BEGINS = "=+-@|%\u2212\uff1d\uff0b\uff0d\uff20\uff5c\uff05\ufe66\ufe62\ufe63\ufe6b\ufe6a"


@given(st.text(UNSEEN), st.sampled_from(BEGINS), st.text())
def test_no_text_is_a_formula(unseen: str, sign: str, rest: str) -> None:
    text = unseen + sign + rest
    assert cell(text) == f"'{shown(text)}"


@pytest.mark.parametrize("value", [-5, -0.5, None, True, "a=1", "person1.png", "5-1", "50%", "e\u0301", ""])
def test_others_are_as_they_are(value: object) -> None:
    assert cell(value) == value
