"""What the registry makes of all providers together."""

import pytest

from services.kit.settings import load
from services.mail.providers.registry import provider_limits
from services.mail.settings import WorkerSettings


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> WorkerSettings:
    """Return the default settings."""
    monkeypatch.chdir(tmp_path_factory.mktemp("settings"))
    monkeypatch.setenv("MAILROOM_INSECURE_GRPC", "true")
    return load(WorkerSettings)


def test_no_two_buckets_have_the_same_name(settings: WorkerSettings) -> None:
    limits = provider_limits(settings)
    names = [bucket.name for of in limits.values() for bucket in of.buckets]
    names += [of.day.name for of in limits.values() if of.day is not None]
    assert "google" in limits
    assert sorted(names) == sorted(set(names))
