"""Looks at a network before or after pruning; each gives a table to print and the same as plain data."""

from mmprune.analysis.complexity import complexity
from mmprune.analysis.context import Context
from mmprune.analysis.expander import expander
from mmprune.analysis.groups import groups
from mmprune.analysis.latency import latency
from mmprune.analysis.moments import moments
from mmprune.analysis.sensitivity import sensitivity

#: What ``tools/analyze.py`` can show.
LOOKS = {look.__name__: look for look in (groups, complexity, latency, moments, sensitivity, expander)}

__all__ = ['LOOKS', 'Context']
