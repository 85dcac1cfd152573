"""A smooth displacement field on a grid of cubic B-splines, fitted to displacements at scattered points."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import BSpline
from scipy.sparse import csc_matrix, csr_matrix, eye_array, kron
from scipy.sparse.linalg import SuperLU, splu

from model.meshes.mesh import FloatArray

IntArray = npt.NDArray[np.int64]

_DEGREE = 3


@dataclass(frozen=True)
class SplineField:
    """The values that a grid of splines can take at given points, and how much they bend.

    Attributes:
        basis: (N, G) weights of the control points that are near enough to matter at each point; rows sum to one.
        bending: (G, G) matrix K; c' K c is the mean squared second derivative of the field of coefficients c over the
            box, per channel, in 1/mm for displacements in mm.
    """

    basis: csr_matrix
    bending: csr_matrix

    @classmethod
    def around(cls, points_mm: FloatArray, control_mm: float) -> SplineField:
        """Lay control points about `control_mm` apart over the bounding box of (N, 3) points.

        Source: uniform cubic B-splines (Rueckert et al., IEEE TMI 18 (1999) 712), with second differences of the
        coefficients for second derivatives (Eilers and Marx, Statistical Science 11 (1996) 89).
        """
        low, high = points_mm.min(axis=0), points_mm.max(axis=0)
        cells = np.maximum(np.ceil((high - low) / control_mm), 1).astype(int)
        step = np.maximum(high - low, 1e-6) / cells
        basis = _rows_of_products(
            *(_axis_basis((points_mm[:, axis] - low[axis]) / step[axis], cells[axis]) for axis in range(3))
        )
        used = np.diff(basis.tocsc().indptr) > 0
        return cls(csr_matrix(basis[:, used]), _bending(cells + _DEGREE, step, used))

    def fit(self, nodes: IntArray, displacements_mm: FloatArray, weights: FloatArray, smooth_mm: float) -> FloatArray:
        """Fit a field to displacements asked for at some of the points and give it at all of them.

        Minimises the weighted mean of the squared differences plus `smooth_mm` ** 4 times the mean squared second
        derivative: what varies over less than about that length is smoothed away, linear fields stay.

        Args:
            nodes: (M,) which of the N points.
            displacements_mm: (M, 3) displacements asked for there.
            weights: (M,) non-negative, not all zero.
            smooth_mm: length of what counts as detail.

        Returns:
            (N, 3) displacements in mm.
        """
        basis = csr_matrix(self.basis[nodes])
        weighted = csr_matrix(basis.T.multiply(weights / weights.sum()))
        data = weighted @ basis
        # A hair of ridge holds control points that neither data nor bending determine.
        ridge = 1e-9 * data.diagonal().max() * eye_array(data.shape[0])
        solver = symmetric_solver(csc_matrix(data + smooth_mm**4 * self.bending + ridge))
        return np.asarray(self.basis @ solver.solve(weighted @ displacements_mm))


def symmetric_solver(matrix: csc_matrix) -> SuperLU:
    """Factorise a symmetric positive definite sparse matrix."""
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})


def _axis_basis(position: FloatArray, cells: int) -> csr_matrix:
    """Give the (N, cells + 3) basis of one axis at positions in [0, cells]."""
    knots = np.arange(-_DEGREE, cells + _DEGREE + 1, dtype=np.float64)
    return csr_matrix(BSpline.design_matrix(np.clip(position, 0, cells), knots, _DEGREE))


def _rows_of_products(i: csr_matrix, j: csr_matrix, k: csr_matrix) -> csr_matrix:
    """Give the tensor product of three bases, row by row; each row of each has four entries."""
    weights = np.einsum("na,nb,nc->nabc", *(part.data.reshape(-1, _DEGREE + 1) for part in (i, j, k)))
    at_i, at_j, at_k = (part.indices.reshape(-1, _DEGREE + 1).astype(np.int64) for part in (i, j, k))
    index = (at_i[:, :, None, None] * j.shape[1] + at_j[:, None, :, None]) * k.shape[1] + at_k[:, None, None, :]
    start = np.arange(len(weights) + 1) * weights[0].size
    shape = (len(weights), i.shape[1] * j.shape[1] * k.shape[1])
    return csr_matrix((weights.ravel(), index.ravel(), start), shape=shape)


def _bending(controls: IntArray, step_mm: FloatArray, used: npt.NDArray[np.bool_]) -> csr_matrix:
    """Give the mean squared second derivative, mixed ones included, as a matrix of the used control points."""
    sizes = [int(size) for size in controls]
    total = csr_matrix((int(used.sum()),) * 2)
    for first, second in itertools.combinations_with_replacement(range(3), 2):
        parts = []
        for axis, size in enumerate(sizes):
            order = (axis == first) + (axis == second)
            parts.append(csr_matrix(np.diff(np.eye(size), n=order, axis=0) / step_mm[axis] ** order))
        derivative = csr_matrix(kron(kron(parts[0], parts[1]), parts[2]))
        # Only where all control points of a difference matter to some point.
        whole = (abs(derivative[:, ~used]).sum(axis=1) == 0) if not used.all() else np.ones(derivative.shape[0], bool)
        derivative = derivative[np.flatnonzero(np.asarray(whole).ravel())][:, used]
        times = (1 if first == second else 2) / max(derivative.shape[0], 1)
        total = total + times * (derivative.T @ derivative)
    return csr_matrix(total)
