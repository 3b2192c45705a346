"""Masked diffusion training: settings, losses, batches, and the run by transformers' Trainer.

Nothing here decodes but the callback that watches accuracy.
"""
