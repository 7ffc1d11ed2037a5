"""The committed gRPC code is generated from the protos."""

import filecmp
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def generated_files(root: Path) -> set[Path]:
    return {path.relative_to(root) for path in root.rglob("*_pb2*") if "__pycache__" not in path.parts}


def test_regenerating_the_code_changes_nothing(tmp_path: Path) -> None:
    fresh = tmp_path / "gen"
    subprocess.run(["make", "protos", f"PROTOS_OUT={fresh}"], cwd=ROOT, check=True, capture_output=True)
    committed = ROOT / "protos" / "gen"

    files = generated_files(fresh)
    assert files == generated_files(committed)
    assert files, "the contracts generate something"
    _, different, unreadable = filecmp.cmpfiles(committed, fresh, map(str, files), shallow=False)
    assert (different, unreadable) == ([], [])
