"""`deploy/first-install` makes the files that the production file mounts, once."""

import os
import re
import subprocess
from pathlib import Path

import yaml

from services.auth.providers.providers_file import read_providers

DEPLOY = Path(__file__).parents[2] / "deploy"
# Issued by the provider, so the script makes an empty file.
GIVEN = "google_client_secret"


def _install(directory: Path) -> str:
    environment = {"PATH": os.environ["PATH"], "MAILROOM_PRODUCTION": str(directory)}
    done = subprocess.run([DEPLOY / "first-install"], env=environment, check=True, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout


def _contents(directory: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in directory.rglob("*") if file.is_file()}


class TestFirstInstall:
    def test_makes_every_secret_that_the_production_file_mounts(self, tmp_path: Path) -> None:
        _install(tmp_path / "production")
        mounted = yaml.safe_load((DEPLOY / "compose.production.yml").read_text())["secrets"].keys()
        assert {file.name for file in (tmp_path / "production/secrets").iterdir()} == mounted

    def test_makes_long_secrets_that_differ(self, tmp_path: Path) -> None:
        _install(tmp_path)
        secrets = [file.read_text() for file in (tmp_path / "secrets").iterdir() if file.stat().st_size]
        assert len(set(secrets)) == len(secrets) == 11
        assert all(re.fullmatch(r"[0-9a-f]{64}\n", secret) for secret in secrets)

    def test_directories_are_accessible_to_their_owner_only(self, tmp_path: Path) -> None:
        _install(tmp_path / "production")
        for directory in ("", "secrets", "certificates"):
            assert (tmp_path / "production" / directory).stat().st_mode & 0o777 == 0o700
        # Containers run as another user and mount each file separately, and the directory of providers.
        assert (tmp_path / "production/secrets/secret_key").stat().st_mode & 0o777 == 0o444
        assert (tmp_path / "production/providers").stat().st_mode & 0o777 == 0o755
        assert (tmp_path / "production/providers/providers.toml").stat().st_mode & 0o777 == 0o444

    def test_directories_that_the_operator_has_made_for_a_kept_key_are_closed_too(self, tmp_path: Path) -> None:
        (tmp_path / "production/secrets").mkdir(parents=True, mode=0o755)
        (tmp_path / "production/secrets/secret_key").write_text("kept")
        _install(tmp_path / "production")
        for directory in ("", "secrets"):
            assert (tmp_path / "production" / directory).stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "production/secrets/secret_key").read_text() == "kept"

    def test_describes_no_further_providers(self, tmp_path: Path) -> None:
        _install(tmp_path)
        assert read_providers(tmp_path / "providers/providers.toml") == {}

    def test_keeps_existing_files(self, tmp_path: Path) -> None:
        assert f"put the secret of your OAuth client into {tmp_path}/secrets/{GIVEN}" in _install(tmp_path)
        (tmp_path / "secrets" / GIVEN).chmod(0o644)
        (tmp_path / "secrets" / GIVEN).write_text("given")
        # The last two are those that an installation from before webhooks lacks.
        lacked = ("redis_password", "postgres_mail_deliverer_password", "mail_secret_key")
        for name in lacked:
            (tmp_path / "secrets" / name).unlink()
        before = _contents(tmp_path)
        made = _install(tmp_path).splitlines()
        assert sorted(made) == sorted(f"made secrets/{name}" for name in lacked)
        after = _contents(tmp_path)
        assert [len(after.pop(name)) for name in lacked] == [65] * 3
        assert after == before
