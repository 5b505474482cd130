"""Core: what every other folder may use and what knows no game.

In: numbers, text, files. Out: tolerances, scales, tables and documents, JSON, progress bars, an orderly end on signals.
Law: imports only :mod:`stackpyomo.errors`.
"""

from .documents import SHOWN, Document, Part, Table, as_html, as_latex, as_markdown, as_text, cut, head, listed, shown
from .isolation import intercepted, undisturbed
from .limits import bounds_of, box_of, clipped, limits_of, require_positive, require_whole, sides_of, whole_points
from .progress import timed, tracked
from .scales import (
    Scales,
    confirmed_steps,
    limited_reaches,
    newton_steps,
    probes,
    scales,
    steepest_of,
    turns_well_within,
)
from .serialization import (
    fields_from_json,
    fields_to_json,
    floats,
    json_number,
    json_numbers,
    readable,
    real,
    said,
    writable,
)
from .shutdown import Terminated, end, kill, prefix, sweep, unbroken, unwinding
from .sparse import Array, Pattern, largest_by_row, matches, ranges, row_of, rows_scaled, with_data
from .tolerances import TOLERANCES, Tolerances, is_within, leaves

__all__ = [
    "SHOWN",
    "TOLERANCES",
    "Array",
    "Document",
    "Part",
    "Pattern",
    "Scales",
    "Table",
    "Terminated",
    "Tolerances",
    "as_html",
    "as_latex",
    "as_markdown",
    "as_text",
    "bounds_of",
    "box_of",
    "clipped",
    "confirmed_steps",
    "cut",
    "end",
    "fields_from_json",
    "fields_to_json",
    "floats",
    "head",
    "intercepted",
    "is_within",
    "json_number",
    "json_numbers",
    "kill",
    "largest_by_row",
    "leaves",
    "limited_reaches",
    "limits_of",
    "listed",
    "matches",
    "newton_steps",
    "prefix",
    "probes",
    "ranges",
    "readable",
    "real",
    "require_positive",
    "require_whole",
    "row_of",
    "rows_scaled",
    "said",
    "scales",
    "shown",
    "sides_of",
    "steepest_of",
    "sweep",
    "timed",
    "tracked",
    "turns_well_within",
    "unbroken",
    "undisturbed",
    "unwinding",
    "whole_points",
    "with_data",
    "writable",
]
