"""Autotuning: spaces, cost model, search, measuring, and the database of what was measured."""
