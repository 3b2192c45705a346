"""Open by name anything that can be decoded: a checkpoint (load.py) or an exact law, `exact:FILE` (exact.py).

Does not open either of them itself.
"""

from os import PathLike

from nap.common.arguments import checked_arguments
from nap.models import load as checkpoints
from nap.models.denoiser import Denoiser
from nap.models.exact import SCHEME, open_exact
from nap.models.identity import stamp_of
from nap.models.int8 import Int8


@checked_arguments
def load(
    name: str | PathLike[str],
    *,
    revision: str | None = None,
    device: str = "cpu",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    mask_id: int | None = None,
    shift: bool | None = None,
    block_size: int | None = None,
    int8: Int8 | None = None,
    compile: bool = False,
) -> Denoiser:
    """Open a folder, a bundled model such as `arith-nap`, a hub name, or `exact:FILE`, a law fitted to a file's texts.

    The settings are those of a checkpoint (see `nap.models.load.load`). An exact law has its settings in its name and
    computes on the CPU. Raises InputError for a name or a setting that does not fit.

    >>> import nap
    >>> model = nap.load("arith-nap")
    >>> model.canvas.kind, model.max_length
    ('nap', 256)
    """
    name = str(name)
    # Before it is opened: a file that is replaced meanwhile then shows as changed.
    stamp = stamp_of(name)
    denoiser = open_exact(name) if name.startswith(SCHEME) else checkpoints.load(
        name, revision=revision, device=device, dtype=dtype, trust_remote_code=trust_remote_code, mask_id=mask_id,
        shift=shift, block_size=block_size, int8=int8, compile=compile,
    )  # fmt: skip
    denoiser.stamp = stamp
    return denoiser
