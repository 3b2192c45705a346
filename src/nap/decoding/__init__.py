"""The engine that fills canvases, its budgets and candidates, and the traces it leaves.

Which positions are committed is decided in policies; what a model is, in models.
"""
