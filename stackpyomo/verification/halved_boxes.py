"""Boxes: convexity by the least eigenvalue of second derivatives, over boxes that are halved where it is not seen.

    λ_min(∂²f(x)) ≥ 0 for all x of every part of the box   ⇒   f is convex on the box

A part's bound is that of :func:`stackpyomo.families.least_eigenvalues`. Where the diagonal is negative throughout a
part f is not convex, and nothing more is asked. A side without an end is parted ever farther out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pyomo.core.base.var import VarData

from stackpyomo.core import Array, box_of
from stackpyomo.families import Forms, Ranges, Tree, gathered, least_eigenvalues, swept

_WIDEST = 6  # Variables of one follower up to which its box is halved.
_HALVINGS = 9  # Of one follower's box.

Bends = Callable[[Array, Array, Array], tuple[Array, Array]]


def bend_up(bends: Bends, low: Array, high: Array, reaches: Array, halvings: int) -> Array:
    """(members) whose function is proved convex on its box, low to high (members × variables).

    bends: (numbers of members, low, high) → ranges of their second derivatives over these boxes; of a member it is
    asked for all its parts at once. reaches: in what the sides of a box are measured.
    """
    proved = np.ones(len(low), dtype=bool)
    members: Array = np.arange(len(low))
    for left in range(halvings, -1, -1):
        ends = bends(members, low, high)
        unclear = ~(least_eigenvalues(*ends) >= 0.0)
        bent = (np.einsum("kii->ki", ends[1]) < 0.0).any(axis=1)
        proved[members[unclear & (bent | (left == 0))]] = False
        rest = unclear & proved[members]
        if not rest.any():
            break
        members, low, high = members[rest], low[rest], high[rest]
        each, longest = np.arange(len(members)), ((high - low) / reaches[members]).argmax(axis=1)
        lower, upper = low.copy(), high.copy()
        step = reaches[members][each, longest] * 2.0 ** (halvings - left)
        lower[each, longest] = upper[each, longest] = _between(low[each, longest], high[each, longest], step)
        members, low, high = (np.concatenate(pair) for pair in ((members, members), (low, lower), (upper, high)))
    return proved


def _between(low: Array, high: Array, step: Array) -> Array:
    """The middle; a step from the one end that there is, 0 where there is none."""
    with np.errstate(invalid="ignore"):
        ends = [np.isfinite(low) & np.isfinite(high), np.isfinite(low), np.isfinite(high)]
        return np.select(ends, [(low + high) / 2.0, low + step, high - step], 0.0)


def bends_up_on_box(cost: Any, variables: Sequence[VarData]) -> bool:
    """True if the cost is proved convex in these, its only variables, between their bounds."""
    low, high = box_of(variables)
    if len(variables) > _WIDEST:
        return False
    families, unread = gathered([(0, cost, 1.0)], {id(v): i for i, v in enumerate(variables)})
    if unread:
        return False
    slots = [family.columns[:, member] for family in families for member in range(len(family.rows))]
    parts = [
        (family.tree, family.numbers[:, member], float(family.factors[member]))
        for family in families
        for member in range(len(family.rows))
    ]
    boxes = [Ranges(low[[k]], high[[k]]) for k in range(len(variables))]
    return all(_bends_up(*part, [boxes[c] for c in columns]) for part, columns in zip(parts, slots, strict=True))


def _bends_up(tree: Tree, numbers: Array, factor: float, boxes: Sequence[Ranges]) -> bool:
    """Of factor · tree, in its affine forms; in its own Vars where that does not show it."""
    known = Forms(numbers.tolist())
    rewritten = known.rewritten(tree)
    spans = [_total([boxes[slot] * slope for slot, slope in form.items()]) for form in known.forms]
    return _shown(rewritten, numbers, factor, spans) or _shown(tree, numbers, factor, boxes)


def _total(parts: Sequence[Ranges]) -> Ranges:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _shown(tree: Tree, numbers: Array, factor: float, spans: Sequence[Ranges]) -> bool:
    """Whether factor · tree is shown to bend up while its Vars are in these ranges."""
    if not spans:
        return True
    low, high = (np.stack([side for span in spans for side in [getattr(span, end)]], axis=1) for end in ("low", "high"))
    data = [Ranges.of(number) for number in numbers]

    def bends(_members: Array, low: Array, high: Array) -> tuple[Array, Array]:
        shape = (len(low), len(spans), len(spans))
        least, most = np.zeros(shape), np.zeros(shape)
        _, _, bend = swept(tree, data, [Ranges(low[:, k], high[:, k]) for k in range(len(spans))])
        for (a, b), entry in bend.items():
            span = Ranges.of(entry) * factor
            for one, other in {(a, b), (b, a)}:
                least[:, one, other], most[:, one, other] = span.low, span.high
        return least, most

    widths = np.where((high > low) & np.isfinite(high - low), high - low, 1.0)
    return bool(bend_up(bends, low, high, widths, _HALVINGS).all())
