"""Slow, literal versions of the moment algebra: loops, sampling and explicit inverses."""

import itertools

import torch


def tap_correlation(height, width, rho):
    taps = list(itertools.product(range(height), range(width)))
    return torch.tensor(
        [[rho ** (((a - c) ** 2 + (b - d) ** 2) ** 0.5) for c, d in taps] for a, b in taps], dtype=torch.float64
    )


def output_covariance(filters, taps):
    n, c, t = filters.shape
    result = torch.zeros(n, n, dtype=torch.float64)
    for i, j, k, a, b in itertools.product(range(n), range(n), range(c), range(t), range(t)):
        result[i, j] += filters[i, k, a] * taps[a, b] * filters[j, k, b]
    return result


def output_variance(weight, covariance, taps):
    n, o, t = weight.shape
    result = torch.zeros(o, dtype=torch.float64)
    for r, i, j, a, b in itertools.product(range(o), range(n), range(n), range(t), range(t)):
        result[r] += weight[i, r, a] * covariance[i, j] * taps[a, b] * weight[j, r, b]
    return result


def pair_moments(function, scale, shift, r, nodes=801, reach=8.5):
    """E f1, E f2, Var f1 and Cov(f1, f2) by quadrature over the plane."""
    z = torch.linspace(-reach, reach, nodes, dtype=torch.float64)
    w = torch.exp(-z * z / 2)
    w = w / w.sum()
    f1 = function(scale[0] * z + shift[0])
    f2 = function(scale[1] * (r * z[:, None] + (1 - r * r) ** 0.5 * z[None]) + shift[1])  # (z1, z2)
    m1, m2 = (w * f1).sum(), (w[:, None] * w[None] * f2).sum()
    cov = (w[:, None] * w[None] * (f1 - m1)[:, None] * (f2 - m2)).sum()
    return m1, m2, (w * (f1 - m1) ** 2).sum(), cov


def gaussian_samples(covariance, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp_min(0).sqrt()
    return torch.randn(count, len(covariance), dtype=torch.float64, generator=generator) @ root.T


def eliminate(weight, covariance, lam):
    """Optimal brain surgeon with a fresh inverse and a fresh weight matrix at every step."""
    rows = weight.double().flatten(1).clone()
    h = covariance.double() + lam * covariance.double().diagonal().mean() * torch.eye(len(rows), dtype=torch.float64)
    alive, order, costs = list(range(len(rows))), [], []
    while alive:
        inverse = torch.linalg.inv(h[alive][:, alive])
        cost = [float(rows[u].square().sum() / inverse[p, p]) for p, u in enumerate(alive)]
        p = min(range(len(alive)), key=cost.__getitem__)
        unit = alive[p]
        for q, other in enumerate(alive):
            if other != unit:
                rows[other] -= rows[unit] * inverse[q, p] / inverse[p, p]
        order.append(unit)
        costs.append(cost[p])
        alive.remove(unit)
    return order, costs


def regression_error(weight, covariance, keep, lam):
    """Least damped squared error of the readers' outputs when only ``keep`` may be used, by explicit minimisation."""
    rows = weight.double().flatten(1)
    n = len(rows)
    h = covariance.double() + lam * covariance.double().diagonal().mean() * torch.eye(n, dtype=torch.float64)
    gone = [u for u in range(n) if u not in keep]
    schur = h[gone][:, gone] - h[gone][:, keep] @ torch.linalg.inv(h[keep][:, keep]) @ h[keep][:, gone]
    return float((rows[gone] * (schur @ rows[gone])).sum())
