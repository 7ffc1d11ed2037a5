"""Where Mailroom is, and as whom: a file of the user, or the environment."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, TypeGuard, cast

from mailroom_cli.failures import CommandError

DEFAULT_URL: Final = "http://localhost:8000"
_OWNER_ONLY: Final = 0o600


@dataclass(frozen=True, slots=True)
class Profile:
    """An address with the tokens for it."""

    url: str = DEFAULT_URL
    token: str | None = None
    refresh_token: str | None = None


@dataclass(frozen=True, slots=True)
class Profiles:
    """The file of profiles, readable by its owner alone."""

    path: Path

    def load(self, name: str) -> Profile:
        """Return a profile, an unknown one of this machine's server. Raises CommandError for a damaged file."""
        found = self._read().get(name, {})
        return Profile(**{field: found[field] for field in ("url", "token", "refresh_token") if field in found})

    def save(self, name: str, profile: Profile) -> None:
        """Write a profile; a crash leaves the file as it was."""
        self._write(self._read() | {name: asdict(profile)})

    def remove(self, name: str) -> None:
        """Forget a profile."""
        self._write({other: values for other, values in self._read().items() if other != name})

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            found: object = json.loads(self.path.read_text())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise CommandError(f"{self.path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise self._damaged(str(error)) from error
        if not _are_profiles(found):
            raise self._damaged("no object of profiles")
        return found

    def _damaged(self, reason: str) -> CommandError:
        return CommandError(f"{self.path} is damaged ({reason}): correct or remove it")

    def _write(self, profiles: Mapping[str, Mapping[str, str | None]]) -> None:
        beside = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside.touch(_OWNER_ONLY)
            beside.chmod(_OWNER_ONLY)
            beside.write_text(json.dumps(profiles, indent=2) + "\n")
            beside.replace(self.path)
        except OSError as error:
            raise CommandError(f"{self.path} cannot be written: {error.strerror}") from error


def profiles_of_user(environment: Mapping[str, str]) -> Profiles:
    """Return the profiles in MAILROOM_CONFIG, or in the directory of configuration files."""
    chosen = environment.get("MAILROOM_CONFIG")
    directory = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Profiles(Path(chosen) if chosen else directory / "mailroom" / "profiles.json")


def chosen_profile(profiles: Profiles, name: str, *, url: str | None) -> Profile:
    """Return a profile under the variables MAILROOM_URL and MAILROOM_TOKEN and the option `url`.

    A token never goes to another address than its own: another `url` drops the stored one.
    """
    profile = profiles.load(name)
    url = (url or os.environ.get("MAILROOM_URL") or profile.url).rstrip("/")
    if url != profile.url:
        profile = Profile(url=url)
    token = os.environ.get("MAILROOM_TOKEN")
    return replace(profile, token=token, refresh_token=None) if token else profile


def _are_profiles(found: object) -> TypeGuard[dict[str, dict[str, str]]]:
    return isinstance(found, dict) and all(
        isinstance(profile, dict) for profile in cast("dict[object, object]", found).values()
    )
