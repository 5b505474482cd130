"""Sphinx: MyST pages, the reference out of the docstrings, figures and command-line help made at build time."""

from __future__ import annotations

import html
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from pygments.lexers.special import TextLexer
from sphinx.util import logging

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # the package of this checkout, and models, which is not installed

import stackpyomo  # noqa: E402

project = "stackpyomo"
author = "The stackpyomo developers"
copyright = author
version = release = stackpyomo.__version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc", "sphinx_copybutton"]
nitpicky = True
# Names of Python, NumPy, pandas and Pyomo in signatures; what is ours has to be found.
nitpick_ignore_regex = [(r"py:(class|obj|data)", r"(?!stackpyomo).*")]

myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_dmath_allow_space = myst_dmath_allow_digits = False  # 4 $/MWh is money
myst_heading_anchors = 3

html_math_renderer = "mathml"  # see below: nothing is fetched, neither now nor by a reader
html_theme = "furo"
html_title = f"stackpyomo {release}"
html_theme_options = {"light_css_variables": {"code-font-size": "81%"}}
html_static_path, html_css_files = ["site.css"], ["site.css"]
html_copy_source = False
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
numpydoc_show_class_members = False  # autodoc lists them
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"
pygments_style = "default"

logger = logging.getLogger(__name__)

RESULTS = ("Comparison", "Follower", "Incentive", "Plan", "RandomGain", "RandomTarget", "Report", "Tolerances")
"""Classes that functions return: how they are made is nobody's concern."""

_ROLE = re.compile(r":(class|func|meth|mod|attr|data|exc):`([^`<>]+)`")
_KEPT = re.compile(r"(``.+?``|:\w+:`[^`]+`|`[^`]+`_*)")
_SPECIAL = re.compile(r"([*|]|(?<=\w)_(?!\w))")


def _linked(match: re.Match[str]) -> str:
    """Public names point to where they are documented, the package's inner ones become code."""
    role, target = match.groups()
    first = target.lstrip("~").split(".")[0]
    if first in stackpyomo.__all__:
        return f":{role}:`{target} <stackpyomo.{target}>`"
    own = role == "meth" and "." not in target
    return match.group() if first == "stackpyomo" or own else f"``{target}``"


def _plain(line: str) -> str:
    """One line of a docstring: u*, |x| and x_ are mathematics and no markup."""
    parts = _KEPT.split(line)
    return "".join(_ROLE.sub(_linked, part) if i % 2 else _SPECIAL.sub(r"\\\1", part) for i, part in enumerate(parts))


def _render(_app: Any, _what: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    """Docstrings are written to be read in a terminal: indented blocks are shown as they stand."""
    shown: list[str] = []
    for text in "\n".join(lines).split("\n\n"):
        block = text.strip("\n").split("\n")
        if text.startswith("    "):
            shown += [".. code-block:: text", "", *block, ""]
        else:
            shown += [*(block if ">>> " in text else map(_plain, block)), ""]
    lines[:] = shown


def _short(_app: Any, what: str, name: str, _thing: Any, _options: Any, _signature: Any, returns: Any) -> Any:
    return ("", returns) if what == "class" and name.split(".")[-1] in RESULTS else None


def _found(app: Any, env: Any, node: Any, content: Any) -> Any:
    """stackpyomo.plans.plan.Plan, as annotations have it, is documented as stackpyomo.Plan; inner names are plain."""
    target = node.get("reftarget", "")
    module, _, name = target.rpartition(".")
    if node.get("refdomain") != "py" or not target.startswith("stackpyomo."):
        return None
    if name in stackpyomo.__all__ and module != "stackpyomo":
        domain = env.get_domain("py")
        return domain.resolve_xref(env, node["refdoc"], app.builder, "class", f"stackpyomo.{name}", node, content)
    if node.get("reftype") == "mod":
        return content if importlib.util.find_spec(target) else None
    return content if hasattr(sys.modules.get(module), name) else None


def _mathml(writer: Any, node: Any, block: bool) -> None:
    """Mathematics as MathML, which browsers draw by themselves."""
    text = re.sub(r"frac(\d)(\d)", r"frac{\1}{\2}", node.astext()).replace(r"\textstyle", "")
    text = re.sub(r"(?<=[\w}])'+", lambda found: "^{" + r"\prime" * len(found[0]) + "}", text)
    text = re.sub(r"\\(hat|bar|tilde|overline)\s*(\{[^{}]*\}|\w)(?=[_^])", r"\\\1 \2{}", text)
    if "`" in text or "**" in text:
        logger.warning("%s...: no mathematics; write \\$ for money", text[:30], location=node)
    try:
        shown = tex2mathml(text, as_block=block)
    except MathError as error:
        logger.warning("%s: %s", node.astext().strip(), error, location=node)
        shown = f"<code>{html.escape(node.astext())}</code>"
    writer.body.append(f'<div style="padding: 0.4em 0">{shown}</div>' if block else shown)
    raise nodes.SkipNode


def _trimmed(_app: Any, doctree: Any) -> None:
    """The empty line that ends the results of a doctest is no part of it."""
    for node in doctree.findall(nodes.literal_block):
        text = node.rawsource.rstrip()
        if node.rawsource == node.astext() != text:
            node.rawsource, node[:] = text, [nodes.Text(text)]


class CommandHelp(Directive):
    """``.. command-help:: solve``: what ``stackpyomo solve --help`` prints."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        from typer.testing import CliRunner

        from stackpyomo.cli.entry import app

        width = {"COLUMNS": "84", "TERMINAL_WIDTH": "84", "NO_COLOR": "1", "TERM": "dumb"}
        shown = CliRunner().invoke(app, [*self.arguments, "--help"], prog_name="stackpyomo", env=width)
        if shown.exit_code:
            raise self.error(f"stackpyomo {' '.join(self.arguments)} --help: exit code {shown.exit_code}")
        text = "\n".join(line.rstrip() for line in shown.output.splitlines()).strip("\n")
        return [nodes.literal_block(text, text, language="text")]


class SolverTable(Directive):
    """``.. solver-table::``: what the registry knows of every solver."""

    def run(self) -> list[nodes.Node]:
        from docutils.statemachine import StringList

        from stackpyomo.solvers import registry

        lines = [".. list-table::", "   :header-rows: 1", "", "   * - name", "     - takes", "     - how to get it"]
        for name, solver in registry.items():
            how = re.sub(r"`([^`]+)`", r"``\1``", solver.install).replace('"', "``")
            lines += [f"   * - ``{name}``", f"     - {', '.join(sorted(solver.classes))}", f"     - {how}"]
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, "registry"), self.content_offset, holder)
        return holder.children


def _figures(_app: Any) -> None:
    spec = importlib.util.spec_from_file_location("figures", HERE / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    figures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figures)
    figures.draw_all(HERE / "_figures")


def setup(app: Any) -> None:
    """What this site adds to Sphinx."""
    app.add_lexer("gams", TextLexer)
    app.add_directive("command-help", CommandHelp)
    app.add_directive("solver-table", SolverTable)
    inline, block = ((lambda writer, node, b=b: _mathml(writer, node, b), None) for b in (False, True))
    app.add_html_math_renderer("mathml", inline, block)
    app.connect("builder-inited", _figures)
    app.connect("doctree-read", _trimmed)
    app.connect("autodoc-process-docstring", _render, priority=400)  # before numpydoc
    app.connect("autodoc-process-signature", _short)
    app.connect("missing-reference", _found)
