"""What each command can be told: one file per command. Nothing here loads torch, so that help answers at once."""
