"""AWS's device SDK for Python, in MQTT 3.1.1 and 5: what `aws_device.py` and `aws_provision.py` share.

Both kinds of connection with one face. The law: nothing of the SDK is set but what an owner of a device sets: where the server
is, whom to trust, who one is. The exception is ALPN, which the SDK's builder offers on port 443 alone: `way` "alpn" puts the same
name onto whatever port the test has.
"""

import queue

from awscrt import exceptions, io, mqtt, mqtt5
from awsiot import mqtt5_client_builder, mqtt_connection_builder

PATIENCE_S = 60
HOST = "localhost"


class Old:
    """MQTT 3.1.1; the session is kept, as is the SDK's default."""

    def __init__(self, way, ca, port, cert, key, client_id):
        self.got, self.events = queue.Queue(), queue.Queue()
        about = dict(
            client_id=client_id,
            port=int(port),
            reconnect_min_timeout_secs=1,
            reconnect_max_timeout_secs=1,
            on_connection_interrupted=lambda connection, error, **_: self.events.put("interrupted"),
            on_connection_resumed=lambda connection, return_code, session_present, **_: self.events.put(
                f"resumed {session_present}"
            ),
        )
        if way == "alpn":
            options = io.TlsContextOptions.create_client_with_mtls_from_path(cert, key)
            options.override_default_trust_store_from_path(None, ca)
            options.alpn_list = ["x-amzn-mqtt-ca"]
            client = mqtt.Client(tls_ctx=io.ClientTlsContext(options))
            self.client = mqtt.Connection(client=client, host_name=HOST, clean_session=False, **about)
        else:
            self.client = mqtt_connection_builder.mtls_from_path(
                endpoint=HOST, cert_filepath=cert, pri_key_filepath=key, ca_filepath=ca, **about
            )

        # Not by subscription: what a kept session holds comes before anybody subscribes.
        self.client.on_message(self._came)

    def _came(self, topic, payload, dup, qos, retain, **_):
        self.got.put((topic, payload, int(qos)))

    def connect(self):
        """Whether the server had a session of this client; an `AwsCrtError` when it is refused."""
        return self.client.connect().result(PATIENCE_S)["session_present"]

    def subscribe(self, topic):
        future, _ = self.client.subscribe(topic, mqtt.QoS.AT_LEAST_ONCE)
        assert future.result(PATIENCE_S)["qos"] == mqtt.QoS.AT_LEAST_ONCE

    def publish(self, topic, payload):
        future, _ = self.client.publish(topic, payload, mqtt.QoS.AT_LEAST_ONCE)
        future.result(PATIENCE_S)

    def disconnect(self):
        self.client.disconnect().result(PATIENCE_S)


class New:
    """MQTT 5, with a session that outlives its connection."""

    def __init__(self, way, ca, port, cert, key, client_id):
        self.got, self.events, self.ready = queue.Queue(), queue.Queue(), queue.Queue()
        self.connected = False
        self.client = mqtt5_client_builder.mtls_from_path(
            endpoint=HOST,
            port=int(port),
            cert_filepath=cert,
            pri_key_filepath=key,
            ca_filepath=ca,
            connect_options=mqtt5.ConnectPacket(client_id=client_id, session_expiry_interval_sec=3600),
            session_behavior=mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS,
            min_reconnect_delay_ms=500,
            max_reconnect_delay_ms=1000,
            on_publish_received=self._came,
            on_lifecycle_connection_success=self._success,
            on_lifecycle_connection_failure=self._failure,
            on_lifecycle_disconnection=self._disconnection,
            on_lifecycle_stopped=lambda _data: self.ready.put("stopped"),
        )

    def _came(self, data):
        packet = data.publish_packet
        self.got.put((packet.topic, packet.payload, int(packet.qos)))

    def _success(self, data):
        present = data.connack_packet.session_present
        if self.connected:
            self.events.put(f"resumed {present}")
        else:
            self.connected = True
            self.ready.put(present)

    def _failure(self, data):
        if not self.connected:
            connack = data.connack_packet
            self.ready.put(Refused(connack.reason_string) if connack else data.exception)

    def _disconnection(self, data):
        self.events.put("interrupted")

    def connect(self):
        """As above; a `Refused` with the server's words when it said why."""
        self.client.start()
        ready = self.ready.get(timeout=PATIENCE_S)
        if isinstance(ready, Exception):
            self.client.stop()
            raise ready
        return ready

    def subscribe(self, topic):
        packet = mqtt5.SubscribePacket([mqtt5.Subscription(topic, mqtt5.QoS.AT_LEAST_ONCE)])
        reasons = self.client.subscribe(packet).result(PATIENCE_S).reason_codes
        assert reasons == [mqtt5.SubackReasonCode.GRANTED_QOS_1], reasons

    def publish(self, topic, payload):
        packet = mqtt5.PublishPacket(topic=topic, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE)
        reason = self.client.publish(packet).result(PATIENCE_S).puback.reason_code
        if reason == mqtt5.PubackReasonCode.NOT_AUTHORIZED:
            raise Refused("publish")
        assert reason < 0x80, reason

    def disconnect(self):
        self.client.stop()
        assert self.ready.get(timeout=PATIENCE_S) == "stopped"


class Refused(Exception):
    """What the server would not do, in its own words."""


REFUSED = (Refused, exceptions.AwsCrtError)


def peer(way, *about):
    """A connection that is not open yet. `way`: `3`, `5`, or `alpn`, which is 3.1.1."""
    return (New if way == "5" else Old)(way, *about)
