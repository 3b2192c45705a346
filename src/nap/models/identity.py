"""What a model is made of, as digests: its files and those of an adapter's base, but for what a hub's commit names.

    made_of("runs/lora/final", None)   # {"weights": "1c..", "files": {"config.json": "9f..", "base/weights": "4e.."}}

Whatever can be gone on with compares these, so that a model that changed behind its name is noticed, whichever of its
files changed. Does not open a model (load.py).
"""

import json
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from nap.common.folder import Compared, Setting, digest, digest_files
from nap.models import checkpoint
from nap.models.adapter import CONFIG, Base, base_of, is_adapter
from nap.models.exact import SCHEME
from nap.models.weights import weight_files

# What is read beside the weights: the config, the canvas and the tokenizer.
READ = (
    "config.json", CONFIG, "canvas.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "vocab.json", "merges.txt", "vocab.txt",
)  # fmt: skip
KINDS = (".safetensors", ".py")
# What a config says of the place and the program that it was saved in.
ASIDE = ("_name_or_path", "base_model_name_or_path", "transformers_version")
UNSAID = (
    "was begun by an earlier version, which did not note what its model is made of: that it is the same is taken for "
    "granted; another folder makes sure"
)


def made_of(name: str, commit: object, *, code: bool = False) -> dict[str, object]:
    """The digest of a model's `weights`, and those of its other `files` by name.

    A hub model is named by its commit: it has no digest of its weights, and files only of an adapter's base. The
    setting of an exact law has a digest of its texts. `code` adds Python files.
    """
    place = None
    if not name.startswith(SCHEME):
        place = checkpoint.cached(name, str(commit)) if commit else checkpoint.find(name)
    if place is None:
        return {"weights": None}
    folder, files = place[0], dict[str, object]()
    weights = None if commit else digest_files(weight_files(folder))
    if not commit:
        files |= _others(folder, code)
    if is_adapter(folder):
        base = base_of(folder)
        own: dict[str, object] = {"commit": base.revision}
        if not base.revision:
            own = {"weights": digest_files(weight_files(base.folder)), **_others(base.folder, code)}
        files |= {f"base/{what}": found for what, found in own.items()}
    return {"weights": weights, "files": files} if files else {"weights": weights}


def stamp_of(name: str) -> tuple[tuple[str, int, int, int], ...]:
    """The files behind a name (path, size, time and number of each), by which a change is seen without reading them.

    Empty for a hub model, whose commit does not change, and for a task's own law.
    """
    if name.startswith(SCHEME):
        files = [Path(name.removeprefix(SCHEME).partition(",")[0])]
    elif folder := checkpoint.local(name):
        folders = [folder, *([base_of(folder).folder] if is_adapter(folder) else [])]
        files = [file for one in folders for file in sorted(one.iterdir()) if file.suffix in KINDS or file.name in READ]
    else:
        files = []
    stats = [(str(file), file.stat()) for file in files if file.is_file()]
    return tuple((path, stat.st_size, stat.st_mtime_ns, stat.st_ino) for path, stat in stats)


def digest_in_memory(model: Any) -> str:
    """The digest of the weights of an open PyTorch model."""
    import torch

    found = blake2b(digest_size=16)
    for name, weight in model.state_dict().items():
        found.update(f"{name} {weight.dtype} {[*weight.shape]}".encode())
        found.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def changed_in_base(folder: Path, base: Base) -> str | None:
    """What of the base is other than when NAP trained this adapter on it: its weights, or its config.

    None where nothing is, and where nothing says what it was.
    """
    noted = folder / "training.json"
    if base.revision or not noted.is_file():
        return None
    made_of = checkpoint.read_object(noted).get("made_of")
    models = made_of.get("models") if isinstance(made_of, dict) else None
    if not isinstance(models, dict) or len(models) != 1:
        return None
    (said,) = models.values()
    files = said.get("files") if isinstance(said, dict) else None
    if not isinstance(said, dict) or not isinstance(files, dict):
        return None
    if said.get("weights") not in (None, digest_files(weight_files(base.folder))):
        return "weights"
    return "config" if files.get("config.json") != _digest(base.folder / "config.json") else None


def _others(folder: Path, code: bool) -> dict[str, object]:
    """The digest of each file that is read beside the weights."""
    read = [*(folder / name for name in READ), *(sorted(folder.glob("*.py")) if code else ())]
    return {path.name: _digest(path) for path in read if path.is_file()}


def _digest(path: Path) -> str:
    if path.name not in ("config.json", CONFIG):
        return digest_files([path])
    said = {key: value for key, value in checkpoint.read_object(path).items() if key not in ASIDE}
    return digest(json.dumps(said, sort_keys=True).encode())


def unless_unsaid(folder: object, say: Callable[[str], None]) -> Compared:
    """Compares two settings of a folder whole, but for `made_of.models` where an earlier version did not note it.

    `say` is told once of such a folder.
    """
    told = list[str]()

    def compared(old: Setting, now: Setting) -> tuple[dict[str, object], dict[str, object]]:
        before, after = old.get("made_of"), now.get("made_of")
        if not isinstance(after, dict) or (isinstance(before, dict) and "models" in before):
            return dict(old), dict(now)
        if not told:
            told.append(f"{folder} {UNSAID}")
            say(told[0])
        return dict(old), {**now, "made_of": {name: value for name, value in after.items() if name != "models"}}

    return compared
