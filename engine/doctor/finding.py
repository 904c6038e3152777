"""What a check found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "note", "warning", "failure"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``detail`` says what is, ``advice`` what to do about it (empty where nothing need be)."""

    check: str
    status: Status
    detail: str
    advice: str = ""


def ok(check: str, detail: str) -> Finding:
    return Finding(check, "ok", detail)


def note(check: str, detail: str, advice: str = "") -> Finding:
    """Not wrong: something that could be had, or that does not apply here."""
    return Finding(check, "note", detail, advice)


def warning(check: str, detail: str, advice: str) -> Finding:
    return Finding(check, "warning", detail, advice)


def failure(check: str, detail: str, advice: str) -> Finding:
    return Finding(check, "failure", detail, advice)
