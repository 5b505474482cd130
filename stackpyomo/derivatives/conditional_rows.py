"""Conditional rows: what an improbable decision says of its unit, given that it is to be made.

Of an atom of probability p all that an expected cost J says is p times what the atom says: nothing beside what J says
of the others. For the units of such decisions J stands in two rows,

    J less the entries that they have in it,  and  those entries, each over its p,

so that the one says what it did, and the other what it would at any probability.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from stackpyomo.core import Array, row_of, with_data


@dataclass(frozen=True)
class ConditionalRows:
    """Rows of costs, then of constraints; behind them the costs once more, given what is improbable."""

    probabilities: Array  #: (columns) 1 for what is not improbable.
    costs: int  #: How many rows are costs: the first ones.

    def apart(self, matrix: sparse.csr_array) -> sparse.csr_array:
        """A Jacobian with the costs' entries of improbable columns in rows of their own, zeros kept."""
        probability = self.probabilities[matrix.indices]
        moved = (probability < 1.0) & (row_of(matrix) < self.costs)
        given = with_data(matrix, np.where(moved, matrix.data / probability, 0.0))[: self.costs]
        return sparse.csr_array(sparse.vstack([with_data(matrix, np.where(moved, 0.0, matrix.data)), given]))

    def together(self, matrix: sparse.csr_array) -> sparse.csr_array:
        """The Jacobian that :meth:`apart` took apart."""
        given = with_data(matrix, matrix.data * self.probabilities[matrix.indices])[-self.costs :]
        rest = sparse.csr_array((matrix.shape[0] - 2 * self.costs, matrix.shape[1]))
        return sparse.csr_array(matrix[: -self.costs] + sparse.vstack([given, rest]))

    def curved(self, curvature: Callable[[Array], sparse.csr_array], weights: Array) -> sparse.csr_array:
        """The second derivatives of these rows; curvature: weights of costs and constraints → theirs."""
        count = len(weights) - self.costs
        of_costs = np.arange(count) < self.costs
        limits, usual = curvature(weights[:count] * ~of_costs), curvature(weights[:count] * of_costs)
        given = curvature(np.append(weights[count:], np.zeros(count - self.costs)))
        probability = np.minimum(self.probabilities[row_of(usual)], self.probabilities[usual.indices])
        return with_data(usual, limits.data + np.where(probability < 1.0, given.data / probability, usual.data))
