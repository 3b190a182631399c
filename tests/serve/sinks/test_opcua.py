"""OPC UA with a real server as a PLC has one: nothing is lost when it is killed."""

import json
import re
from pathlib import Path

import pytest

from mambaad.errors import ConfigError
from mambaad.serve.sinks.access import OpcUaAccess
from mambaad.serve.sinks.opcua import CODES, NAMES, OpcUa, values_of
from mambaad.types import Verdict
from tests.serve.certificates import make_certificate
from tests.serve.receivers import Plc, wait_for
from tests.serve.sinks.sending import Sending

PATTERN = "ns=2;s=MambaAD.{name}"


def start(ending, tmp_path, *options, access=None, pattern=PATTERN):
    plc = Plc(tmp_path, *options)
    sending = Sending(
        tmp_path / "data", {"opcua": OpcUa(plc.url, pattern, access or OpcUaAccess())}
    )
    ending += [plc, sending]
    return plc, sending


def test_each_inspection_is_written_and_acknowledged(ending, tmp_path):
    plc, sending = start(ending, tmp_path)
    verdicts = ("PASS", "REVIEW", "FAIL", "UNKNOWN PRODUCT", "BAD IMAGE")
    ids = [sending.add(1, verdict=verdict, serial="A-1").pop() for verdict in verdicts]
    ids.append(sending.add(1, verdict=None, error="the image is damaged").pop())
    wait_for(lambda: sending.waiting() == 0)
    assert [key for key, _ in plc.got] == ids  # once each, in their order
    values = [value for _, value in plc.got]
    assert [one["VerdictCode"] for one in values] == [1, 2, 3, 4, 5, 0]
    assert [one["Verdict"] for one in values] == [*verdicts, ""]
    for key, one in plc.got:
        sent = json.loads(one["Json"])
        assert sent["id"] == key
        assert (one["Serial"], one["Product"], one["Bundle"]) == (
            sent["serial"] or "",
            sent["product"],
            sent["bundle"],
        )
        assert one["Time"].replace(" ", "T")[:23] == sent["inspected_at"].rstrip("Z")
    assert values[0]["Score"] == 0.25
    assert values[5]["Score"] != values[5]["Score"]  # not a number
    assert values[5]["Reason"] == "the image is damaged"
    assert {"Acknowledged", *values_of(values[0]["Json"])} == set(NAMES)


def test_nothing_is_lost_when_the_server_is_killed(ending, tmp_path):
    plc, sending = start(ending, tmp_path)
    ids = sending.add(40)
    wait_for(lambda: len(plc.got) >= 5)
    plc.kill()
    wait_for(sending.problem)
    assert 0 < sending.waiting() < 40
    plc.start()
    wait_for(lambda: sending.waiting() == 0)
    assert {key for key, _ in plc.got} == ids
    assert all(json.loads(one["Json"])["id"] == key for key, one in plc.got)


def test_a_server_without_acknowledgement_and_with_few_nodes(ending, tmp_path):
    plc, sending = start(ending, tmp_path, "--silent", "--only", "Id", "VerdictCode")
    (first,) = sending.add(1, verdict="FAIL")
    wait_for(lambda: plc.got)
    assert plc.got == [(first, {"Id": first, "VerdictCode": 3})]
    wait_for(lambda: sending.waiting() == 0)


def test_a_plc_that_does_not_acknowledge_is_waited_for(ending, tmp_path, monkeypatch):
    monkeypatch.setattr("mambaad.serve.sinks.opcua._ACKNOWLEDGE_SECONDS", 0.2)
    plc, sending = start(ending, tmp_path, "--stopped")
    ids = sending.add(2)
    wait_for(lambda: "does not have its id" in (sending.problem() or ""))
    assert sending.waiting() == 2
    plc.kill()
    plc.start("--only", *NAMES)  # its program runs
    wait_for(lambda: sending.waiting() == 0)
    assert {key for key, _ in plc.got} == ids


def test_the_page_has_each_node_with_its_meaning():
    page = (Path(__file__).parents[3] / "docs" / "serve_line.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", page, re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert set(NAMES) <= documented
    for verdict, code in CODES.items():
        assert verdict is None or f"{code} `{verdict}`" in page
    assert {None, *Verdict} == set(CODES)


def test_a_certificate_that_is_none_is_refused(tmp_path):
    (tmp_path / "x.pem").write_text("no certificate")
    for access in (
        OpcUaAccess(certificate=tmp_path / "x.pem", key=tmp_path / "x.pem"),
        OpcUaAccess(certificate=tmp_path / "absent", key=tmp_path / "x.pem"),
    ):
        with pytest.raises(ConfigError, match=r"--opcua: .*(no certificate|cannot be read)"):
            OpcUa("opc.tcp://x", PATTERN, access)


def test_a_server_without_the_nodes_is_said(ending, tmp_path):
    _, sending = start(ending, tmp_path, pattern='ns=2;s="Vision"."{name}"')
    wait_for(sending.problem)
    assert sending.problem() == 'the server has no node ns=2;s="Vision"."Id"'


def test_it_signs_encrypts_and_logs_in(ending, tmp_path):
    make_certificate(tmp_path, "server")
    make_certificate(tmp_path, "ours")
    ours = {"certificate": tmp_path / "ours.pem", "key": tmp_path / "ours.key", "user": "line"}
    wrong = OpcUaAccess(**ours, password="wrong")
    plc, sending = start(ending, tmp_path, "--secure", str(tmp_path), access=wrong)
    wait_for(sending.problem)
    assert "wrong" not in sending.problem()
    ending.remove(sending)
    sending.close()
    right = OpcUaAccess(**ours, password="a password", server_certificate=tmp_path / "server.pem")
    sending = Sending(tmp_path / "data", {"opcua": OpcUa(plc.url, PATTERN, right)})
    ending.append(sending)
    ids = sending.add(2)
    wait_for(lambda: sending.waiting() == 0)
    assert {key for key, _ in plc.got} == ids
