"""How alike texts are to a language model: the cosine of the means of its last hidden states.

    cosines(["6 * 7 = 42", "7 * 6 is 42"], "models/smollm2-135m")

Any model that transformers opens as AutoModel will do; one that was trained for embeddings judges better. Its figures
are as exact as the machine's matrix products, so a pair that sits on a limit may fall either way on another machine.

Does not decide what is too alike; `selection` does.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from nap.common.files import InputError

# Tokens of a text that are read: what differs later than this differs before it too, or hardly.
LONGEST = 1024


def cosines(texts: Sequence[str], model: str) -> list[list[float]]:
    """[N][N] cosines of the texts' embeddings. Raises InputError for a model that cannot be opened."""
    import torch

    if not texts:
        return []
    with torch.inference_mode():
        means = torch.stack([_mean(text, model) for text in texts])
        unit = torch.nn.functional.normalize(means, dim=-1)
        return (unit @ unit.T).tolist()


def _mean(text: str, model: str) -> Any:
    tokenizer, network = _opened(model)
    ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=LONGEST).input_ids
    return network(input_ids=ids).last_hidden_state[0].float().mean(0)


@cache
def _opened(model: str) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot open the embedder {model} ({error!s:.80}); give a folder or hub name") from None
