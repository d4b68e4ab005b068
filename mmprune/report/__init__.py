"""Plots that people look at."""

from mmprune.report.plot_expanders import plot_expanders
from mmprune.report.plot_report import plot_report
from mmprune.report.plot_sensitivity import plot_sensitivity

__all__ = ['plot_expanders', 'plot_report', 'plot_sensitivity']
