"""What operators and scripts use: the control socket, and what is on record."""
