"""The command line.

In: arguments and files. Out: text, one JSON document, exit codes. Law: the only folder that prints.
"""

from .entry import app, main

__all__ = ["app", "main"]
