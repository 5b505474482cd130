"""``stackpyomo fit``: a table in, parameters out, and what is wrong with either in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import MODELS, Run

import stackpyomo as sp
from models import metered_tariff

GAME, DATA = MODELS / "metered_tariff.py", MODELS / "data" / "evenings.csv"
BOUNDS = ("--parameter", "worth=0,20", "--parameter", "slope=0.2,5")


@pytest.mark.slow
def test_a_table_is_fitted(run: Run, tmp_path: Path) -> None:
    (tmp_path / "next.csv").write_text("price\n0\n1\n")
    done = run("fit", GAME, DATA, *BOUNDS, "--noise", "0.2", "--candidates", "next.csv")
    assert (done.code, done.err) == (0, "")
    assert "Identified: rank 2: all parameters." in done.out
    assert "All that explains every row within its noise: worth 3.233 … 4.232" in done.out
    assert "The most informative comes first:\n   price" in done.out


def test_tables_fit_80_columns(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = MODELS.joinpath("metered_tariff.py").read_text().replace("worth", "what_an_hour_of_light_is_worth")
    (tmp_path / "long.py").write_text(long.replace("household", "household_at_the_end_of_the_street"))
    name = "household_at_the_end_of_the_street.use"
    (tmp_path / "rows.csv").write_text(f"price,{name}\n1,3.0\n2,2.2\n3,1\n")
    (tmp_path / "next.csv").write_text("price\n0\n1\n")
    bounds = ("--parameter", "what_an_hour_of_light_is_worth=0,20", "--parameter", "slope=0.2,5")
    done = run("fit", "long.py", "rows.csv", *bounds, "--candidates", "next.csv")
    assert (done.code, done.err) == (0, "")
    assert "what_an_hour_of_light_is_worth" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_one_document(run: Run, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("price,household.use\n1,3\n")
    (tmp_path / "next.csv").write_text("price\n0\n")
    done = run("fit", GAME, "one.csv", *BOUNDS, "--build", "worth=7", "--json", "-", "--candidates", "next.csv")
    document = json.loads(done.out)
    assert done.code == 1, "a combination is open"
    direction = document["fit"]["null_space"][0]
    assert direction["worth"] / direction["slope"] == pytest.approx(3.0)
    assert document["next"][0]["gain"] == "inf"


def test_rows_under_a_rule(run: Run, tmp_path: Path) -> None:
    """u = 9/11 under the rule for (7, 2), and 4 at no price: (4, 1)."""
    game = metered_tariff.build(7.0, 2.0)
    rule = sp.affine_incentive(sp.leader_optimal(game))
    document = {"plan": rule.plan.as_dict(), "incentive": rule.as_dict()}
    (tmp_path / "rule.json").write_text(json.dumps(document))
    (tmp_path / "rows.csv").write_text(f"price,household.use,rule\n,{9 / 11!r},bill\n0,4,\n")
    done = run("fit", GAME, "rows.csv", *BOUNDS, "--rule", "bill=rule.json", "--json", "-")
    found = json.loads(done.out)["fit"]["parameters"]
    assert found == pytest.approx({"worth": 4.0, "slope": 1.0}, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--parameter: name each to be fitted"),
        (("--parameter", "worth=0,20", "--parameter", "slope"), "all with bounds (name=lower,upper) or none"),
        (("--parameter", "worth=low,high"), "--parameter worth=low,high: expected lower,upper, two numbers"),
        (("--parameter", "worht"), "Did you mean worth?"),
        ((*BOUNDS, "--rule", "bill=gone.json"), "gone.json: cannot be read"),
        ((*BOUNDS, "--rule", f"bill={DATA}"), "is not what solve --json writes"),
        ((*BOUNDS, "--candidates", "gone.csv"), "gone.csv: cannot be read as CSV"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: tuple[str, ...], message: str, run: Run) -> None:
    done = run("fit", GAME, DATA, *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert len(done.err.splitlines()) == 1
