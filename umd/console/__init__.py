"""What an operator asks a running umd: the local control socket, and the requests it answers."""
