"""A call as a value: its id, its states, the events of its life, and why it ended."""
