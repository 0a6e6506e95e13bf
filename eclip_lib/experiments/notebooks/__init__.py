"""Notebooks with parameters: run without a browser, shown as pages, found by name."""
