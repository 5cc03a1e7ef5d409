"""paho-mqtt as a device out of the box: `paho_provision.py CA PORT CLAIM_CERT CLAIM_KEY SERIAL OUT VERSION HOW`.

Asks with a claim for a certificate of its own (HOW: `key` or a file with a request), registers as SERIAL, writes what it got to
OUT.cert.pem and OUT.key.pem and prints the answer to the registration. A second client with the same claim subscribes to the same
answers: it must hear nothing.
"""

import json
import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

CA, PORT, CERT, KEY, SERIAL, OUT, VERSION, HOW = sys.argv[1:]
PATIENCE_S = 60


class Peer:
    def __init__(self, name):
        protocol = mqtt.MQTTv5 if VERSION == "5" else mqtt.MQTTv311
        self.client = client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=protocol)
        client.tls_set(ca_certs=CA, certfile=CERT, keyfile=KEY)
        self.got, self.ready, self.subscribed = queue.Queue(), queue.Queue(), queue.Queue()
        client.on_message = lambda _client, _data, message: self.got.put(message)
        client.on_connect = lambda _client, _data, _flags, reason, _all: self.ready.put(reason)
        client.on_subscribe = lambda _client, _data, _mid, reasons, _all: self.subscribed.put(reasons)
        client.connect("127.0.0.1", int(PORT))
        client.loop_start()
        reason = self.ready.get(timeout=PATIENCE_S)
        assert not reason.is_failure, reason

    def listen(self, topic):
        self.client.subscribe([(f"{topic}/accepted", 1), (f"{topic}/rejected", 1)])
        reasons = self.subscribed.get(timeout=PATIENCE_S)
        assert not any(reason.is_failure for reason in reasons), reasons

    def ask(self, topic, asked):
        self.listen(topic)
        self.client.publish(topic, json.dumps(asked), qos=1)
        message = self.got.get(timeout=PATIENCE_S)
        return message.topic.rsplit("/", 1)[1], json.loads(message.payload)


device, listener = Peer(f"box-{SERIAL}"), Peer(f"listener-{SERIAL}")
topic = "$aws/certificates/create/json" if HOW == "key" else "$aws/certificates/create-from-csr/json"
provision = "$aws/provisioning-templates/pumps/provision/json"
listener.listen(topic)
listener.listen(provision)
how, made = device.ask(topic, {} if HOW == "key" else {"certificateSigningRequest": open(HOW).read()})
assert how == "accepted", made
assert len(made["certificateId"]) == 64, made
assert ("privateKey" in made) == (HOW == "key"), made
with open(f"{OUT}.cert.pem", "w") as file:
    file.write(made["certificatePem"])
if HOW == "key":
    with open(f"{OUT}.key.pem", "w") as file:
        file.write(made["privateKey"])
token = made["certificateOwnershipToken"]
how, answer = device.ask(provision, {"certificateOwnershipToken": token + "0", "parameters": {"SerialNumber": SERIAL}})
assert (how, answer["statusCode"], answer["errorCode"]) == ("rejected", 400, "InvalidCertificateOwnershipToken"), answer
how, answer = device.ask(provision, {"certificateOwnershipToken": token, "parameters": {"SerialNumber": SERIAL}})
assert how == "accepted", answer
# A round trip of the listener's own: what was to come before it has come.
how, _ = listener.ask(provision, {})
assert how == "rejected" and listener.got.empty()
print(json.dumps(answer, sort_keys=True), flush=True)
