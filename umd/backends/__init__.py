"""The built-in backends; each is found by its entry point, as those of others are."""
