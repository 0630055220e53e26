"""What people say to Twinloop from a terminal: changes, modes, stops, audit stores."""
