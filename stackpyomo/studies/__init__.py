"""Studies: many games and parameters, in processes, resumable, compared.

In: tasks and grids. Out: tables on disk. Law: the same results on any number of workers.
"""

from .catalogue import RIGHT, Row, Settings, machine, solved, summarize, summary_line, tuned
from .comparison import Comparison, compare, entries_of, ways
from .executors import cluster
from .runner import study
from .store import read_study, require_parquet, write_parquet

__all__ = [
    "RIGHT",
    "Comparison",
    "Row",
    "Settings",
    "cluster",
    "compare",
    "entries_of",
    "machine",
    "read_study",
    "require_parquet",
    "solved",
    "study",
    "summarize",
    "summary_line",
    "tuned",
    "ways",
    "write_parquet",
]
