"""For operators and scripts: the control socket, and queries and upkeep of the journal."""
