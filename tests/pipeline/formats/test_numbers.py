import re
import struct
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.formats.numbers import float32, number
from tests.pipeline.formats import real_responses

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_FLOAT = re.compile(r"-?\d+\.\d+")


@pytest.mark.parametrize("name", real_responses.NAMES)
def test_every_float_of_the_real_responses_is_written_as_deepgram_wrote_it(name: str) -> None:
    """Reading a float of Deepgram's and writing it again gives the very same characters."""
    literals = _FLOAT.findall(_STRING.sub('""', real_responses.text(name)))
    assert len(literals) > 50
    assert [number(float(literal)) for literal in literals] == literals


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(0.0)
@example(1e-45)
@example(3.4028234663852886e38)
@example(2.0**-126)
@example(float(np.float32(9.78993e-07)))  # six digits are enough, and seven would show another seventh
def test_numbers_are_the_shortest_that_read_back(x: float) -> None:
    """The text reads back as the same float32, is JSON, and has no more digits than numpy's shortest."""
    text = number(x)
    assert struct.pack("<f", float(text)) == struct.pack("<f", x)
    assert re.fullmatch(r"-?\d+\.\d+", text)
    shortest = Decimal(np.format_float_scientific(np.float32(x), unique=True))
    if abs(x) not in (2.0**-96, 2.0**87, 2.0**90):
        assert Decimal(text) == shortest


@given(st.floats(min_value=0, max_value=1e6))
def test_doubles_are_rounded_to_float32_first(x: float) -> None:
    """What is written is the nearest float32, whatever digits the double had."""
    assert number(x) == number(float32(x))
    assert float32(float(number(x))) == float32(x)


@pytest.mark.parametrize(
    ("x", "text"), [(14, "14.0"), (0, "0.0"), (0.8 - 2e-8, "0.79999995"), (1e-6, "0.000001"), (1e6, "1000000.0")]
)
def test_known_forms(x: float, text: str) -> None:
    """Whole numbers keep a decimal, and no exponent is ever written."""
    assert number(x) == text


@pytest.mark.parametrize("x", [float("nan"), float("inf"), -float("inf"), 1e39])
def test_what_json_cannot_hold_is_refused(x: float) -> None:
    """A number that would make the result unreadable is an error, not a literal."""
    with pytest.raises(ValueError, match=r"JSON|float32"):
        number(x)
