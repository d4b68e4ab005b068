"""Rate-distortion curves as RD_PRUNE measures them: every layer, every sparsity, every image through the whole net."""

import copy

import torch


@torch.no_grad()
def literal_curve(model, forward, name, kept_counts, batches, worst_case=True, zero=None):
    """Distortion of the output for each kept count of one layer's weights, shape (k,).

    Args:
        model: The network; a copy is pruned afresh for every point.
        forward: Called with a model and a batch; gives one tensor of shape (N, …).
        name: The layer.
        kept_counts: How many of its weights stay.
        batches: Calibration images.
        worst_case: Largest instead of mean distortion over the images.
        zero: Called with a model and a kept count, prunes it; default: all but the largest weights of the layer.
    """
    dense, curve = [forward(model, batch) for batch in batches], []
    for kept in kept_counts:
        pruned = copy.deepcopy(model)
        (zero or zero_smallest(name))(pruned, int(kept))
        errors = []
        for batch, outputs in zip(batches, dense):
            change = (forward(pruned, batch).double() - outputs.double()).flatten(1)
            errors += change.square().mean(dim=1).tolist()
        curve.append(max(errors) if worst_case else sum(errors) / len(errors))
    return torch.tensor(curve, dtype=torch.float64)


def zero_smallest(name):
    def zero(model, kept):
        weight = model.get_submodule(name).weight.data
        smallest = weight.abs().flatten().topk(weight.numel() - kept, largest=False).indices
        weight.view(-1)[smallest] = 0

    return zero
