"""What a migration may not do to a service that runs, and how it gets there all the same."""

import pytest

from deploy.migration_lint import SERVICES, problems_of, sql_of


def in_transaction(statement: str) -> str:
    return f"BEGIN;\n{statement}\nCOMMIT;\n"


class TestStatement:
    @pytest.mark.parametrize(
        ("statement", "rule"),
        [
            ("ALTER TABLE messages ADD COLUMN colour text NOT NULL;", "adding-required-field"),
            ("ALTER TABLE messages ALTER COLUMN subject SET NOT NULL;", "adding-not-nullable-field"),
            ("ALTER TABLE messages ALTER COLUMN size TYPE numeric;", "changing-column-type"),
            ("ALTER TABLE messages ADD CONSTRAINT c CHECK (size > 0);", "constraint-missing-not-valid"),
            ("CREATE INDEX ix ON messages (size);", "require-concurrent-index-creation"),
            ("CREATE INDEX CONCURRENTLY ix ON messages (size);", "ban-concurrent-index-creation-in-transaction"),
            # Expand, then contract: the release before still reads what is there.
            ("ALTER TABLE messages DROP COLUMN size;", "ban-drop-column"),
            ("ALTER TABLE messages RENAME COLUMN size TO bytes;", "renaming-column"),
            ("DROP TABLE labels;", "ban-drop-table"),
        ],
    )
    def test_that_locks_for_long_or_breaks_older_code_is_refused(self, statement: str, rule: str) -> None:
        assert rule in problems_of(in_transaction(statement))

    @pytest.mark.parametrize(
        "statement",
        [
            "ALTER TABLE messages ADD COLUMN colour text;",
            "ALTER TABLE messages ADD COLUMN colour text NOT NULL DEFAULT '';",
            "ALTER TABLE messages ADD CONSTRAINT c CHECK (size > 0) NOT VALID;",
            "CREATE TABLE colours (mailbox_id bigint PRIMARY KEY, name text NOT NULL);",
            "COMMIT;\nCREATE INDEX CONCURRENTLY ix ON messages (size);\nBEGIN;",
            "-- squawk-ignore ban-drop-column\nALTER TABLE messages DROP COLUMN size;",
        ],
    )
    def test_that_does_neither_passes(self, statement: str) -> None:
        assert problems_of(in_transaction(statement)) == ""


class TestMigrations:
    @pytest.mark.parametrize("service", SERVICES)
    def test_after_the_first_one_are_harmless(self, service: str) -> None:
        assert problems_of(sql_of(service)) == ""

    @pytest.mark.parametrize("service", SERVICES)
    def test_are_rendered_as_they_are(self, service: str) -> None:
        assert "CREATE TABLE" in sql_of(service, since="base")
        assert "CREATE TABLE" not in sql_of(service)
