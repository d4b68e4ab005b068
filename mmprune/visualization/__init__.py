"""Plots that people look at."""

from mmprune.visualization.widths import plot_report

__all__ = ['plot_report']
