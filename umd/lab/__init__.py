"""The race lab: runs calls in every order of events on a virtual clock, and checks invariants."""
