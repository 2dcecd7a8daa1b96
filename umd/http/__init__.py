"""HTTP/1.1: reads requests from connections, authenticates them, and writes the responses."""
