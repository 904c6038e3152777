"""Marks for tests that need a number type which not every processor multiplies."""

from __future__ import annotations

import pytest

from engine.processor import processor

needs_bfloat16 = pytest.mark.skipif(
    not processor().bfloat16, reason="this processor has no native bfloat16 (or isa limits it)"
)
