"""Unified messaging on top of call control: SOAP door, dial plan, prompts, PINs, users."""
