"""Costs of a network in parameters, FLOPs and time, and numbers that no pruning can work with."""
