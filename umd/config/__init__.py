"""
The configuration: TOML to typed settings.

A backend derives the model of its own section from `Section`.
"""

from umd.config.loading import load
from umd.config.notation import ConfigError
from umd.config.sections import Section
from umd.config.settings import Settings
from umd.config.values import Duration

__all__ = ["ConfigError", "Duration", "Section", "Settings", "load"]
