"""Many linear systems that share their matrices: ``(G + t_i M) z_i = r_i`` for all ``i`` at once."""

from __future__ import annotations

import torch
from torch import Tensor

#: Largest relative change that the last refinement step may make before a system is solved on its own.
TOLERANCE = 1e-9


class ShiftedSystems:
    """Solves ``(G + t_i M) z_i = r_i`` for any number of shifts from one eigendecomposition.

    With ``B = G + t̄ M = L Lᵀ`` for a shift ``t̄`` in the middle of the ``t_i`` and ``L⁻¹ M L⁻ᵀ = U Λ Uᵀ``, every
    system is diagonal: ``G + t_i M = L U (1 + (t_i − t̄) Λ) Uᵀ Lᵀ``. Whitening by ``B`` instead of ``M`` needs neither
    ``M`` nor ``G`` to be regular; rows and columns are first scaled to a unit diagonal. Solutions are refined against
    the original matrices, which also measures their error: what does not settle is solved by its own Cholesky factor,
    and singular systems by least squares of minimum norm (after the scaling).
    """

    def __init__(self, gram: Tensor, diagonal: Tensor, vector: Tensor | None, middle: float) -> None:
        """Decompose the matrices.

        Args:
            gram: ``G``, symmetric positive semi-definite, shape ``(m, m)``, float64.
            diagonal: Diagonal part of ``M``, non-negative, shape ``(m,)``.
            vector: Rank-one part of ``M`` as ``v`` in ``v vᵀ``, shape ``(m,)``, or ``None``.
            middle: The shift ``t̄ > 0`` in the middle of those to come.
        """
        self._gram, self._diagonal, self._vector, self._middle = gram, diagonal, vector, middle
        base = self._matrix(middle)
        self._scale = _unit_scale(base)
        base = base * self._scale * self._scale[:, None]
        factor, failed = torch.linalg.cholesky_ex(base)
        self.regular = not failed and _regular(factor)
        if not self.regular:
            return
        share = torch.diag(diagonal * self._scale.square())
        if vector is not None:
            share += torch.outer(vector * self._scale, vector * self._scale)
        half = torch.linalg.solve_triangular(factor, share, upper=False)
        white = torch.linalg.solve_triangular(factor, half.T, upper=False)
        self._values, vectors = torch.linalg.eigh((white + white.T) / 2)
        # L⁻ᵀ U, with the scaling folded in: z = basis · (basisᵀ r) / (1 + (t − t̄) Λ)
        self._basis = torch.linalg.solve_triangular(factor.T, vectors, upper=True) * self._scale[:, None]

    def rough(self, shifts: Tensor, right: Tensor) -> Tensor:
        """The solutions without refinement, shape ``(m, q)``; only when ``regular``."""
        spectrum = 1 + (shifts - self._middle) * self._values[:, None]
        return self._basis @ ((self._basis.T @ right) / spectrum.clamp_min(1e-300))

    def solve(self, shifts: Tensor, right: Tensor) -> Tensor:
        """Solve for shifts ``t`` of shape ``(q,)`` and right sides of shape ``(m, q)``; returns shape ``(m, q)``."""
        solution = torch.zeros_like(right)
        wrong = torch.ones_like(shifts, dtype=torch.bool)
        if self.regular:
            solution = self.rough(shifts, right)
            for _ in range(3):
                change = self.rough(shifts, right - self._product(shifts, solution))
                solution = solution + change
                size = (solution / self._scale[:, None]).norm(dim=0)
                wrong = ~((change / self._scale[:, None]).norm(dim=0) <= TOLERANCE * size)  # also true for NaN
                if not wrong.any():
                    break
            wrong &= right.abs().amax(0) > 0
        for i in wrong.nonzero().flatten().tolist():
            solution[:, i] = solve_one(self._matrix(shifts[i]), right[:, i, None])[:, 0]
        return solution

    def explained(self, shifts: Tensor, right: Tensor) -> Tensor:
        """``2 zᵀr − zᵀGz``, what every solution explains as a fit, shape ``(q,)``; only when ``regular``."""
        penalty = self._values.clamp_min(0)[:, None]
        fit = (1 - self._middle * penalty).clamp_min(0)
        spectrum = (fit + shifts * penalty).clamp_min(1e-300)
        return ((self._basis.T @ right).square() * (2 * spectrum - fit) / spectrum.square()).sum(0)

    def _matrix(self, shift: Tensor | float) -> Tensor:
        matrix = self._gram + torch.diag(shift * self._diagonal)
        return matrix if self._vector is None else matrix + shift * torch.outer(self._vector, self._vector)

    def _product(self, shifts: Tensor, solution: Tensor) -> Tensor:
        shifted = shifts * solution
        product = self._gram @ solution + self._diagonal[:, None] * shifted
        return product if self._vector is None else product + torch.outer(self._vector, self._vector @ shifted)


def solve_one(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve one symmetric positive semi-definite system by Cholesky, or by least squares of minimum norm if singular.

    Args:
        matrix: Shape ``(m, m)``.
        right: One or more right-hand sides, shape ``(m, k)``.

    Returns:
        Shape ``(m, k)``.
    """
    scale = _unit_scale(matrix)[:, None]
    matrix, right = matrix * scale * scale.T, right * scale
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if not failed and _regular(factor):
        return torch.cholesky_solve(right, factor) * scale
    values, vectors = torch.linalg.eigh(matrix)
    good = values > len(matrix) * torch.finfo(matrix.dtype).eps * values[-1].clamp_min(1e-300)
    inverse = torch.where(good, values, 1.0).reciprocal() * good
    return vectors @ (inverse[:, None] * (vectors.T @ right)) * scale


def _unit_scale(matrix: Tensor) -> Tensor:
    """Factors that give a matrix a unit diagonal; 1 where the diagonal is zero."""
    scale = matrix.diagonal().clamp_min(0).sqrt()
    return torch.where(scale > 0, scale, 1.0).reciprocal()


def _regular(factor: Tensor) -> bool:
    """False where a Cholesky factor of a matrix with unit diagonal is rounding error somewhere."""
    return bool(factor.diagonal().min() > len(factor) ** 0.5 * 1.5e-8)
