"""MQTT with a real broker: nothing is lost when it is killed; status, users, TLS, old brokers."""

import base64
import hashlib
import socket
import ssl
import threading
import time

import pytest

from mambaad.errors import ConfigError
from mambaad.serve.sinks.access import MqttAccess
from mambaad.serve.sinks.mqtt import Mqtt
from tests.serve.certificates import make_certificate
from tests.serve.receivers import Mosquitto, Proxy, Subscriber, wait_for
from tests.serve.sinks.sending import Sending


def send(ending, tmp_path, port, access=None, scheme="mqtt"):
    url = f"{scheme}://127.0.0.1:{port}"
    sink = Mqtt(url, "mambaad", "mambaad-test", access or MqttAccess())
    sending = Sending(tmp_path / "data", {"mqtt": sink})
    ending.append(sending)
    return sending


def broker_and_subscriber(ending, tmp_path):
    broker = Mosquitto(tmp_path)
    ending.append(broker)
    subscriber = Subscriber(broker.port)
    ending.append(subscriber)
    return broker, subscriber


def add_while_it_ends(sending, end):
    """Add parts while the broker is ended by ``end``; returns the ids of the inspections."""
    stop = threading.Timer(0.05, end)
    stop.start()
    ids = set().union(*(sending.add(10) for _ in range(15)))
    stop.join()
    wait_for(sending.problem)
    return ids


def is_acknowledgement(answer):
    return answer[0] >> 4 == 4  # PUBACK


def test_nothing_is_lost_when_connections_break(ending, tmp_path):
    broker, subscriber = broker_and_subscriber(ending, tmp_path)
    network = Proxy(broker.port)
    ending.append(network)
    sending = send(ending, tmp_path, network.port)
    wait_for(lambda: subscriber.statuses == ["online"])
    ids = set()
    for _ in range(3):
        ids |= sending.add(30)
        network.cut()
        ids |= sending.add(30)
        wait_for(lambda: sending.waiting() == 0)
        # What the broker has by now is not known on this side.
        network.loses, before = is_acknowledgement, len(subscriber.got)
        ids |= sending.add(30)
        wait_for(lambda before=before: len(subscriber.got) > before)
        network.loses = lambda _: False
        network.cut()
    wait_for(lambda: {key for key, _ in subscriber.got} == ids)
    assert len(subscriber.got) > len(ids)  # some twice, under one id
    assert all(body["id"] == key for key, body in subscriber.got)
    assert {body["score"] for _, body in subscriber.got} == {0.25}


def test_nothing_is_lost_when_the_broker_starts_again(ending, tmp_path):
    broker, subscriber = broker_and_subscriber(ending, tmp_path)
    sending = send(ending, tmp_path, broker.port)
    wait_for(lambda: subscriber.statuses == ["online"])
    ids = set()
    for _ in range(3):
        ids |= add_while_it_ends(sending, broker.stop)
        assert sending.waiting() > 0
        broker.start()
        wait_for(lambda: sending.waiting() == 0)
    wait_for(lambda: {key for key, _ in subscriber.got} == ids)
    assert sending.problem() is None
    wait_for(lambda: b'mambaad_outbox_waiting{sink="mqtt"} 0.0' in sending.metrics.text())


def test_what_a_killed_broker_had_not_acknowledged_is_sent_again(ending, tmp_path):
    # Mosquitto acknowledges before it saves: what it acknowledged in the last moments before a kill
    # is lost in it, and no sender can know (its log has the acknowledgements, and no saving).
    broker, subscriber = broker_and_subscriber(ending, tmp_path)
    sending = send(ending, tmp_path, broker.port)
    wait_for(lambda: subscriber.statuses == ["online"])
    for _ in range(3):
        add_while_it_ends(sending, broker.kill)
        unacknowledged = sending.waiting_ids()
        assert unacknowledged
        broker.start()
        wait_for(lambda: sending.waiting() == 0)
        wait_for(lambda ids=unacknowledged: {key for key, _ in subscriber.got} >= ids)


def test_the_order_is_kept(ending, tmp_path):
    broker, subscriber = broker_and_subscriber(ending, tmp_path)
    sending = send(ending, tmp_path, broker.port)
    sent = [next(iter(sending.add(1))) for _ in range(60)]
    wait_for(lambda: len(subscriber.got) == 60)
    assert [key for key, _ in subscriber.got] == sent


def test_the_status_is_retained_and_the_broker_says_it_for_the_dead(ending, tmp_path):
    broker = Mosquitto(tmp_path)
    ending.append(broker)
    sending = send(ending, tmp_path, broker.port)
    wait_for(lambda: sending._sinks["mqtt"]._connection is not None)
    late = Subscriber(broker.port)
    ending.append(late)
    wait_for(lambda: late.statuses == ["online"])
    # As after a kill: the socket ends without a word.
    sending._sinks["mqtt"]._connection._client._sock.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: late.statuses == ["online", "offline", "online"], 30)
    ending.remove(sending)
    sending.close()
    wait_for(lambda: late.statuses[-1] == "offline")


def test_the_broker_says_offline_for_a_service_that_ends_while_it_connects(ending, tmp_path):
    broker = Mosquitto(tmp_path)
    ending.append(broker)
    late = Subscriber(broker.port)
    ending.append(late)
    network = Proxy(broker.port)
    ending.append(network)
    network.loses = is_acknowledgement
    sending = send(ending, tmp_path, network.port)
    wait_for(lambda: late.statuses == ["online"])
    ending.remove(sending)
    sending.close()
    wait_for(lambda: late.statuses[-1] == "offline")


def test_a_user_may_be_refused_and_what_he_may_not_publish_waits(ending, tmp_path):
    passwords, rights = tmp_path / "passwords", tmp_path / "rights"
    salt = b"0123456789ab"
    digest = hashlib.pbkdf2_hmac("sha512", b"a password", salt, 101, 64)
    kept = f"$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"
    passwords.write_text(f"line:{kept}\nreader:{kept}\n")
    rights.write_text("user line\ntopic write mambaad/status\nuser reader\ntopic read #\n")
    broker = Mosquitto(
        tmp_path, f"allow_anonymous false\npassword_file {passwords}\nacl_file {rights}"
    )
    ending.append(broker)
    sending = send(ending, tmp_path, broker.port, MqttAccess(user="line", password="wrong"))
    wait_for(lambda: sending.problem())
    assert "refuses the connection" in sending.problem()
    assert "wrong" not in sending.problem()
    ending.remove(sending)
    sending.close()
    right = MqttAccess(user="line", password="a password")
    sending = send(ending, tmp_path, broker.port, right)
    ids = sending.add(3)
    wait_for(lambda: "Not authorized" in (sending.problem() or ""))
    assert sending.waiting() == 3
    rights.write_text("user line\ntopic write mambaad/#\nuser reader\ntopic read #\n")
    broker.kill()
    broker.start()
    subscriber = Subscriber(broker.port, user=("reader", "a password"))
    ending.append(subscriber)
    wait_for(lambda: {key for key, _ in subscriber.got} == ids, 90)


# paho leaves the socket of a failed handshake to the garbage collection.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl:pytest.PytestUnraisableExceptionWarning"
)
def test_tls_verifies_the_broker_and_shows_our_certificate(ending, tmp_path):
    make_certificate(tmp_path, "broker")
    make_certificate(tmp_path, "ours")
    broker = Mosquitto(
        tmp_path,
        f"allow_anonymous true\nrequire_certificate true\ncafile {tmp_path / 'ours.pem'}\n"
        f"certfile {tmp_path / 'broker.pem'}\nkeyfile {tmp_path / 'broker.key'}",
    )
    ending.append(broker)
    ours = {"certificate": tmp_path / "ours.pem", "key": tmp_path / "ours.key"}
    sending = send(ending, tmp_path, broker.port, MqttAccess(**ours), "mqtts")
    wait_for(lambda: "CERTIFICATE_VERIFY_FAILED" in (sending.problem() or ""))
    ending.remove(sending)
    sending.close()
    trusted = MqttAccess(**ours, ca=tmp_path / "broker.pem")
    context = ssl.create_default_context(cafile=tmp_path / "broker.pem")
    context.load_cert_chain(ours["certificate"], ours["key"])
    subscriber = Subscriber(broker.port, tls=context)
    ending.append(subscriber)
    ids = send(ending, tmp_path, broker.port, trusted, "mqtts").add(3)
    wait_for(lambda: {key for key, _ in subscriber.got} == ids)


def test_a_certificate_that_is_none_is_refused(tmp_path):
    (tmp_path / "x.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match="give PEM files"):
        Mqtt("mqtts://x", "a", "b", MqttAccess(ca=tmp_path / "x.pem"))


class OldBroker(Proxy):
    """Refuses MQTT 5 as brokers before it do, and passes 3.1.1 on to a real broker."""

    def __init__(self, port):
        self.levels = []
        super().__init__(port)

    def admit(self, client):
        hello = client.recv(65536)
        self.levels.append(hello[hello.index(b"MQTT") + 4])
        if self.levels[-1] != 5:
            return hello
        client.sendall(b"\x20\x02\x00\x01")
        return None


def test_a_broker_of_mqtt_3_is_spoken_to_in_its_way(ending, tmp_path):
    broker, subscriber = broker_and_subscriber(ending, tmp_path)
    old = OldBroker(broker.port)
    ending.append(old)
    ids = send(ending, tmp_path, old.port).add(3)
    wait_for(lambda: {key for key, _ in subscriber.got} == ids)
    assert old.levels == [5, 4]


def test_a_broker_that_hangs_is_given_up(ending, tmp_path, monkeypatch):
    monkeypatch.setattr("mambaad.serve.sinks.mqtt._SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sending = send(ending, tmp_path, silent.getsockname()[1])
        wait_for(lambda: "did not answer" in (sending.problem() or ""))
        start = time.monotonic()
        ending.remove(sending)
        sending.close()
        assert time.monotonic() - start < 5
