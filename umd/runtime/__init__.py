"""The process that umd runs in: reactor, clock, garbage collection, systemd, files, log."""
