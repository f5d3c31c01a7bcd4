"""PyTorch and Hugging Face models: capture of their graphs, and the drop-in copies.

The only package that imports torch and transformers; it must not lower or generate code.
"""
