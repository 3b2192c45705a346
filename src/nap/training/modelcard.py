"""The README of a trained model: what it was made of, with what setting, and how to decode it, as Markdown."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def model_card(setting: Mapping[str, Any], data: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """The card. `setting` is what a resume must agree with, `data` says what of the file was used."""
    return "\n".join(
        [
            "---", "library_name: nap-dlm", f"base_model: {json.dumps(str(setting['model']))}",
            "tags: [masked-diffusion, nap]", "---", "", f"# {results['name']}", "",
            "A masked diffusion language model, trained by `nap train`. Decode it:", "",
            f'    nap decode "..." --model {results["folder"]}', "",
            f"No accuracy is claimed here: measure it with `nap eval --models {results['folder']} --task TASK`.", "",
            "## Data", "", *_table(data), "## Setting", "", *_table(_flat(setting)), "## Result", "",
            *_table({name: value for name, value in results.items() if name not in ("name", "folder")}),
        ]
    )  # fmt: skip


def _flat(value: Mapping[str, Any]) -> dict[str, Any]:
    """Nested objects as one, with dotted names."""
    found: dict[str, Any] = {}
    for key, part in value.items():
        inner = _flat(part) if isinstance(part, Mapping) else None
        found |= {key: part} if inner is None else {f"{key}.{name}": x for name, x in inner.items()}
    return found


def _table(values: Mapping[str, Any]) -> Sequence[str]:
    lines = [f"| {key} | {str(value).replace('|', chr(92) + '|')} |" for key, value in values.items()]
    return ["| | |", "|---|---|", *lines, ""]
