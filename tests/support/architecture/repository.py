"""The files that belong to a checkout, as git knows them."""

import subprocess
from pathlib import Path


def tracked_files(root: Path, *folders: str) -> list[str]:
    """Return the files below `root` that git tracks or would add, those of `folders` only if any are named.

    Files that were removed but not committed yet are left out.
    """
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *folders]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sorted({path for path in listed.split("\0") if path and (root / path).is_file()})
