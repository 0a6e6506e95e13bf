"""Readers of event files, a file a format."""
