"""The configuration: TOML to typed settings. Backends derive their own section from `Section`."""

from umd.config.sections import Duration, Section

__all__ = ["Duration", "Section"]
