"""Whatever a Markdown page of the repository names exists: files, tests, functions, modules, targets, other pages."""

from pathlib import Path

import pytest

from tests.support.docs.documents import (
    ROOT,
    broken_links,
    documents,
    missing_modules,
    missing_names,
    missing_paths,
    missing_targets,
    texts,
)
from tests.support.docs.page_steps import prose_of

# Tests that name what does not exist, to see it found or made.
MADE_UP = ("tests/docs/", "tests/architecture/", "tests/deploy/local/test_makemigrations.py")


@pytest.fixture(params=documents(), ids=lambda path: str(path.relative_to(ROOT)))
def document(request: pytest.FixtureRequest) -> Path:
    """Each page in turn."""
    path: Path = request.param
    return path


@pytest.fixture
def text(document: Path) -> str:
    """What the page says. Files that it shows, so that a reader creates them, are held by test_extend.py."""
    return prose_of(document.read_text(encoding="utf-8"))


class TestEveryDocument:
    def test_names_paths_that_exist(self, text: str) -> None:
        assert missing_paths(text) == []

    def test_names_tests_and_functions_that_exist(self, text: str) -> None:
        assert missing_names(text) == []

    def test_names_modules_that_exist(self, text: str) -> None:
        assert missing_modules(text) == []

    def test_names_make_targets_that_exist(self, text: str) -> None:
        assert missing_targets(text) == []

    def test_links_to_pages_and_sections_that_exist(self, document: Path, text: str) -> None:
        assert broken_links(document, text) == []


class TestEveryText:
    def test_names_paths_tests_and_functions_that_exist(self) -> None:
        checked = ((path, prose_of(text) if path.endswith(".md") else text) for path, text in texts(left_out=MADE_UP))
        missing = {path: missing_paths(text) + missing_names(text) for path, text in checked}
        assert {path: names for path, names in missing.items() if names} == {}
        assert {"Makefile", "services/mail/app.py", "deploy/Dockerfile", ".env.example"} <= missing.keys()


class TestDocuments:
    def test_are_all_pages(self) -> None:
        found = {str(path.relative_to(ROOT)) for path in documents()}
        assert {"README.md", "README.ru.md", "CHANGELOG.md", "docs/errors.md", "docs/decisions/README.md"} <= found
        assert not any(path.startswith((".venv", "build")) for path in found)


class TestMissingPaths:
    def test_are_reported(self) -> None:
        text = "`services/mail/no_such_file.py`, docs/none.md. [x](tests/none/) and deploy/{name}/none.sh"
        assert missing_paths(text) == [
            "deploy/{name}/none.sh",
            "docs/none.md",
            "services/mail/no_such_file.py",
            "tests/none/",
        ]

    def test_are_none_of_files_placeholders_addresses_and_what_is_made_on_demand(self) -> None:
        text = (
            "`services/mail/app.py`. services/auth/providers/{name}.py `tests/*/conftest.py` deploy/production/x "
            "https://example.org/docs/none.md /docs/none kubectl exec deployment/none deploy/x${NAME}.yml tests/.*/x"
        )
        assert missing_paths(text) == []


class TestMissingNames:
    def test_are_reported_at_every_level(self) -> None:
        text = (
            "`services/mail/ids.py::none` `services/mail/ids.py::PublicId::none` `services/mail/none.py::PublicId` "
            "`services/mail/ids.py::_to_text::found`"
        )
        assert missing_names(text) == [
            "services/mail/ids.py::PublicId::none",
            "services/mail/ids.py::_to_text::found",
            "services/mail/ids.py::none",
            "services/mail/none.py::PublicId",
        ]

    def test_are_none_of_classes_methods_functions_fields_and_constants(self) -> None:
        text = (
            "`services/mail/ids.py::PublicId::mailbox_id` `services/mail/ids.py::_to_text` "
            "`services/mail/store/tables.py::mailboxes` `services/kit/cipher.py::Cipher::encrypt` "
            "`services/kit/rpc/allow_list.py::Callers`"
        )
        assert missing_names(text) == []


class TestMissingModules:
    def test_are_reported(self) -> None:
        assert missing_modules("python -m services.none and `deploy.local.none`") == [
            "deploy.local.none",
            "services.none",
        ]

    def test_are_none_of_packages_and_modules(self) -> None:
        assert (
            missing_modules("python -m services.mail.worker, `services.kit.tls.authority` deploy.migration_lint") == []
        )


class TestMissingTargets:
    def test_are_reported(self) -> None:
        assert missing_targets("`make none` and\n```sh\ncd x && make nothing\nmake no-more x=1\n```\n") == [
            "no-more",
            "none",
            "nothing",
        ]

    def test_are_none_of_targets_and_prose(self) -> None:
        assert missing_targets("`make run`, ``make test`` and what\nmake it work\n") == []


class TestBrokenLinks:
    @pytest.mark.parametrize("link", ["none.md", "errors.md#none", "#none", "../none.md#codes-of-the-rest-api"])
    def test_are_reported(self, link: str) -> None:
        assert broken_links(ROOT / "docs/page.md", f"# Title\n[x]({link})") == [link]

    @pytest.mark.parametrize(
        "link",
        [
            "errors.md",
            "errors.md#codes-of-the-rest-api",
            "#a-title-its-rest",
            "../README.md",
            "https://example.org/none",
        ],
    )
    def test_are_none_of_what_leads_somewhere(self, link: str) -> None:
        assert broken_links(ROOT / "docs/page.md", f"# A title: its `rest`\n[x]({link})") == []
