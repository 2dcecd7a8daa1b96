"""The use cases of call control: place a call, end a call, know every call."""
