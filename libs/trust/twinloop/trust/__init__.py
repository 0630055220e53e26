"""Who may say what: signed commands, people and their roles."""
