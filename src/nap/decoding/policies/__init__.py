"""Policies: each says where the model is asked and what is written into a canvas, as a small frozen dataclass.

Nothing here runs a model or a loop; the engine does. Papers and what differs from them: docs/papers.md.
"""
