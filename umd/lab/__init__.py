"""The race lab: every order in which a call can happen, on a virtual clock, judged after each."""
