"""The explorer: a recording, its frames under two settings, controls, exports."""
