"""The data that moves through NAP, as frozen dataclasses, and their files: problems, samples, steps, traces.

No torch, no tokenizer, no task.
"""
