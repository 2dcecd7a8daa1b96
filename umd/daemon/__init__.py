"""The daemon: builds all parts from the settings, and starts, reloads, drains and stops them."""
