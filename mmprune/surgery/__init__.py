"""Taking channels and weights out of a network, in place, and the record of what was kept."""
