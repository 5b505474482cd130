"""Hunts: random games against oracles that share no code with the package.

``python -m hunts`` (``make hunt``) plays them and prints claims made against claims refuted. A game is a text
(:mod:`hunts.drafts`): Pyomo reads it for the package, NumPy for the oracle, and a script that rebuilds it is that text.
"""
