"""Fixtures of the tests of caption and of its pages."""

import pytest

from tests.caption import tiny as maker


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> maker.Tiny:
    return maker.make(tmp_path_factory.mktemp("tiny"))
