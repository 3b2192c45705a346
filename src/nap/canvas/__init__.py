"""The canvas: how prompt, paths and summary are laid out and read back, and who may see whom.

No model and no torch.
"""
