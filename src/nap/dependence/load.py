"""Open a scorer by its name: the folder or hub name of a causal language model, or the address of a server.

Runs no code of a checkpoint and opens no pickles. Does not score (causal.py, server.py).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from nap.common.files import InputError
from nap.common.machine import choose_dtype, usable_device
from nap.dependence.causal import CausalScorer
from nap.dependence.scorer import Scorer
from nap.dependence.server import ServerScorer
from nap.models import checkpoint
from nap.models.families import FAMILIES, Config
from nap.models.load import own_dtype
from nap.models.weights import weight_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def open_scorer(
    name: str,
    *,
    tokenizer: str | None = None,
    model: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
) -> Scorer:
    """The scorer of that name: a folder or hub name of a causal language model, or the URL of a server.

    tokenizer  only for a URL: the folder or hub name with the tokenizer of the served model
    model      for a URL: which of the served models (default: the first)
    dtype      float32 by default, because shorter types round every log-probability. `auto` takes the fastest

    Raises InputError for a scorer that cannot be opened, and for settings that do not fit.
    """
    if name.startswith(("http://", "https://")):
        if tokenizer is None:
            raise InputError(f"scorer {name} is a server: give the folder of its model's tokenizer, --tokenizer DIR")
        return ServerScorer(name, checkpoint.open_tokenizer(tokenizer), model)
    if tokenizer or model:
        flag = "tokenizer" if tokenizer else "model"
        raise InputError(f"--{flag} is for servers, and the scorer {name} is a model of its own; leave it out")
    folder, _ = checkpoint.find(name)
    return CausalScorer(_load(folder, device, dtype), checkpoint.open_tokenizer(name), name)


def _is_masked(folder: Path, config: Config) -> bool:
    """Whether a folder says that its model fills masks: by its mask, by a canvas of NAP, or by its family."""
    name = str(config.get("model_type"))
    of_masks = name in FAMILIES and (name != FAMILIES[name].native or (name == "bert" and not config.get("is_decoder")))
    return of_masks or config.get("mask_token_id") is not None or (folder / "canvas.json").exists()


def _load(folder: Path, device: str, dtype: str) -> "PreTrainedModel":
    """The model in transformers' own class. Raises InputError unless it is whole, causal and without remote code."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    place, config = usable_device(device), checkpoint.read_config(folder)
    if _is_masked(folder, config):
        raise InputError(f"{folder} is a masked diffusion model; a scorer is a causal language model such as SmolLM2")
    number = choose_dtype(dtype, place, own_dtype(config))
    weight_files(folder)
    logging.disable_progress_bar()
    try:
        model, info = AutoModelForCausalLM.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
            folder,
            dtype=number,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
    except Exception as error:  # transformers raises a dozen types of errors, which differ between versions.
        raise InputError(f"{folder} does not load as a causal language model ({checkpoint.brief(error)})") from None
    # Missing tensors would be random.
    if missing := sorted(info["missing_keys"]):
        raise InputError(f"{folder} lacks {len(missing)} tensors of its model, first {missing[0]}; was it cut?")
    return model.to(place).eval()
