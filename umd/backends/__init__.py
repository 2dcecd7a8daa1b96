"""The built-in backends. umd finds them by entry points, like those of other distributions."""
