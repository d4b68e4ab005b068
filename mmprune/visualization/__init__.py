"""Plots that people look at."""

from mmprune.visualization.expanders import plot_expanders
from mmprune.visualization.sensitivity import plot_sensitivity
from mmprune.visualization.widths import plot_report

__all__ = ['plot_expanders', 'plot_report', 'plot_sensitivity']
