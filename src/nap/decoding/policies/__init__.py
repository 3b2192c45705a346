"""Policies: what is asked of the model and what is written into a canvas, one small frozen dataclass each.

Nothing here runs a model or a loop; the engine does. Papers and what differs from them: docs/papers.md.
"""
