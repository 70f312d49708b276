"""JSON numbers as Deepgram writes them: the shortest decimal that reads back as the same float32.

Takes any finite float, gives its text. Observed in every float of the real responses: ``0.79999995``, ``14.0`` (``14``
only in one that has been through JavaScript), and never the ``0.019999999552965164`` of a float32 printed as a double.
"""

from __future__ import annotations

import struct
from decimal import Decimal

_FLOAT32 = struct.Struct("<f")
_pack, _unpack = _FLOAT32.pack, _FLOAT32.unpack

# Six digits survive the way through a normal float32 and back (FLT_DIG): a decimal of fewer is what six digits
# show, less zeros.
_SMALLEST_NORMAL = 2.0**-126
_DIGITS = range(6, 10)
_DIGITS_SUBNORMAL = range(1, 10)


def float32(x: float) -> float:
    """The nearest float32, as a Python float. ValueError when ``x`` is beyond the largest one."""
    try:
        rounded: float = _unpack(_pack(x))[0]
    except OverflowError:
        raise ValueError(f"{x!r} does not fit into a float32") from None
    return rounded


def number(x: float) -> str:
    """The shortest decimal that round-trips through float32, as JSON: never an exponent, and ``.0`` on whole numbers.

    ValueError unless finite. (At three powers of two, 2**-96, 2**87 and 2**90, there is one that is a digit shorter.)
    """
    value = float32(x)
    if value - value != 0.0:
        raise ValueError(f"{x!r} is not a number that JSON can hold")
    text = _shortest(value)
    if "e" in text:
        text = f"{Decimal(text):f}"
    return text if "." in text else text + ".0"


def _shortest(value: float) -> str:
    for digits in _DIGITS if abs(value) >= _SMALLEST_NORMAL else _DIGITS_SUBNORMAL:
        text = f"{value:.{digits}g}"
        try:
            if _unpack(_pack(float(text)))[0] == value:
                return text
        except OverflowError:  # rounded up, beyond the largest float32
            continue
    raise AssertionError(f"nine digits tell any float32 from its neighbours, but not {value!r}")
