"""Data sets as they lie on disk, a file each, and what they share: scanning folders, split lists."""
