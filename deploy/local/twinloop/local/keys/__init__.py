"""Keys, certificates, users and passwords of a stack: made here, and given to who needs them."""
