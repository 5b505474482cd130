"""Markup: a short document of paragraphs, lists and tables as plain text, Markdown, LaTeX and HTML.

LaTeX is a fragment for any document class, without packages of its own; what is special to a format is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Part", "Table", "as_html", "as_latex", "as_markdown", "as_text"]


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings; the first column is words, the others stand to the right."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


Part: TypeAlias = str | list[str] | Table
"""A paragraph, a list of formulas, or a table."""


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
        first, *others = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
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
    rule = ["---", *["---:"] * (len(part.headings) - 1)]
    cells = [[cell.translate(_MARKDOWN) for cell in row] for row in (part.headings, *part.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:]))


_MARKDOWN = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_[]<>|~"})


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
    columns = "l" + "r" * (len(part.headings) - 1)
    hline = r"  \hline"
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", hline, head, hline, *rows, hline, r"\end{tabular}"])


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
    }
)


def as_html(parts: Iterable[Part]) -> str:
    """An HTML fragment."""
    return "".join(_html(part) for part in parts)


def _html(part: Part) -> str:
    if isinstance(part, str):
        return f"<p>{html.escape(part)}</p>"
    if isinstance(part, list):
        return f"<ul>{''.join(f'<li><code>{html.escape(item)}</code></li>' for item in part)}</ul>"
    head, *rows = (
        "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
        for tag, row in [("th", part.headings), *(("td", row) for row in part.rows)]
    )
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in (head, *rows))}</table>"
