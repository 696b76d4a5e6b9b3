"""The conversion that was chosen: from which device to which others, by which converter, and why."""
