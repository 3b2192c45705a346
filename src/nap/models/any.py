"""Open whatever decodes by its name: a checkpoint (load.py), or an exact law, `exact:FILE` (exact.py).

Does not know what is in either.
"""

from typing import Any

from nap.models.denoiser import Denoiser
from nap.models.exact import SCHEME, open_exact
from nap.models.load import load


def open_denoiser(name: str, **settings: Any) -> Denoiser:
    """The denoiser of a name. `settings` are those of `load`, of which none says anything of an exact law.

    Raises InputError as `load` and `open_exact`.
    """
    return open_exact(name) if name.startswith(SCHEME) else load(name, **settings)
