"""The HTTP edge: octets into one request and a reply back; knows no SOAP."""
