"""A fleet: welded, built, told of and driven."""
