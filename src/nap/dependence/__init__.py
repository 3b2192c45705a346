"""How sequential a text is before anything is trained on it: SeqDep, its control, and excess dependence.

Nothing here decodes.
"""
