"""What a call is: its identifier, its states, why it ended and what can happen to it."""
