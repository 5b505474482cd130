"""A page as a reader finds it, and games whose reports are shown."""

from __future__ import annotations

from html.parser import HTMLParser

import pyomo.environ as pyo

import stackpyomo as sp

VOID = {"meta", "br", "img", "hr", "link", "input"}


class Read(HTMLParser):
    """A page as a reader finds it: elements, ids, tables, words. Fails where a tag is not closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"style", "script"} & set(self.open):
            return
        self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    def table(self, *headings: str) -> dict[str, list[str]]:
        """First cell of a row → the others, of the tables that begin so; what is folded is joined to them."""
        found = [rows for first, *rows in self.tables if first[: len(headings)] == list(headings)]
        assert found
        return {row[0]: row[1:] for rows in found for row in rows}

    @property
    def text(self) -> str:
        return " ".join(self.words)


def verified(game: sp.Game) -> sp.Report:
    return sp.verify(sp.affine_incentive(sp.leader_optimal(game)))


def firms(count: int, name: str = "f", title: str = "firms") -> sp.Game:
    """Costs (u − 2 − i/N)² + p_i u: the leader wants 1 of everybody at no price, and charges 2 + 2 i/N."""
    m = pyo.ConcreteModel(name=title)
    m.p = pyo.Var(range(count), initialize=0.0)
    m.add_component(name, pyo.Block(range(count)))
    block = m.component(name)
    for i in range(count):
        block[i].u = pyo.Var(bounds=(0, 5))
        block[i].cost = pyo.Objective(expr=(block[i].u - 2 - i / count) ** 2 + m.p[i] * block[i].u)
    m.goal = pyo.Objective(expr=sum(m.p[i] ** 2 + (block[i].u - 1) ** 2 for i in range(count)))
    return sp.Game(m, followers=block)
