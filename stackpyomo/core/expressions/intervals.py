"""Intervals: outer ranges of the elementary functions, rounded outward, so that what is shown of them is true.

A range is a pair (lo, hi) of floats, lo ≤ hi, that holds every finite value; an infinite end says that there is no
limit, and 0·∞ is 0. Sums and products are rounded by their own error, which floats can tell exactly; quotients go to
the next float; all other functions are mpmath's, with directed rounding. A range says nothing of poles and domains: a
function is taken where it is defined. Raises :class:`ArithmeticError` where it is defined nowhere on the range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from mpmath import libmp

Span = tuple[float, float]

_INF = math.inf

_LINE = (-_INF, _INF)

_LARGEST, _LEAST = 2.0**990, 2.0**-900  # Between these, the error of a product is a float.

_SPLIT = 2.0**27 + 1.0

_PRECISION = 53

_EXPONENT = 2.0**20  # Larger integer powers are taken by logarithms.


def negative(f: Span) -> Span:
    """The range of −f, exactly."""
    return -f[1], -f[0]


def add(f: Span, g: Span) -> Span:
    """f + g, exact where floats can be."""
    return _sum(f[0], g[0]), -_sum(-f[1], -g[1])


def _sum(a: float, b: float) -> float:
    """a + b, rounded down (Knuth's sum without error)."""
    s = a + b
    back = s - a
    error = (a - (s - back)) + (b - back)
    return s if error >= 0.0 else math.nextafter(s, -_INF)  # also where it is no number


def times(f: Span, g: Span) -> Span:
    """f·g, exact where floats can be: signs say which of the ends make the least and the largest product."""
    if f in ((0.0, 0.0), (1.0, 1.0)):
        return g if f[0] else f
    if g in ((0.0, 0.0), (1.0, 1.0)):
        return f if g[0] else g
    (a, b), (c, d) = f, g
    if not (a <= b and c <= d):  # one is no number: nothing is known
        return _LINE
    if c >= 0.0:
        least, most = (a, c if a >= 0.0 else d), (b, d if b >= 0.0 else c)
    elif d <= 0.0:
        least, most = (b, d if b <= 0.0 else c), (a, c if a <= 0.0 else d)
    elif a >= 0.0:
        least, most = (b, c), (b, d)
    elif b <= 0.0:
        least, most = (a, d), (a, c)
    else:
        return min(_product(a, d), _product(b, c)), -min(_product(-a, c), _product(-b, d))
    return _product(*least), -_product(-most[0], most[1])


def _product(a: float, b: float) -> float:
    """a·b, rounded down (Dekker's product without error)."""
    if a == 0.0 or b == 0.0:
        return 0.0
    p = a * b
    if not (_LEAST < abs(p) < _LARGEST and abs(a) < _LARGEST and abs(b) < _LARGEST):
        return p if abs(a) == _INF or abs(b) == _INF else math.nextafter(p, -_INF)
    c, d = a * _SPLIT, b * _SPLIT
    c, d = c - (c - a), d - (d - b)
    error = ((c * d - p) + c * (b - d) + (a - c) * d) + (a - c) * (b - d)
    return p if error >= 0.0 else math.nextafter(p, -_INF)


def inverse(f: Span) -> Span:
    """1/f; everything where 0 is inside."""
    lo, hi = f
    if lo == hi == 0.0:
        raise ArithmeticError("division by 0")
    if lo < 0.0 < hi:
        return _LINE
    below = -_INF if hi == 0.0 else 0.0 if math.isinf(hi) else _exact_inverse(hi, -_INF)
    above = _INF if lo == 0.0 else 0.0 if math.isinf(lo) else _exact_inverse(lo, _INF)
    return below, above


def _exact_inverse(a: float, direction: float) -> float:
    """1/a, the next float towards ``direction`` but for powers of 2."""
    b = 1.0 / a
    return b if abs(math.frexp(a)[0]) == 0.5 and not math.isinf(b) else math.nextafter(b, direction)


def root_of(factor: float, constant: float, terms: Iterable[tuple[float, Span]]) -> Span:
    """The range of the x with factor · x + Σ c · t + constant = 0, for (c, range of t); factor is not 0."""
    rest = constant, constant
    for weight, span in terms:
        rest = add(rest, times((weight, weight), span))
    return times(negative(rest), inverse((factor, factor)))


def power(f: Span, a: float) -> Span:
    """f^a: for an integer a of any f, else of f ≥ 0."""
    lo, hi = f
    if a in (0.0, 1.0):
        return f if a else (1.0, 1.0)
    if a == 2.0:
        size = magnitude(f)
        return times(size, size) if size[0] else (0.0, times(size, size)[1])
    if not a.is_integer():
        if hi < 0.0:
            raise ArithmeticError("a fractional power of negative numbers")
        return _rising_power((max(lo, 0.0), hi), a)
    if a % 2.0 == 0.0:
        return _rising_power(magnitude(f), a)
    if a < 0.0:
        return inverse(power(f, -a))
    return _odd_power(lo, a)[0], _odd_power(hi, a)[1]


def _odd_power(t: float, a: float) -> Span:
    return _power_at(t, a) if t >= 0.0 else negative(_power_at(-t, a))


def magnitude(f: Span) -> Span:
    """|f|."""
    lo, hi = f
    return (0.0, max(-lo, hi)) if lo <= 0.0 <= hi else (lo, hi) if lo > 0.0 else (-hi, -lo)


def _rising_power(f: Span, a: float) -> Span:
    """f^a of f ≥ 0."""
    if a < 0.0:
        return inverse(_rising_power(f, -a))
    return _power_at(f[0], a)[0], _power_at(f[1], a)[1]


def _power_at(t: float, a: float) -> Span:
    if t in (0.0, 1.0, _INF):
        return t, t
    if a.is_integer() and a <= _EXPONENT:
        return _floats(libmp.mpi_pow_int(_exactly(t), int(a), _PRECISION))
    return _floats(libmp.mpi_pow(_exactly(t), _exactly(a), _PRECISION))


def _exactly(t: float) -> tuple[Any, Any]:
    number = libmp.from_float(t)
    return number, number


def _floats(ends: tuple[Any, Any]) -> Span:
    """mpmath's range in floats: what is larger or smaller than any of them is rounded outward."""
    lo, hi = (libmp.to_float(end, rnd=r) for end, r in zip(ends, (libmp.round_floor, libmp.round_ceiling), strict=True))
    return _outward(lo, -_INF, ends[0]), _outward(hi, _INF, ends[1])


def _outward(t: float, direction: float, exact: Any) -> float:
    """t, or the next float where mpmath's number is not t: underflow, overflow, gradual underflow."""
    return t if exact == libmp.from_float(t) else math.nextafter(t, direction)


def _exact(function: Callable[..., Any]) -> Callable[[Span], Span]:
    """A rising function that mpmath rounds in the direction asked for."""

    def span(f: Span) -> Span:
        low = function(libmp.from_float(f[0]), _PRECISION, libmp.round_floor)
        return _floats((low, function(libmp.from_float(f[1]), _PRECISION, libmp.round_ceiling)))

    return span


def _near(function: Callable[..., Any]) -> Callable[[Span], Span]:
    """A rising function, 0 at 0, that mpmath rounds to the nearest where it is flat or nearly t: one float wider."""
    exact = _exact(function)

    def span(f: Span) -> Span:
        lo, hi = exact(f)
        return math.nextafter(lo, -_INF) if f[0] else 0.0, math.nextafter(hi, _INF) if f[1] else 0.0

    return span


def _interval(function: Callable[..., Any]) -> Callable[[Span], Span]:
    """A function that mpmath knows on intervals."""

    def span(f: Span) -> Span:
        return _floats(function((libmp.from_float(f[0]), libmp.from_float(f[1])), _PRECISION))

    return span


def _within(function: Callable[[Span], Span], least: float, most: float) -> Callable[[Span], Span]:
    """The function on its domain [least, most]."""

    def span(f: Span) -> Span:
        if f[1] < least or f[0] > most:
            raise ArithmeticError("outside the domain")
        return function((max(f[0], least), min(f[1], most)))

    return span


def _cosh(f: Span) -> Span:
    lo, hi = _exact(libmp.mpf_cosh)(magnitude(f))
    return max(1.0, math.nextafter(lo, 0.0)), math.nextafter(hi, _INF)


_log = _within(_interval(libmp.mpi_log), 0.0, _INF)

FUNCTIONS: dict[str, Callable[[Span], Span]] = {
    "abs": magnitude,
    "exp": _exact(libmp.mpf_exp),
    "log": _log,
    "log10": lambda f: times(_log(f), inverse(_log((10.0, 10.0)))),
    "sqrt": _within(_exact(libmp.mpf_sqrt), 0.0, _INF),
    "sin": _interval(libmp.mpi_sin),
    "cos": _interval(libmp.mpi_cos),
    "tan": _interval(libmp.mpi_tan),
    "sinh": _near(libmp.mpf_sinh),
    "cosh": _cosh,
    "tanh": _near(libmp.mpf_tanh),
    "asin": _within(_near(libmp.mpf_asin), -1.0, 1.0),
    "atan": _near(libmp.mpf_atan),
}  #: By Pyomo's name.
