"""The tests of umd, in the rooms of umd; run by trial."""
