"""The command line.

In: arguments and files. Out: text, one JSON document, exit codes. Law: the only folder that prints.
"""

from .app import app
from .entry import main

__all__ = ["app", "main"]
