"""NAP: decode diffusion language models in parallel, and prove it."""

__version__ = "0.1.0"
