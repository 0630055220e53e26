"""The life of models: staged, tried beside the one that serves, promoted, taken back, retired."""
