"""Lists the parts of an installation as a CycloneDX 1.6 document: every package of a lock with its digests and licence.

    python tools/sbom.py requirements.lock > sbom.json

Only installed packages are listed, in their installed versions; the digests of the lock are those of all files of a
version. The bundled models are components too, with the digests of their weights. A licence is the one that the package
names.

Uses no network, and does not look for known vulnerabilities, as tools that read CycloneDX do.
"""

import json
import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

ASSETS = Path(__file__).resolve().parents[1] / "src" / "nap" / "assets"
# Not in the lock, since their builds differ from machine to machine.
OTHERS = ("torch", "nap-dlm")


def locked(lock: str) -> dict[str, list[str]]:
    """The SHA-256 digests of each name of a lock's text."""
    lines = lock.replace("\\\n", " ").splitlines()
    found = {}
    for line in lines:
        if name := re.match(r"([A-Za-z0-9][\w.-]*)==", line):
            found[name[1].lower()] = re.findall(r"--hash=sha256:([0-9a-f]{64})", line)
    return found


def component(package: Distribution, digests: list[str]) -> dict[str, Any]:
    """A package as CycloneDX has it."""
    said = package.metadata
    name, version = said["Name"].lower().replace("_", "-"), package.version
    licence = said.get("License-Expression") or (said.get("License") or "").strip().split("\n")[0][:80]
    made: dict[str, Any] = {
        "type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}",
        "bom-ref": f"pkg:pypi/{name}@{version}",
    }  # fmt: skip
    if digests:
        made["hashes"] = [{"alg": "SHA-256", "content": digest} for digest in digests]
    if licence:
        made["licenses"] = [{"license": {"name": licence}}]
    return made


def models(sums: Path) -> Iterator[dict[str, Any]]:
    """The bundled models."""
    for line in sums.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        if name.endswith("/model.safetensors"):
            folder = name.partition("/")[0]
            yield {
                "type": "machine-learning-model", "name": folder, "bom-ref": f"model:{folder}",
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }  # fmt: skip


def document(lock: str) -> dict[str, Any]:
    """The whole document; the same for the same lock and installation."""
    digests, parts = locked(lock), []
    for name in sorted({*digests, *OTHERS}):
        try:
            parts.append(component(distribution(name), digests.get(name, [])))
        except PackageNotFoundError:  # Of another system.
            continue
    (own,) = [part for part in parts if part["name"] == "nap-dlm"]
    others = [part for part in parts if part is not own] + [*models(ASSETS / "SHA256SUMS")]
    number = uuid5(NAMESPACE_URL, json.dumps(others, sort_keys=True))
    return {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{number}", "version": 1,
        "metadata": {"component": own | {"type": "application"}}, "components": others,
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(document(Path(sys.argv[1]).read_text(encoding="utf-8")), indent=1))
