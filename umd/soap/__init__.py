"""The SOAP contract of Exchange UM: octets to a request value, a result or an error to octets."""
