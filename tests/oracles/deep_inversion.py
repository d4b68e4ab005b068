"""DeepInversion step by step, straight from the formulas: slow on purpose, the judge of the fast code.

Hooks take mean and variance of every batch norm's input apart, parameters keep their gradients, the running statistics
are read in every iteration, and nothing is laid out for speed.
"""

import torch
from torch import nn


def losses(model, forward, seen, labels, main, bn, first_bn, tv1, tv2, l2, l2_norm):
    """All terms (not weighted) and their weighted ``total``."""
    inputs = []
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    hooks = [norm.register_forward_hook(lambda norm, args, out: inputs.append((norm, args[0]))) for norm in norms]
    output = forward(seen)
    for hook in hooks:
        hook.remove()
    r_bn = 0
    for number, (norm, x) in enumerate(inputs):
        mean = x.mean(dim=(0, 2, 3))
        var = x.permute(1, 0, 2, 3).contiguous().view(x.shape[1], -1).var(1, unbiased=False)
        distance = torch.norm(norm.running_var.clone() - var, 2) + torch.norm(norm.running_mean.clone() - mean, 2)
        distance = distance * (first_bn if number == 0 else 1)
        if not distance >= 1e7:
            r_bn = r_bn + distance
    terms = {'bn': r_bn, **priors(seen, l2_norm)}
    if labels is not None:
        terms['main'] = nn.CrossEntropyLoss()(output[0] if isinstance(output, tuple) else output, labels)
    weights = {'main': main, 'bn': bn, 'tv1': tv1, 'tv2': tv2, 'l2': l2}
    return {**terms, 'total': sum(weights[key] * value for key, value in terms.items())}


def priors(x, l2_norm):
    """TV1, TV2 and R_l2."""
    horizontal = x[:, :, :, 1:] - x[:, :, :, :-1]
    vertical = x[:, :, 1:, :] - x[:, :, :-1, :]
    down = x[:, :, 1:, 1:] - x[:, :, :-1, :-1]
    up = x[:, :, :-1, 1:] - x[:, :, 1:, :-1]
    all_four = (horizontal, vertical, down, up)
    if l2_norm == 'batch':
        l2 = torch.sqrt((x**2).sum())
    else:
        l2 = sum(torch.sqrt((image**2).sum()) for image in x) / len(x)
    return {'tv1': sum(d.abs().mean() for d in all_four), 'tv2': sum(torch.norm(d) for d in all_four), 'l2': l2}


def step(model, forward, x, labels, optimizer, downscale, roll, flip, low, high, **weights):
    """One iteration: changes ``x`` in place, returns the terms of the loss before."""
    seen = nn.functional.avg_pool2d(x, downscale) if downscale > 1 else x
    seen = torch.roll(seen, shifts=roll, dims=(2, 3))
    if flip:
        seen = torch.flip(seen, dims=(3,))
    optimizer.zero_grad()
    model.zero_grad()
    found = losses(model, forward, seen, labels, **weights)
    found['total'].backward()
    optimizer.step()
    for channel in range(x.shape[1]):
        x.data[:, channel] = torch.clamp(x.data[:, channel], low[channel], high[channel])
    return found


def learning_rate(base, iteration, iterations, warmup):
    """Linear warm-up, then half a cosine."""
    if iteration < warmup:
        return base * (iteration + 1) / warmup
    angle = torch.pi * (iteration - warmup) / (iterations - warmup)
    return 0.5 * (1 + torch.cos(torch.tensor(angle, dtype=torch.float64)).item()) * base


def rota(batch_size, num_classes, batches):
    """Labels of every batch: each class equally often, and what is left over taken in turn from class to class."""
    turn, result = 0, []
    for _ in range(batches):
        labels = [c for c in range(num_classes) for _ in range(batch_size // num_classes)]
        for _ in range(batch_size % num_classes):
            labels.append(turn % num_classes)
            turn += 1
        result.append(labels)
    return result
