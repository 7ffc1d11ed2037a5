"""Migrations that would break a running service are refused, and their safe forms pass."""

import re
from functools import cache

import pytest

from deploy.migration_lint import SERVICES, problems_of, sql_of
from services.auth.store.tables import metadata as auth_tables
from services.mail.store.tables import metadata as mail_tables

METADATA = {"auth": auth_tables, "mail": mail_tables}


# Each takes an interpreter of its own and all of the service's tables.
read_sql = cache(sql_of)


def in_transaction(statement: str) -> str:
    """A statement as a migration executes it, with its record."""
    return f"BEGIN;\n{statement}\nUPDATE alembic_version SET version_num = '0002';\nCOMMIT;\n"


def tables_of(sql: str) -> set[str]:
    """The tables that exist after these statements."""
    tables: set[str] = set()
    for verb, name in re.findall(r"^(CREATE|DROP) TABLE (?:IF NOT EXISTS )?(\w+)", sql, re.MULTILINE):
        (tables.add if verb == "CREATE" else tables.discard)(name)
    return tables


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
            # After an interruption the transactions before it are committed, and the migration is repeated.
            ("COMMIT;\nCREATE INDEX CONCURRENTLY ix ON messages (size);\nBEGIN;", "prefer-robust-stmts"),
            (
                "ALTER TABLE messages ADD COLUMN colour text; COMMIT; DROP INDEX CONCURRENTLY IF EXISTS ix; BEGIN;",
                "prefer-robust-stmts",
            ),
            # Expand, then contract: the previous release still reads the old column.
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
            "COMMIT;\nCREATE INDEX CONCURRENTLY IF NOT EXISTS ix ON messages (size);\nBEGIN;",
            "-- squawk-ignore ban-drop-column\nALTER TABLE messages DROP COLUMN size;",
        ],
    )
    def test_that_does_neither_passes(self, statement: str) -> None:
        assert problems_of(in_transaction(statement)) == ""


class TestMigrations:
    @pytest.mark.parametrize("service", SERVICES)
    def test_after_the_first_one_are_harmless(self, service: str) -> None:
        assert problems_of(read_sql(service)) == ""

    @pytest.mark.parametrize("service", SERVICES)
    def test_make_the_tables_of_the_code_however_many_there_are(self, service: str) -> None:
        assert tables_of(read_sql(service, since="base")) == {*METADATA[service].tables, "alembic_version"}

    @pytest.mark.parametrize("service", SERVICES)
    def test_are_read_from_the_second_one_on(self, service: str) -> None:
        everything, later = read_sql(service, since="base").strip(), read_sql(service).strip()
        assert everything.endswith(later)
        assert "Running upgrade  -> 0001" in everything.removesuffix(later)
