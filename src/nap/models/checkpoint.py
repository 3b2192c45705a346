"""Find a checkpoint's folder, and read its config, canvas and tokenizer. No code of a checkpoint is run here.

Does not read weights (weights.py), know families' conventions (families.py) or run a model (denoiser.py).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nap.canvas.canvas import CanvasSpec
from nap.common.files import InputError, check_files, read_json
from nap.common.hub import hub
from nap.common.terminal import natives_guarded
from nap.common.text import printable
from nap.models.families import Config
from nap.models.tokenizer_checks import check_growth, check_pace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ASSETS = Path(__file__).resolve().parents[1] / "assets"

# The longest known list of shards has some 5 MB.
MAX_JSON = 64 * 2**20
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# The files that are fetched of a hub model: safe weights and texts.
WANTED = ["*.safetensors", "*.json", "*.txt", "*.jinja"]

# The tokenizer class of transformers for each set of files, and the classes that a checkpoint may say it has: others
# split a text otherwise. A tokenizer.json says all by itself.
TOKENIZERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "PreTrainedTokenizerFast": (("tokenizer.json",), ()),
    "Qwen2TokenizerFast": (("vocab.json", "merges.txt"), ("Qwen2Tokenizer", "DreamTokenizer")),
    "GPT2TokenizerFast": (("vocab.json", "merges.txt"), ("GPT2Tokenizer",)),
    "BertTokenizerFast": (("vocab.txt",), ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer")),
}
# What transformers reads of a tokenizer besides.
BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json")


def local(name: str) -> Path | None:
    """The folder of a model that is on this machine, or bundled; None for any other name."""
    return next((path for path in (Path(name), ASSETS / name) if path.is_dir()), None)


def find(
    name: str, revision: str | None = None, *, code: bool = False, weights: bool = True
) -> tuple[Path, str | None]:
    """(folder, revision) of a folder, a bundled model, or a hub name, which is fetched.

    code     fetch its Python files as well
    weights  fetch its weights

    Raises InputError where there is no such model, or the hub does not deliver it.
    """
    folder = local(name)
    if folder is not None:
        if revision is not None:
            raise InputError(
                f"revision {revision!r} is for hub names, and {name} is a folder on this machine; leave it out"
            )
        check_files(folder)
        return folder, None
    if Path(name).is_file():
        raise InputError(f"{name} is a file; give the folder that holds its config.json")
    if name.startswith("exact:"):
        raise InputError(
            f"{name!r:.80} is an exact law, which has no files of a checkpoint: it is decoded and evaluated "
            "(nap decode, nap eval), and neither trained nor looked into; give a folder, a bundled model or a hub name"
        )
    if not HUB_NAME.fullmatch(name):
        bundled = ", ".join(sorted(path.parent.name for path in ASSETS.glob("*/config.json"))) or "none"
        raise InputError(f"no model {name!r}: no such folder; bundled: {bundled}; a hub name is written owner/model")
    return _fetch(name, revision, WANTED[not weights :] + ["*.py"] * code)


def _fetch(name: str, revision: str | None, wanted: list[str]) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download

    with hub() as absent:
        try:
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
        except Exception as error:  # The hub's clients raise a dozen types of errors, which differ between versions.
            raise InputError(
                f"no folder {name!r}, and the hub did not give {name}@{revision or 'main'} "
                f"({absent or brief(error)}); check the name and the network, or copy the model to a folder"
            ) from None
    return folder, folder.name


def cached(name: str, revision: str | None = None) -> tuple[Path, str] | None:
    """(folder, commit) of a hub name that was fetched before, else None. Uses no network."""
    if not HUB_NAME.fullmatch(name):
        return None
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=WANTED, local_files_only=True))
    except Exception:  # As in `_fetch`, the hub's clients raise a dozen types; each means that the model is not there.
        return None
    return folder, folder.name


def brief(error: BaseException) -> str:
    """The type and the first line of another library's error."""
    return f"{type(error).__name__}: {printable(str(error).strip().partition(chr(10))[0], 300)}"


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """Turns any error inside, while somebody else's files are read, into an InputError that starts with `what`."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, InputError):
        raise
    except BaseException as error:  # A panic of the tokenizers library is not an Exception.
        raise InputError(f"{what} ({brief(error)})") from None


def read_object(path: Path) -> Config:
    """A JSON object. Raises InputError if the file is absent or holds something else."""
    try:
        if (size := path.stat().st_size) > MAX_JSON:
            raise InputError(f"{path} has {size} bytes; {MAX_JSON} is the most that is read of a checkpoint's JSON")
    except OSError:
        pass  # Reading the file gives the better message.
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: a JSON object was expected, got {type(value).__name__}")
    return value


def read_config(folder: Path) -> Config:
    """The config of a checkpoint. Raises InputError if it is not one."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no config.json, so it is not a checkpoint")
    return read_object(folder / "config.json")


def read_canvas(folder: Path) -> CanvasSpec | None:
    """The canvas that a checkpoint was trained on, if its folder says so in canvas.json."""
    path = folder / "canvas.json"
    if not path.is_file():
        return None
    try:
        return CanvasSpec(**read_object(path))
    except (TypeError, InputError) as error:
        raise InputError(f"{path}: {error}") from None


def read_tokenizer(folder: Path) -> "PreTrainedTokenizerBase | None":
    """The tokenizer of a checkpoint; None where it has none. Raises InputError for one that is broken.

    The class is chosen by the files that are there; what the config says of it must not contradict them. Dream's names
    remote code that is the same as Qwen2's tokenizer.
    """
    import transformers

    reader = _reader(folder)
    if reader is None:
        return None
    with foreign(f"{folder}: its tokenizer cannot be read"), _quietly(), natives_guarded():
        if "tokenizer.json" in TOKENIZERS[reader][0]:
            check_growth(folder / "tokenizer.json")
        for name in BESIDE:
            if (folder / name).is_file():
                read_json(folder / name)
        found = getattr(transformers, reader).from_pretrained(folder, local_files_only=True)
        # A broken tokenizer may open and fail only at its first use.
        found.convert_tokens_to_ids(found.convert_ids_to_tokens(found.encode("a\0", add_special_tokens=False)))
        found.convert_tokens_to_ids("no token is called this")
        check_pace(found, folder)
        return found


def _reader(folder: Path) -> str | None:
    """The class of transformers that reads a folder's tokenizer. Raises InputError where it says it has another."""
    there = [(reader, *row) for reader, row in TOKENIZERS.items() if all((folder / file).is_file() for file in row[0])]
    config = folder / "tokenizer_config.json"
    told = read_object(config).get("tokenizer_class") if config.is_file() else None
    fits = [reader for reader, _, known in there if not (told and known) or str(told).removesuffix("Fast") in known]
    if there and not fits:
        raise InputError(
            f"{config} says tokenizer_class {told!r:.60}, which is not read from {' and '.join(there[0][1])} here; add "
            "its tokenizer.json (AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER) writes one)"
        )
    return fits[0] if fits else None


def open_tokenizer(name: str) -> "PreTrainedTokenizerBase":
    """The tokenizer of a folder, a bundled model or a hub name, without fetching weights.

    Raises InputError where there is none.
    """
    folder, _ = find(name, weights=False)
    found = read_tokenizer(folder)
    if found is None:
        files = " or ".join(dict.fromkeys(" and ".join(needed) for needed, _ in TOKENIZERS.values()))
        raise InputError(f"{name} has no tokenizer: {folder} holds no {files}")
    return found


@contextmanager
def _quietly() -> Iterator[None]:
    # transformers warns about any class other than the one in the config, and its versions 4 and 5 write different
    # names.
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
