"""What a run returns: files, report, picture, archive."""
