"""The document of what an installation is made of lists every package with its digests, and the bundled models."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_locked_package_and_every_bundled_model_is_listed_with_its_digests() -> None:
    made = [
        subprocess.run([sys.executable, ROOT / "tools/sbom.py", ROOT / "requirements.lock"], capture_output=True)
        for _ in range(2)
    ]
    assert made[0].stdout == made[1].stdout and not made[0].stderr
    found = json.loads(made[0].stdout)
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert found["metadata"]["component"]["name"] == "nap-dlm"
    parts = {part["name"]: part for part in found["components"]}
    assert {"torch", "transformers", "numpy", "tyro", "rich", "arith-nap", "countdown-longcot"} <= parts.keys()
    assert all(len(one["content"]) == 64 for part in parts.values() for one in part.get("hashes", ()))
    assert [name for name, part in parts.items() if not part.get("hashes")] == ["torch"]
    assert parts["numpy"]["purl"].startswith("pkg:pypi/numpy@")


def test_the_lock_has_the_versions_of_the_constraints_and_a_digest_of_each() -> None:
    wanted = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    wanted = {name.lower().replace("_", "-"): version for name, version in wanted.items()}
    packages = (ROOT / "requirements.lock").read_text().replace("\\\n", " ").splitlines()
    for package in packages:
        name, version = package.split()[0].rstrip(";").split("==")
        assert "--hash=sha256:" in package, name
        assert wanted.get(name, version) == version, name
    assert len(packages) > 70
