"""Numbers as text, and text as what a page or a table takes for text alone, whatever a stranger called a folder."""

import re
from collections.abc import Callable
from typing import Any

import markupsafe

from keras_acet.evaluation.results import Measured

MISSING = "–"  # noqa: RUF001
SPACE = "\N{NO-BREAK SPACE}"


def rate(value: float | None, digits: int = 3) -> str:
    """Text of a number in [0, 1] as the paper prints it, without the zero; `<` or `>` shows a rounding to 0 or 1.

    >>> rate(0.1014), rate(1), rate(0.99997), rate(0.0001), rate(0)
    ('.101', '1.000', '>.999', '<.001', '.000')
    """
    if value is None:
        return MISSING
    smallest = 10.0**-digits
    if 0 < value < smallest / 2:
        return f"<{smallest:.{digits}f}".replace("0.", ".", 1)
    if 1 - smallest / 2 <= value < 1:
        return f">{1 - smallest:.{digits}f}".replace("0.", ".", 1)
    return f"{value:.{digits}f}".removeprefix("0")


def percent(value: float | None, digits: int = 1) -> str:
    """Text of a share in [0, 1] in percent; `<` or `>` shows a rounding to 0 or 100 %.

    >>> [percent(v).replace(SPACE, " ") for v in (0, 0.0001, 0.125, 0.99999, 1)]
    ['0 %', '<0.1 %', '12.5 %', '>99.9 %', '100 %']
    """
    if value is None:
        return MISSING
    if value in (0, 1):
        return f"{100 * value:.0f}{SPACE}%"
    smallest = 10.0**-digits
    if 100 * value < smallest / 2:
        return f"<{smallest:.{digits}f}{SPACE}%"
    if 100 * value >= 100 - smallest / 2:
        return f">{100 - smallest:.{digits}f}{SPACE}%"
    return f"{100 * value:.{digits}f}{SPACE}%"


def number(value: float | None, digits: int = 3) -> str:
    """Text of any number with `digits` significant digits.

    >>> number(8.1234), number(45.31), number(3.04e15), number(1e-6), number(10000)
    ('8.12', '45.3', '3.04e15', '1e-6', '10,000')
    """
    if value is None:
        return MISSING
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def interval(measured: Measured | None, text: Callable[[float], str] = rate) -> str:
    """Text of the interval of a measured number, empty when there is none.

    >>> interval(Measured(0.5, 0.25, 0.75))
    '[.250, .750]'
    """
    if measured is None or measured.low is None or measured.high is None:
        return ""
    return f"[{text(measured.low)}, {text(measured.high)}]"


def value(measured: Measured | None) -> float | None:
    """The number itself, `None` when there is none."""
    return None if measured is None else measured.value


def markdown(value: Any) -> Any:
    """Escapes what Markdown, and the HTML in it, would take for markup; jinja2's autoescape then leaves it alone.

    >>> print(markdown("a|b <img src=x> *c* x_1 _d_"))
    a\\|b &lt;img src=x> \\*c\\* x_1 \\_d\\_
    """
    if hasattr(value, "__html__"):
        return value
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    text = re.sub(r"[\\`*\[\]|~$]", r"\\\g<0>", text)
    return markupsafe.Markup(re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text))  # within a word it is no markup


def csv_cell(value: Any) -> Any:
    """Puts an apostrophe before text that a spreadsheet would compute, and makes one line of it; numbers stay.

    >>> csv_cell("=HYPERLINK(A1)"), csv_cell("digits"), csv_cell(-0.5)
    ("'=HYPERLINK(A1)", 'digits', -0.5)

    Source: OWASP, "CSV Injection".
    """
    if not isinstance(value, str):
        return value
    line = re.sub(r"[\x00-\x1f\x7f]", " ", value)
    return f"'{line}" if line.lstrip()[:1] in tuple(_FORMULA) else line


_FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20"  # and the wide ones of Chinese and Japanese keyboards
