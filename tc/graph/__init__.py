"""Graphs of operators: what the frontends import, and the passes that fuse, fold, pack and cost."""
