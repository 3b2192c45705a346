"""Models for programs that bring their own questions: clients of OpenAI's API, and lm-evaluation-harness.

Nothing here measures; who asks does.
"""
