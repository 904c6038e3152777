"""Measurements of the engine and its server. ``ANTIPHON_ISA`` limits the processor for them."""

from engine.processor import restrict_from_environment

restrict_from_environment()
