"""AWS's SDK as a device in service: `aws_device.py WAY CA PORT CERT KEY NAME`, in step with a test by lines on both sides.

Connects, waits for two commands with a restart of the server between them and answers each by a reading at QoS 1; leaves, and
finds at its return what came while it was away; is cut and refused when its certificate is revoked.
"""

import json
import sys

from aws_iot import PATIENCE_S, REFUSED, Refused, peer

NAME = sys.argv[-1]


def say(line):
    print(line, flush=True)


def obey(device, step):
    topic, payload, qos = device.got.get(timeout=PATIENCE_S)
    assert (topic, qos) == (f"cmd/{NAME}/go", 1), (topic, qos)
    if json.loads(payload)["step"] < step:
        # At least once: the server was killed before it knew that the device has it.
        return obey(device, step)
    assert json.loads(payload) == {"step": step}, payload
    device.publish(f"dt/{NAME}/state", json.dumps({"step": step}))
    say(f"obeyed {step}")


def next_event(device, *expected):
    event = device.events.get(timeout=PATIENCE_S)
    assert event in expected, event
    return event


device = peer(*sys.argv[1:])
assert not device.connect(), "a first connection has no session"
device.subscribe(f"cmd/{NAME}/#")
say("ready")
obey(device, 1)
# The test kills the server and starts it again: the SDK comes back by itself, to its session, and subscribes to nothing.
next_event(device, "interrupted")
next_event(device, "resumed True")
say("resumed")
obey(device, 2)
device.disconnect()
say("away")
sys.stdin.readline()
again = peer(*sys.argv[1:])
assert again.connect(), "the session is kept"
obey(again, 3)
if sys.argv[1] == "5":
    try:
        again.publish("dt/another/state", "{}")
        raise AssertionError("another device's topic")
    except Refused:
        pass
say("revoke me")
next_event(again, "interrupted")
again.disconnect()
try:
    peer(*sys.argv[1:]).connect()
    raise AssertionError("a revoked certificate")
except REFUSED as error:
    say(f"refused {error}")
