"""How fast, beside others: `make bench`. See README.md."""
