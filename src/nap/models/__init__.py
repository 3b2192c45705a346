"""Checkpoints as denoisers: families, weights, adapters, and the forward that decoding asks.

Nothing here samples, commits or trains.
"""
