"""Schedules: steps that rewrite loops, what makes them legal, and the default of each family."""
