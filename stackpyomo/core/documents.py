"""Markup: a short document of paragraphs, lists and tables as plain text, Markdown, LaTeX and HTML.

LaTeX is a fragment for any document class, without packages of its own; what is special to a format is escaped. Who has
``parts`` gets all formats by being a :class:`Document`.
"""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from .tolerances import TOLERANCES

_MARKDOWN = str.maketrans({"\n": " ", **{sign: f"\\{sign}" for sign in "\\`*_[]<>|~"}})
_LATEX = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{sign: f"${sign}$" for sign in "<>|"},
        **{sign: f"{{{sign}}}" for sign in "[]"},  # after \\ and \item a bracket begins an option
        "−": "$-$",
        "·": r"$\cdot$",
        "²": "$^2$",
        "…": r"\ldots{}",
        "—": "---",
        "ε": r"$\varepsilon$",
        "τ": r"$\tau$",
        "₀": "$_0$",
        "∞": r"$\infty$",
        "≤": r"$\leq$",
        "≥": r"$\geq$",
        "×": r"$\times$",
        "→": r"$\to$",
    }
)
SHOWN = 40  #: Rows or names that are printed.


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings; the first column is words, the others are numbers and stand to the right."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Collection[str] = ()  #: Headings of further columns of words.

    @property
    def left(self) -> list[bool]:
        """For each column whether it stands to the left."""
        return [number == 0 or heading in self.words for number, heading in enumerate(self.headings)]


Part: TypeAlias = str | list[str] | Table  #: A paragraph, a list of formulas, or a table.


def cut(name: str, most: int) -> str:
    """A long name without its middle: what tells names apart is at the ends."""
    half = most // 2
    return name if len(name) <= most else f"{name[: most - half - 1]}…{name[-half:]}"


class Document(ABC):
    """A result that is shown in parts: Markdown and LaTeX for a paper, HTML in a notebook."""

    @abstractmethod
    def parts(self) -> list[Part]:
        """What is printed, as sentences and tables."""

    def to_markdown(self) -> str:
        """Text and tables as Markdown."""
        return as_markdown(self.parts())

    def to_latex(self) -> str:
        """Text and tables as a LaTeX fragment that needs no packages."""
        return as_latex(self.parts())

    def _repr_html_(self) -> str:
        return as_html(self.parts())


def as_text(parts: Iterable[Part]) -> str:
    """For a terminal: lists and tables indented."""
    return "\n".join(_text(part) for part in parts)


def _text(part: Part) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, list):
        return "\n".join(f"  {item}" for item in part)
    widths = [max(map(len, column)) for column in zip(part.headings, *part.rows, strict=True)]
    lines = []
    for row in (part.headings, *part.rows):
        places = zip(row, widths, part.left, strict=True)
        cells = [cell.ljust(width) if left else cell.rjust(width) for cell, width, left in places]
        lines.append(f"  {'  '.join(cells)}".rstrip())
    return "\n".join(lines)


def as_markdown(parts: Iterable[Part]) -> str:
    """GitHub's Markdown: formulas as code, tables with pipes."""
    return "\n\n".join(_markdown(part) for part in parts) + "\n"


def _markdown(part: Part) -> str:
    if isinstance(part, str):
        return part.translate(_MARKDOWN)
    if isinstance(part, list):
        return "\n".join(f"- `{item.replace('`', chr(39))}`" for item in part)
    rule = ["---" if left else "---:" for left in part.left]
    cells = [[cell.translate(_MARKDOWN) for cell in row] for row in (part.headings, *part.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:]))


def as_latex(parts: Iterable[Part]) -> str:
    """A LaTeX fragment: paragraphs, itemize, tabular."""
    return "\n\n".join(_latex(part) for part in parts) + "\n"


def _latex(part: Part) -> str:
    if isinstance(part, str):
        return part.translate(_LATEX)
    if isinstance(part, list):
        items = (rf"  \item {item.translate(_LATEX)}" for item in part)
        return "\n".join([r"\begin{itemize}", *items, r"\end{itemize}"])
    head, *rows = (
        f"  {' & '.join(cell.translate(_LATEX) for cell in row)} \\\\" for row in (part.headings, *part.rows)
    )
    columns = "".join("l" if left else "r" for left in part.left)
    hline = r"  \hline"
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", hline, head, hline, *rows, hline, r"\end{tabular}"])


def as_html(parts: Iterable[Part]) -> str:
    """An HTML fragment."""
    return "".join(_html(part) for part in parts)


def _html(part: Part) -> str:
    if isinstance(part, str):
        return f"<p>{html.escape(part)}</p>"
    if isinstance(part, list):
        return f"<ul>{''.join(f'<li><code>{html.escape(item)}</code></li>' for item in part)}</ul>"
    head, *rows = (_html_row("th", part.headings, part.left), *(_html_row("td", row, part.left) for row in part.rows))
    region = f'role="region" aria-label="Table: {html.escape(", ".join(part.headings))}"'
    table = f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<div class="wide" style="overflow-x:auto" tabindex="0" {region}>{table}</div>'


def _html_row(tag: str, row: Sequence[str], left: Sequence[bool]) -> str:
    """Cells of words after the first one say so, for a style sheet to see."""
    kinds = ["", *(' class="words"' if words else "" for words in left[1:])]
    cells = (f"<{tag}{kind}>{html.escape(cell)}</{tag}>" for cell, kind in zip(row, kinds, strict=True))
    return f"<tr>{''.join(cells)}</tr>"


def shown(value: float, digits: int = 10) -> str:
    """A number as people read it: what is rounding of a solver is 0."""
    return f"{0.0 if abs(value) <= TOLERANCES.noise else value:.{digits}g}"


def head(values: Mapping[str, float], most: int = SHOWN) -> Iterator[tuple[str, float]]:
    """The first entries, as many as are printed."""
    return islice(values.items(), most)


def listed(names: Sequence[str], most: int = 6, count: int | None = None) -> str:
    """count: how many there are, where ``names`` are only the first of them."""
    count = len(names) if count is None else count
    return ", ".join(names[:most]) + (f", … ({count} in all)" if count > most else "")
