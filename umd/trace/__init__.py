"""Messages that crossed the wire: captured, drawn, saved, and followed as a witness (HEP)."""
