"""What is started by a test and ends with it."""

import pytest


@pytest.fixture
def ending():
    """A list of what is closed at the end of a test, the last one first."""
    found = []
    yield found
    for one in reversed(found):
        one.close()
