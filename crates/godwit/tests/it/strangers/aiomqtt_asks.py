"""aiomqtt meets Godwit: both versions over TCP, TLS and WebSocket at the same time, with a restart in the middle.

`aiomqtt_asks.py CA transport=port…` prints RESTART when the server may be killed, goes on after a line of input, and ends
well when everything was as the standard says. With GODWIT_WILL (`transport version`) it connects with a will and dies.
"""

import asyncio
import os
import sys

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

CA = sys.argv[1]
PORTS = dict(part.split("=") for part in sys.argv[2:])
PATIENCE_S = 90
EACH = 20


def peer(transport, version, name, keeps=False, will=None):
    more = {}
    if version == 5:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600 if keeps else 0
        more = {"clean_start": not keeps, "properties": properties}
    else:
        more = {"clean_session": not keeps}
    if transport.startswith("ws"):
        more |= {"transport": "websockets", "websocket_path": "/mqtt"}
    if transport in ("tls", "wss"):
        more["tls_params"] = aiomqtt.TLSParameters(ca_certs=CA)
    if will:
        more["will"] = aiomqtt.Will(will, "gone", qos=1)
    protocol = aiomqtt.ProtocolVersion.V5 if version == 5 else aiomqtt.ProtocolVersion.V311
    name = f"aiomqtt-{transport}-{version}-{name}"
    return aiomqtt.Client("127.0.0.1", int(PORTS[transport]), identifier=name, protocol=protocol, **more)


async def take(client):
    return await asyncio.wait_for(anext(aiter(client.messages)), PATIENCE_S)


async def scenario(transport, version, ready, go):
    top = f"aiomqtt/{transport}/{version}"
    async with peer(transport, version, "publisher") as publisher:
        async with peer(transport, version, "keeper", keeps=True) as keeper:
            await keeper.subscribe(f"{top}/live/#", qos=2)
            for qos in (0, 1, 2):
                await publisher.publish(f"{top}/live/{qos}", f"{qos}", qos=qos)
                message = await take(keeper)
                assert (str(message.topic), message.payload, message.qos) == (f"{top}/live/{qos}", b"%d" % qos, qos)
        await publisher.publish(f"{top}/kept", "kept", qos=1, retain=True)
        async with peer(transport, version, "late") as late:
            await late.subscribe(f"{top}/kept", qos=1)
            message = await take(late)
            assert message.retain and message.payload == b"kept"
            await late.subscribe(f"{top}/will", qos=1)
            env = {**os.environ, "GODWIT_WILL": f"{transport} {version}"}
            died = await asyncio.create_subprocess_exec(sys.executable, __file__, *sys.argv[1:], env=env)
            assert await died.wait() == 7
            message = await take(late)
            assert (str(message.topic), message.payload) == (f"{top}/will", b"gone")
        for n in range(EACH):
            await publisher.publish(f"{top}/live/waits", f"{n}", qos=1 + n % 2)
    ready.release()
    await asyncio.wait_for(go.wait(), PATIENCE_S)
    async with peer(transport, version, "keeper", keeps=True) as keeper:
        got = {1: [], 2: []}
        while len(got[1]) + len(got[2]) < EACH:
            message = await take(keeper)
            # After `kill -9` a message of QoS 1 may come once more; one of QoS 2 may not.
            is_again = message.qos == 1 and (str(message.topic) != f"{top}/live/waits" or message.payload in got[1])
            if not is_again:
                got[message.qos].append(message.payload)
        for qos in (1, 2):
            assert got[qos] == [b"%d" % n for n in range(EACH) if 1 + n % 2 == qos], got
        async with peer(transport, version, "publisher") as publisher:
            await publisher.publish(f"{top}/live/after", "after", qos=2)
            assert (await take(keeper)).payload == b"after"
            await publisher.publish(f"{top}/kept", "", qos=1, retain=True)


async def main():
    if will := os.environ.get("GODWIT_WILL"):
        transport, version = will.split()
        async with peer(transport, int(version), "will", will=f"aiomqtt/{transport}/{version}/will"):
            os._exit(7)
    runs = [(transport, version) for transport in PORTS for version in (4, 5)]
    ready, go = asyncio.Semaphore(0), asyncio.Event()
    tasks = [asyncio.create_task(scenario(*run, ready, go)) for run in runs]

    async def restart():
        for _ in runs:
            await ready.acquire()
        print("RESTART", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        go.set()

    await asyncio.gather(restart(), *tasks)
    print(f"{len(runs)} runs")


asyncio.run(main())
