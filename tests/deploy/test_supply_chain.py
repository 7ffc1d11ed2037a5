"""Bills of materials, and the look for advisories with a stand-in of the database and of pip-audit."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Says what pip-audit says: it ends with status 1 both for an advisory and for a database out of reach.
_STAND_INS = {
    "clean": "exit 0",
    "advisory": 'while [ $# -gt 1 ]; do [ "$1" = --output ] && echo "fastapi 0.1 PYSEC-1" >"$2"; shift; done; exit 1',
    "unreachable": 'echo "requests.exceptions.ConnectionError: no such host" >&2; exit 1',
    "broken": 'echo "ValueError: no hashes" >&2; exit 1',
}


def audit(directory: Path, outcome: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the look for advisories with a program that ends like pip-audit."""
    program = directory / "pip-audit"
    program.write_text(f"#!/bin/sh\n{_STAND_INS[outcome]}\n")
    program.chmod(0o755)
    command: list[str | Path] = [ROOT / "deploy/audit", program, "one.lock", "another.lock"]
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


class TestAudit:
    @pytest.mark.parametrize(
        ("outcome", "required", "succeeds", "said"),
        [
            ("clean", "", True, "another.lock: no known advisory"),
            ("advisory", "", False, "another.lock:\nfastapi 0.1 PYSEC-1"),
            ("unreachable", "", True, "one.lock: not looked up, since no advisory database can be reached"),
            ("unreachable", "required", False, "ConnectionError"),
            ("broken", "", False, "no hashes"),
        ],
    )
    def test_fails_for_advisories_and_never_for_lack_of_a_network(
        self, tmp_path: Path, outcome: str, required: str, *, succeeds: bool, said: str
    ) -> None:
        done = audit(tmp_path, outcome, MAILROOM_AUDIT=required)
        assert (done.returncode == 0, said in done.stdout) == (succeeds, True), done


class TestBillOfMaterials:
    def test_names_every_package_of_an_image_with_its_hashes(self) -> None:
        done = subprocess.run(["make", "sbom"], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0 and not (ROOT / ".venv/supply-chain").exists():
            pytest.skip("the tools cannot be installed")
        assert done.returncode == 0, done.stderr
        bill = json.loads((ROOT / "sbom/mail.cdx.json").read_text())
        assert bill["bomFormat"] == "CycloneDX"
        listed = {f"{part['name']}=={part['version']}" for part in bill["components"]}
        locked = re.findall(r"^([a-z0-9.-]+==[^ ;]+)", (ROOT / "deploy/locks/mail.txt").read_text(), re.MULTILINE)
        assert listed == set(locked)
        assert all(part["externalReferences"][0]["hashes"] for part in bill["components"])
