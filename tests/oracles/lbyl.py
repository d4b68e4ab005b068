"""Literal LBYL and Neuron Merging: one small float64 system or one loop per removed filter, straight from the papers.

Slow on purpose; judges of the fast code. ``norm`` is ``(gamma, beta, mean, var)``; ``rows`` are the flattened filters
(with the bias appended for the fully connected forms). The solvers return the rows of Z for ``removed``, ``(q, m)``.
"""

import numpy as np
from scipy.linalg import LinAlgError, solve

FLOOR = 1e-8, 1e-12  # |gamma| and running variance below which a channel is a constant map


def lbyl_reference(rows, norm, keep, removed, lambda1, lambda2):
    """What the published program solves: variance for deviation, scalar for the rank-one term, no K at the end."""
    gamma, beta, mean, var = norm
    out = np.zeros((len(removed), len(keep)))
    kept = [j for j, unit in enumerate(keep) if _alive(norm, unit)]
    p = [keep[j] for j in kept]
    x = rows[p].T
    a = mean[p] - var[p] * beta[p] / gamma[p]
    for row, i in enumerate(removed):
        if not _alive(norm, i) or not p:
            continue
        q = gamma[i] / var[i]
        k = gamma[i] / gamma[p] * var[p] / var[i]
        matrix = x.T @ x + lambda1 * q**2 * (a @ a) * np.eye(len(p)) + lambda2 * np.diag(k**2)
        right = x.T @ rows[i] + lambda1 * q * (q * mean[i] - beta[i]) * a
        out[row, kept] = _solve(matrix, right)
    return out


def lbyl_exact(rows, norm, keep, removed, lambda1, lambda2, eps=1e-5):
    """The derived optimum: residual error + λ1 · batch-norm error + λ2 · squared coefficients."""
    gamma, beta, mean, var = norm
    sigma = np.sqrt(var + eps)
    out = np.zeros((len(removed), len(keep)))
    kept = [j for j, unit in enumerate(keep) if _alive(norm, unit)]
    p = [keep[j] for j in kept]
    x = rows[p].T
    a = mean[p] - sigma[p] * beta[p] / gamma[p]
    for row, i in enumerate(removed):
        if not _alive(norm, i) or not p:
            continue
        q = gamma[i] / sigma[i]
        k = gamma[i] / gamma[p] * sigma[p] / sigma[i]
        matrix = x.T @ x + lambda1 * q**2 * np.outer(a, a) + lambda2 * np.diag(k**2)
        right = x.T @ rows[i] + lambda1 * q * (q * mean[i] - beta[i]) * a
        out[row, kept] = k * _solve(matrix, right)
    return out


def lbyl_linear(rows, keep, removed, lambda2):
    """Ridge regression of a filter on the kept ones with an unpenalised intercept, as one augmented system."""
    x = np.column_stack([rows[keep].T, np.ones(rows.shape[1])])
    penalty = lambda2 * np.diag([1.0] * len(keep) + [0.0])
    return np.array([_solve(x.T @ x + penalty, x.T @ rows[i])[:-1] for i in removed])


def merge_linear(rows, keep, removed, threshold):
    """Neuron Merging without batch norm."""
    out = np.zeros((len(removed), len(keep)))
    for row, i in enumerate(removed):
        cosines = [_cosine(rows[i], rows[j]) for j in keep]
        best = int(np.argmax(cosines))
        if threshold and cosines[best] < threshold:
            continue
        out[row, best] = np.linalg.norm(rows[i]) / np.linalg.norm(rows[keep[best]])
    return out


def merge_conv(rows, norm, keep, removed, threshold, lam, mode='reference', eps=1e-5):
    """Neuron Merging behind a batch norm; mode as in the restorer."""
    gamma, beta, mean, var = norm
    sigma = var if mode == 'reference' else np.sqrt(var + eps)
    out = np.zeros((len(removed), len(keep)))
    for row, i in enumerate(removed):
        partners = [c for c, j in enumerate(keep) if _alive(norm, j)]
        if not _alive(norm, i) or not partners:
            continue
        scales, biases, cosines = [], [], []
        for c in partners:
            j = keep[c]
            r = np.linalg.norm(rows[i]) / np.linalg.norm(rows[j])
            if mode == 'corrected':
                scale = r * (gamma[i] / gamma[j]) * (sigma[j] / sigma[i])
                bias = gamma[i] / sigma[i] * (r * (mean[j] - sigma[j] * beta[j] / gamma[j]) - mean[i]) + beta[i]
                biases.append(abs(bias))
            else:
                scale = r * (gamma[j] / gamma[i]) * (sigma[i] / sigma[j])
                bias = gamma[j] / sigma[j] * (r * (mean[i] - sigma[i] * beta[i] / gamma[i]) - mean[j]) + beta[j]
                biases.append(abs(bias) / scale)
            scales.append(scale)
            cosines.append(_cosine(rows[i], rows[j]))
        span = max(biases) - min(biases)
        scores = [
            lam * (1 - cosine) + (1 - lam) * ((bias - min(biases)) / span if span > 0 else 0)
            for cosine, bias in zip(cosines, biases)
        ]
        best = int(np.argmin(scores))
        if threshold >= 1 or threshold and cosines[best] < threshold:
            continue
        out[row, partners[best]] = scales[best]
    return out


def mix(weight, keep, removed, coefficients):
    """The next layer's weight ``(o, n, …)`` with the removed inputs spread over the kept ones, ``(o, m, …)``."""
    z = np.zeros((weight.shape[1], len(keep)))
    for column, j in enumerate(keep):
        z[j, column] = 1
    for row, i in enumerate(removed):
        z[i] = coefficients[row]
    return np.einsum('oi...,ij->oj...', weight, z)


def select(rows, width, criterion):
    """Kept units in the published program's order."""
    if criterion == 'random_2':
        return list(range(len(rows) - 1, len(rows) - 1 - width, -1))
    if criterion == 'random_3':
        return list(range(width))
    if criterion == 'l1-norm':
        score = np.abs(rows).sum(1)
    elif criterion == 'l2-norm':
        score = np.linalg.norm(rows, axis=1)
    else:
        score = np.linalg.norm(rows[:, None] - rows[None], axis=2).sum(1)
    return sorted(np.argsort(score)[-width:].tolist())


def _alive(norm, unit):
    gamma, _, _, var = norm
    return abs(gamma[unit]) > FLOOR[0] and var[unit] > FLOOR[1]


def _cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def _solve(matrix, right):
    try:
        return solve(matrix, right, assume_a='pos')
    except LinAlgError:
        return np.linalg.lstsq(matrix, right, rcond=None)[0]
