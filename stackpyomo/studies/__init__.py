"""Studies: many games and parameters, in processes, resumable, compared.

In: tasks and grids. Out: tables on disk. Law: the same results on any number of workers.
"""

from .catalogue import RIGHT, Row, Runner, Settings, machine, serve, summarize, summary_line, tuned
from .comparison import Comparison, compare, entries_of, ways
from .dask_cluster import cluster
from .runner import study
from .store import plain, read_study, require_parquet, write_parquet
from .workers import following

__all__ = [
    "RIGHT",
    "Comparison",
    "Row",
    "Runner",
    "Settings",
    "cluster",
    "compare",
    "entries_of",
    "following",
    "machine",
    "plain",
    "read_study",
    "require_parquet",
    "serve",
    "study",
    "summarize",
    "summary_line",
    "tuned",
    "ways",
    "write_parquet",
]
