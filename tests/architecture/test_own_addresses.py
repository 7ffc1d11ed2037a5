"""Addresses of made-up users: a test has the same ones in every run, and benchmarks have some, too."""

import os

import pytest

from tests.support.own_addresses import own_address


class TestOwnAddress:
    def test_follows_from_the_test_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first = own_address(())
        assert own_address({first}) != first
        monkeypatch.setenv("PYTEST_CURRENT_TEST", os.environ["PYTEST_CURRENT_TEST"].replace("(call)", "(teardown)"))
        assert own_address(()) == first
        monkeypatch.setenv("PYTEST_CURRENT_TEST", "tests/test_others.py::test (call)")
        assert own_address({first}) != first

    def test_is_there_for_benchmarks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("PYTEST_CURRENT_TEST")
        assert own_address({own_address(())}) != own_address(())
