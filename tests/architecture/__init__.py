"""The plan of the package: which room may import which, a drawing of it, and its numbers."""
