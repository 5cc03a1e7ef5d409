"""paho-mqtt meets Godwit: both versions over TCP, TLS and WebSocket at the same time, with a restart in the middle.

`paho_mqtt.py CA transport=port…` prints RESTART when the server may be killed, goes on after a line of input, and ends well
when everything was as the standard says. With GODWIT_WILL (`transport version`) it connects with a will and dies.
"""

import os
import queue
import subprocess
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

CA = sys.argv[1]
PORTS = dict(part.split("=") for part in sys.argv[2:])
PATIENCE_S = 90
EACH = 20


class Peer:
    def __init__(self, transport, version, name, keeps=False, will=None):
        self.version, self.keeps, self.port = version, keeps, int(PORTS[transport])
        protocol = mqtt.MQTTv5 if version == 5 else mqtt.MQTTv311
        kind = "websockets" if transport.startswith("ws") else "tcp"
        more = {} if version == 5 else {"clean_session": not keeps}
        name = f"paho-{transport}-{version}-{name}"
        client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=protocol, transport=kind, **more)
        if kind == "websockets":
            client.ws_set_options(path="/mqtt")
        if transport in ("tls", "wss"):
            client.tls_set(ca_certs=CA)
        if will:
            client.will_set(will, "gone", qos=1)
        self.got, self.answers, self.subscribed = queue.Queue(), queue.Queue(), queue.Queue()
        client.on_message = lambda _client, _data, message: self.got.put(message)
        client.on_connect = lambda _client, _data, flags, reason, _all: self.answers.put((flags, reason))
        client.on_subscribe = lambda _client, _data, _id, reasons, _all: self.subscribed.put(reasons)
        self.client = client

    def connect(self):
        more = {}
        if self.version == 5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600 if self.keeps else 0
            more = {"clean_start": not self.keeps, "properties": properties}
        self.client.connect("127.0.0.1", self.port, 30, **more)
        self.client.loop_start()
        flags, reason = self.answers.get(timeout=PATIENCE_S)
        assert not reason.is_failure, reason
        return flags.session_present

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        (granted,) = self.subscribed.get(timeout=PATIENCE_S)
        assert granted.value == qos, granted

    def publish(self, topic, payload, qos, retain=False):
        # It says that it is not connected, and sends all the same when it is again.
        while not self.client.is_connected():
            flags, reason = self.answers.get(timeout=PATIENCE_S)
            assert not reason.is_failure, reason
        sent = self.client.publish(topic, payload, qos, retain)
        sent.wait_for_publish(PATIENCE_S)
        assert sent.is_published()

    def take(self):
        return self.got.get(timeout=PATIENCE_S)

    def leave(self):
        self.client.disconnect()
        self.client.loop_stop()


def scenario(transport, version, restart):
    top = f"paho/{transport}/{version}"
    publisher = Peer(transport, version, "publisher")
    publisher.connect()
    keeper = Peer(transport, version, "keeper", keeps=True)
    assert not keeper.connect()
    keeper.subscribe(f"{top}/live/#", 2)
    for qos in (0, 1, 2):
        publisher.publish(f"{top}/live/{qos}", f"{qos}", qos)
        message = keeper.take()
        assert (message.topic, message.payload, message.qos) == (f"{top}/live/{qos}", b"%d" % qos, qos)
        assert not message.retain

    publisher.publish(f"{top}/kept", "kept", 1, retain=True)
    late = Peer(transport, version, "late")
    late.connect()
    late.subscribe(f"{top}/kept", 1)
    message = late.take()
    assert message.retain and message.payload == b"kept"

    late.subscribe(f"{top}/will", 1)
    died = subprocess.run([sys.executable, __file__, *sys.argv[1:]], env={**os.environ, "GODWIT_WILL": f"{transport} {version}"})
    assert died.returncode == 7, died
    message = late.take()
    assert (message.topic, message.payload) == (f"{top}/will", b"gone")
    late.leave()

    keeper.leave()
    for n in range(EACH):
        publisher.publish(f"{top}/live/waits", f"{n}", 1 + n % 2)
    restart.wait(PATIENCE_S)
    restart.wait(PATIENCE_S)
    keeper = Peer(transport, version, "keeper", keeps=True)
    assert keeper.connect(), "the session is there after a restart"
    got = {1: [], 2: []}
    while len(got[1]) + len(got[2]) < EACH:
        message = keeper.take()
        # After `kill -9` a message of QoS 1 may come once more; one of QoS 2 may not.
        is_again = message.qos == 1 and (message.topic != f"{top}/live/waits" or message.payload in got[1])
        if not is_again:
            got[message.qos].append(message.payload)
    for qos in (1, 2):
        assert got[qos] == [b"%d" % n for n in range(EACH) if 1 + n % 2 == qos], got
    # A publisher that was connected all the while comes back by itself.
    publisher.publish(f"{top}/live/after", "after", 2)
    message = keeper.take()
    assert (message.payload, message.qos) == (b"after", 2), message.payload
    late = Peer(transport, version, "late")
    late.connect()
    late.subscribe(f"{top}/kept", 1)
    assert late.take().payload == b"kept"
    publisher.publish(f"{top}/kept", "", 1, retain=True)
    for peer in (late, keeper, publisher):
        peer.leave()


def main():
    if will := os.environ.get("GODWIT_WILL"):
        transport, version = will.split()
        Peer(transport, int(version), "will", will=f"paho/{transport}/{version}/will").connect()
        os._exit(7)
    faults = []

    def run(transport, version):
        try:
            scenario(transport, version, restart)
        except BaseException as fault:
            faults.append((transport, version, repr(fault)))
            restart.abort()

    runs = [(transport, version) for transport in PORTS for version in (4, 5)]
    restart = threading.Barrier(len(runs) + 1)
    threads = [threading.Thread(target=run, args=each) for each in runs]
    for thread in threads:
        thread.start()
    try:
        restart.wait(PATIENCE_S)
        print("RESTART", flush=True)
        sys.stdin.readline()
        restart.wait(PATIENCE_S)
    except threading.BrokenBarrierError:
        pass
    for thread in threads:
        thread.join()
    assert not faults, faults
    print(f"{len(runs)} runs")


main()
