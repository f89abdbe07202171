"""doctor: what this machine can do, finding by finding."""

from __future__ import annotations

from itertools import chain

from core.model import fits
from core.monitor.doctor import Finding, checks
from tui.cli.output import Style
from tui.cli.parser import Asked

_STYLES: dict[str, Style] = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(asked: Asked) -> int:
    """Print the findings as they come. 1 when one of them is a failure, else 0."""
    findings: list[Finding] = []
    for finding in chain(checks(asked.root), fits.findings(), fits.paths()):
        findings.append(finding)
        asked.out.say(
            f"{finding.level:<5}{finding.name:<14} {finding.text}", _STYLES[finding.level]
        )
        if finding.fix:
            asked.out.say(f"{'':<20}{finding.fix}")
    asked.out.document({"findings": findings})
    return 1 if any(finding.level == "fail" for finding in findings) else 0
