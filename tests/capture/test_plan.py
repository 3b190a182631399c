"""Plans: what is read of their words, and what is refused."""

import pytest

from mambaad.capture.plan import LEVEL, Plan
from mambaad.errors import ConfigError


def test_triggers_are_read():
    assert Plan("every:25").every == 25
    assert Plan("change").every is Plan("change").region is None
    assert Plan("change:1,2,30,40").region == (1, 2, 30, 40)
    assert Plan("change:1,2,30,40").level == LEVEL
    assert Plan("change:1,2,30,40:7.5").level == 7.5


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"trigger": "every:0"}, "--trigger: expected every:N"),
        ({"trigger": "often"}, "--trigger: expected every:N"),
        ({"trigger": "change:1,2,3"}, "--trigger: expected every:N"),
        ({"trigger": "change:1,2,0,4"}, "--trigger: expected every:N"),
        ({"trigger": "change:1,2,3,4:much"}, "the level is above 0"),
        ({"trigger": "change:1,2,3,4:300"}, "the level is above 0"),
        ({"frames": 0}, "--frames: expected 1 or more, got 0"),
        ({"step": 0}, "--step: expected 1"),
        ({"delay": -1}, "--delay: expected 0"),
        ({"rule": "min"}, "--rule: expected max"),
        ({"rule": "at-least:0", "frames": 3}, "--rule: expected max"),
        ({"rule": "at-least:4", "frames": 3}, "a part has 3 frames"),
    ],
)
def test_wrong_plans_are_refused(wrong, line):
    with pytest.raises(ConfigError, match=line):
        Plan(**wrong)
