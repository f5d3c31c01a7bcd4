"""Speed, size and start-up of tc beside its peers, measured through the public API alone.

Nothing in here is imported by tc, and nothing in here reaches into tc's inside: a figure that a
user could not reproduce with the public functions is not worth printing.
"""
