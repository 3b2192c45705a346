"""Models for programs that bring their own questions: lm-evaluation-harness.

Nothing here measures; the harness does.
"""
