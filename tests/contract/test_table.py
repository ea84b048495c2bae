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


BLANKS = st.text(st.sampled_from(" \t\r\n\u00a0\u3000\u200b\ufeff"))


@given(BLANKS, st.sampled_from("=+-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b"), st.text())
def test_no_text_is_a_formula(blanks: str, sign: str, rest: str) -> None:
    text = str(cell(blanks + sign + rest))
    assert unicodedata.normalize("NFKC", text).strip()[0] not in "=+-@"


@pytest.mark.parametrize("value", [-5, -0.5, None, True, "a=1", "person1.png", "5-1", "e\u0301"])
def test_others_are_as_they_are(value: object) -> None:
    assert cell(value) == value
