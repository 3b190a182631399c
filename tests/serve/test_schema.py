"""The API keeps to its description, whatever is sent: schemathesis, within bounds."""

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def check_all(app, examples):
    """Send random requests to each route but the stream; returns the routes."""

    async def started(scope, receive, send):
        assert scope["type"] != "lifespan"  # which schemathesis would start again
        await app(scope, receive, send)

    schema = schemathesis.openapi.from_asgi("/openapi.json", started)
    done = []
    for found in schema.exclude(path_regex="^/v1/events").get_all_operations():
        operation = found.ok()
        done.append(operation.label)

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def send(case):
            answer = case.call(headers={**dict(case.headers or {}), "host": "127.0.0.1:8000"})
            case.validate_response(answer, checks=CHECKS)

        send()
    return done


def test_no_request_breaks_it(service):
    done = check_all(service.app, examples=12)
    assert len(done) >= 18
    assert "POST /v1/inspections" in done
