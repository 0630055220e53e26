"""What a load costs each program, measured: `make bench-capacity`."""
