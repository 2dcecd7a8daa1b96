"""The wiring: builds everything from the settings, and starts, reloads, drains and stops it."""
