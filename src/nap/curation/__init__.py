"""Multi-path training sets from a teacher: what to ask, what came back, and which paths to keep.

Nothing here trains.
"""
