"""Where models come from: the embedded ones, local folders and files, the Hugging Face hub."""

from engine.models.lookup import resolve
from engine.models.progress import Progress, Silent
from engine.models.registry import DEFAULTS, Model, find, registry
from engine.models.store import pull, verify

__all__ = [
    "DEFAULTS",
    "Model",
    "Progress",
    "Silent",
    "find",
    "pull",
    "registry",
    "resolve",
    "verify",
]
