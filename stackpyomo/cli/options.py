"""Options that commands share: what the help says of each, by the name of the parameter that receives it.

A parameter without a default is an argument; ``json_to`` is ``--json``, as every path that is written.
"""

from __future__ import annotations

__all__ = ["HELP", "LEAST"]

HELP = {
    "allow_nonconvex": "Let followers respond who are proved nonconvex.",
    "build": "name=value for build(); repeatable.",
    "candidates": "A CSV file of what could be announced next, ranked by what it would reveal.",
    "catalogue": "A JSON list of games, each with its reference.",
    "certificate": "What solve --certificate wrote.",
    "certificate_to": "Write a proof to this file, for stackpyomo check.",
    "certify": "auto, proof, or one kind of evidence alone: convex, global, multistart.",
    "common": "With --second-best: an indexed leader Var whose entries announce one rule; repeatable.",
    "complementarity": "For responding followers: auto, scholtes, fischer-burmeister, penalty, big-m, sos1.",
    "contract_to": "Write the terms of the contract to this CSV file.",
    "curvature": "auto, none, or the least curvature of each follower's cost under the rule.",
    "dask": "A scheduler, tcp://host:port, or local[:n]: n workers on this machine.",
    "data": "A CSV file: a row for each time, columns by component name.",
    "design": "slopes (first-order conditions), deviations (whatever the problems), or auto: slopes first.",
    "equilibrium": "Which equilibrium the followers play: auto, any or variational.",
    "free": "A leader variable whose value on the plan may be chosen anew; repeatable.",
    "gain_bounds": "low,high for every gain, or VARIABLE=low,high; repeatable; a side may be empty.",
    "game": "A JSON game file, or a Python file with build().",
    "games": "A JSON game or list of games, or a Python file with build().",
    "incentive": "An incentive as JSON, or what solve --json wrote.",
    "jobs": "Games solved side by side.",
    "json_to": "Write one JSON document to this file; -: to standard output.",
    "log_to": "Write the log to this file; -: to standard error.",
    "margin": "What a deviation in whole actions costs at least.",
    "method": "responses, or residuals: of the optimality conditions.",
    "multipliers": "zero, or free: followers' own constraints may carry them. (default: zero)",
    "noise": "How far a reading may be off; also says which values explain every row.",
    "observe": "A Var or Expression that the leader sees; repeatable; or actions: every action.",
    "option": "name=value for the solver of --solver; repeatable.",
    "parameter": "name=value for build(), as JSON or plain text; repeatable.",
    "parquet_to": "Write the table as Parquet.",
    "payment": "A named Expression or Var of --free variables to be made least; indexed: its sum.",
    "payment_limit": "Keep --payment within this, and then make the gain least.",
    "plan": "A plan as JSON, or what solve --json wrote.",
    "plot_to": "Draw performance profiles into this file.",
    "prefer": "Among the gains that hold: energy (the least one) or sparsest.",
    "proof_seconds": "Seconds for all proofs by a global solver.",
    "quadratic": "Add a squared term where no gain is steep enough.",
    "regret": "zero, or least: the best rule where none holds every follower.",
    "report_to": "Write an HTML page to this file.",
    "responding": "A follower who answers optimally and does not serve the leader; repeatable; or all.",
    "retry_failed": "Run rows that failed again.",
    "rule": "label=FILE: the rule of the rows with that label in column rule, as solve --json wrote it.",
    "saturate": "Announce the rule cut at the leader's bounds.",
    "second_best": "Choose plan and rule together, where no rule holds the leader's optimum.",
    "seed": "Random seed: the same seed gives the same results.",
    "solver": "auto, pounce, ipopt, cyipopt, highs, scip, …",
    "starts": "Starting points for each plan.",
    "store": "Append finished rows to this file; the same command again goes on there.",
    "task": "FILE.py:function; it returns a number or a dict of results.",
    "tie_tolerance": "With --ties pessimistic: a difference in a follower's cost that is a tie.",
    "ties": "Who is favoured where a follower is indifferent: optimistic (the leader) or pessimistic.",
    "time_limit": "Seconds for each game.",
    "tolerance": "Relative distance to the reference that is as good as it.",
    "workers": "Processes; left out: this one alone.",
    "write_to": "Write the game to this JSON file, to be changed and solved.",
}

LEAST = {"jobs": 1, "seed": 0, "starts": 1, "workers": 1}  #: Smallest values.
