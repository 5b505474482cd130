"""Findings: one line each, by component, the remedy last."""

from __future__ import annotations

import dataclasses

import pytest

import stackpyomo as sp


def test_a_finding_is_one_line() -> None:
    finding = sp.Finding("warning", "driver.cost", "bends down.", "Bound flow.")
    assert str(finding) == "driver.cost: bends down. Bound flow."
    assert str(dataclasses.replace(finding, remedy="")) == "driver.cost: bends down."


def test_equal_findings_are_one() -> None:
    finding = sp.Finding("info", "toll", "is fixed.", "")
    assert len({finding, sp.Finding("info", "toll", "is fixed.", "")}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        finding.severity = "error"  # type: ignore[misc]
