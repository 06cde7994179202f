"""What the project is measured against; each rival that is not installed is skipped."""
