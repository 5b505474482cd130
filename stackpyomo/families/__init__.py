"""Families: many Pyomo expressions written by one rule, read once into arrays, evaluated all at once by numpy.

In: expressions, each with a number of its row. Out: families (one tree, constants and Vars as arrays), their values,
gradients, second derivatives, and ranges of these over boxes. Law: what is not understood is named, never guessed.
"""

from .functions import MANY, Forms, Functions, Written, derived, functions_among, functions_of, product
from .reader import Family, Tree, gathered
from .sweep import Ranges, least_eigenvalues, swept

__all__ = [
    "MANY",
    "Family",
    "Forms",
    "Functions",
    "Ranges",
    "Tree",
    "Written",
    "derived",
    "functions_among",
    "functions_of",
    "gathered",
    "least_eigenvalues",
    "product",
    "swept",
]
