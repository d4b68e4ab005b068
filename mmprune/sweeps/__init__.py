"""Many runs of one config: the cells of a grid, what is finished of them, and the table of what they gave."""

from mmprune.sweeps.cells import comparable, finished, option_text, shell_command
from mmprune.sweeps.grid import Cell, cells_of, parse_grid
from mmprune.sweeps.latency import measure_missing
from mmprune.sweeps.launch import Outcome, Run, runs_of
from mmprune.sweeps.slurm import write_array
from mmprune.sweeps.table import Row, rows_of, write_tables

__all__ = [
    'Cell',
    'Outcome',
    'Row',
    'Run',
    'cells_of',
    'comparable',
    'finished',
    'measure_missing',
    'option_text',
    'parse_grid',
    'rows_of',
    'runs_of',
    'shell_command',
    'write_array',
    'write_tables',
]
