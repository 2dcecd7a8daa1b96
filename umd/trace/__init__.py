"""Messages that crossed the wire: captured, kept with a call, drawn as a ladder, saved as pcap."""
