"""Options that commands share: each with its name and its help, said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = [
    "CertificateOption",
    "ContractOption",
    "EquilibriumOption",
    "GameArgument",
    "JobsOption",
    "JsonOption",
    "LimitOption",
    "LogOption",
    "ParameterOption",
    "PlanOption",
    "ReportOption",
    "SeedOption",
    "SettingOption",
    "SolverOption",
    "StartsOption",
    "TiesOption",
    "TreatmentOption",
]

GameArgument: TypeAlias = Annotated[Path, typer.Argument(help="A JSON game file, or a Python file with build().")]

SolverOption: TypeAlias = Annotated[str, typer.Option("--solver", help="auto, pounce, ipopt, cyipopt, highs, scip, …")]

TreatmentOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--complementarity",
        help="How responding followers are written: auto, scholtes, fischer-burmeister, penalty, big-m, sos1.",
    ),
]

ParameterOption: TypeAlias = Annotated[
    list[str] | None, typer.Option("--parameter", help="name=value for build(), as JSON or plain text; repeatable.")
]

SettingOption: TypeAlias = Annotated[
    list[str] | None, typer.Option("--option", help="name=value for the solver of --solver; repeatable.")
]

PlanOption: TypeAlias = Annotated[
    Path | None, typer.Option("--plan", help="A plan as JSON, or what solve --json wrote.")
]

CertificateOption: TypeAlias = Annotated[
    Path | None, typer.Option("--certificate", help="Write a proof to this file, for stackpyomo check.")
]

ContractOption: TypeAlias = Annotated[
    Path | None, typer.Option("--contract", help="Write the terms of the contract to this CSV file.")
]

StartsOption: TypeAlias = Annotated[int, typer.Option("--starts", help="Starting points for each plan.", min=1)]

SeedOption: TypeAlias = Annotated[
    int, typer.Option("--seed", help="Seed of whatever is random: the same seed, the same results.", min=0)
]

TiesOption: TypeAlias = Annotated[
    str, typer.Option(help="Who is favoured where a follower is indifferent: optimistic (the leader) or pessimistic.")
]

EquilibriumOption: TypeAlias = Annotated[
    str, typer.Option(help="Which equilibrium the followers play: auto, any or variational.")
]

JobsOption: TypeAlias = Annotated[int, typer.Option("--jobs", help="Games solved side by side.", min=1)]

LimitOption: TypeAlias = Annotated[float, typer.Option("--time-limit", help="Seconds for each game.")]

JsonOption: TypeAlias = Annotated[
    str | None, typer.Option("--json", help="Write one JSON document to this file; -: to standard output.")
]

ReportOption: TypeAlias = Annotated[Path | None, typer.Option("--report", help="Write an HTML page to this file.")]

LogOption: TypeAlias = Annotated[
    str | None, typer.Option("--log", help="Write the log to this file; -: to standard error.")
]
