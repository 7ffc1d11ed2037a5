"""The settings of the provider and its quota."""

import pytest

from services.kit.settings import load
from services.mail.providers.gmail.settings import GOOGLE_API_URL
from services.mail.settings import WorkerSettings
from tests.support.mail.quota import limit_of


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Run without environment variables and without a .env."""
    monkeypatch.chdir(tmp_path_factory.mktemp("settings"))
    for name in ("GMAIL_API_URL", "GMAIL_BATCH_URL", "GMAIL_BATCH_SIZE", "GMAIL_MAILBOX_LIMIT", "GMAIL_PROJECT_LIMIT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MAILROOM_INSECURE_GRPC", "true")


class TestBatchUrl:
    def test_is_googles_for_googles_api(self) -> None:
        assert load(WorkerSettings).batch_url == f"{GOOGLE_API_URL}/batch"

    def test_is_none_for_another_api(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GMAIL_API_URL", "http://localhost:9000/gmail/v1")
        assert load(WorkerSettings).batch_url is None

    def test_is_none_if_set_to_an_empty_value(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GMAIL_BATCH_URL", "")
        assert load(WorkerSettings).batch_url is None

    def test_can_be_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GMAIL_BATCH_URL", "http://localhost:9000/batch")
        assert load(WorkerSettings).batch_url == "http://localhost:9000/batch"


class TestQuota:
    def test_is_that_of_new_projects_by_default(self) -> None:
        limits = load(WorkerSettings).gmail_limits
        assert [(bucket.limit, bucket.window) for bucket in limits.buckets] == [(6_000, 60), (1_200_000, 60)]
        assert (limits.costs.fetch, limits.costs.fetch_thread) == (20, 40)

    def test_can_be_the_legacy_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GMAIL_QUOTA_PROFILE", "legacy")
        limits = load(WorkerSettings).gmail_limits
        assert (limit_of(limits), limits.costs.fetch, limits.costs.fetch_thread) == (15_000, 5, 10)

    @pytest.mark.parametrize(
        ("name", "value"),
        [("GMAIL_MAILBOX_LIMIT", "200"), ("GMAIL_PROJECT_LIMIT", "399"), ("GMAIL_QUOTA_WINDOW", "0")],
    )
    def test_without_room_for_a_batch_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
    ) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit):
            load(WorkerSettings)
        assert "GMAIL" in capsys.readouterr().err

    def test_with_room_for_one_batch_is_accepted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GMAIL_MAILBOX_LIMIT", "201")
        monkeypatch.setenv("GMAIL_PROJECT_LIMIT", "400")
        assert limit_of(load(WorkerSettings).gmail_limits) == 201
