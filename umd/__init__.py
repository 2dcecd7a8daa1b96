"""umd: telephony call control behind the Exchange Unified Messaging web service."""

__version__ = "0.1.0"
