"""umd against programs that others wrote, over real sockets on loopback."""
