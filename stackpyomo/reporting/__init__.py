"""Reporting: pictures and pages of plans, incentives and reports.

In: results. Out: matplotlib axes and HTML. Law: shows what is there and computes nothing anew.
"""

from .page import page, table_page
from .plots import formats, profiles

__all__ = ["formats", "page", "profiles", "table_page"]
