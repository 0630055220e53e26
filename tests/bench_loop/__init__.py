"""How good the loop is: every fault of the reference plant, several ways to close the loop, many seeds."""
