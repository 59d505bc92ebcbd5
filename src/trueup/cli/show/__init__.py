"""Draws records on a terminal with rich. No decisions: what is said comes from `core.views`."""
