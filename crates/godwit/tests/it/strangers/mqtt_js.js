// mqtt.js meets Godwit: both versions over TCP, TLS and WebSocket at the same time, with a restart in the middle.
//
// `mqtt_js.js CA transport=port…` prints RESTART when the server may be killed, goes on after a line of input, and ends well
// when everything was as the standard says.
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const readline = require("node:readline");
const mqtt = require("mqtt");

const [ca, ...rest] = process.argv.slice(2);
const ports = Object.fromEntries(rest.map((part) => part.split("=")));
const schemes = { tcp: "mqtt", tls: "mqtts", ws: "ws", wss: "wss" };
const patienceMs = 90_000;
const each = 20;

function within(promise, what) {
  let timer;
  const late = new Promise((_, refuse) => (timer = setTimeout(() => refuse(new Error(`never: ${what}`)), patienceMs)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/// A connected client, what it gets, and whether its session was there.
async function open(transport, version, name, { keeps = false, will, reconnects = false } = {}) {
  const path = transport.startsWith("ws") ? "/mqtt" : "";
  const options = {
    protocolVersion: version,
    clientId: `mqttjs-${transport}-${version}-${name}`,
    clean: !keeps,
    ca: fs.readFileSync(ca),
    reconnectPeriod: reconnects ? 200 : 0,
    resubscribe: false,
  };
  if (version === 5) options.properties = { sessionExpiryInterval: keeps ? 3600 : 0 };
  if (will) options.will = { topic: will, payload: Buffer.from("gone"), qos: 1, retain: false };
  const client = mqtt.connect(`${schemes[transport]}://127.0.0.1:${ports[transport]}${path}`, options);
  const peer = { client, got: [], waiting: [] };
  client.on("message", (topic, payload, packet) => {
    const message = { topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain };
    const taker = peer.waiting.shift();
    if (taker) taker(message);
    else peer.got.push(message);
  });
  peer.take = () => {
    if (peer.got.length) return Promise.resolve(peer.got.shift());
    return within(new Promise((taken) => peer.waiting.push(taken)), `a message for ${options.clientId}`);
  };
  peer.present = await within(
    new Promise((connected, refused) => {
      client.once("connect", (answer) => connected(answer.sessionPresent));
      client.on("error", (fault) => (reconnects && peer.present !== undefined ? undefined : refused(fault)));
    }),
    `${options.clientId} connects`,
  );
  return peer;
}

const subscribe = async (peer, topic, qos) => {
  const [granted] = await within(peer.client.subscribeAsync(topic, { qos }), `SUBACK for ${topic}`);
  assert.strictEqual(granted.qos, qos);
};
const publish = (peer, topic, payload, qos, retain = false) =>
  within(peer.client.publishAsync(topic, payload, { qos, retain }), `${topic} is acknowledged`);

async function scenario(transport, version, restarted) {
  const top = `mqttjs/${transport}/${version}`;
  const publisher = await open(transport, version, "publisher", { reconnects: true });
  let keeper = await open(transport, version, "keeper", { keeps: true });
  assert.ok(!keeper.present);
  await subscribe(keeper, `${top}/live/#`, 2);
  for (const qos of [0, 1, 2]) {
    await publish(publisher, `${top}/live/${qos}`, `${qos}`, qos);
    const want = { topic: `${top}/live/${qos}`, payload: `${qos}`, qos, retain: false };
    assert.deepStrictEqual(await keeper.take(), want);
  }

  await publish(publisher, `${top}/kept`, "kept", 1, true);
  let late = await open(transport, version, "late");
  await subscribe(late, `${top}/kept`, 1);
  assert.deepStrictEqual(await late.take(), { topic: `${top}/kept`, payload: "kept", qos: 1, retain: true });
  await subscribe(late, `${top}/will`, 1);
  const dying = await open(transport, version, "will", { will: `${top}/will` });
  dying.client.stream.destroy();
  assert.strictEqual((await late.take()).payload, "gone");
  await late.client.endAsync();

  await keeper.client.endAsync();
  for (let n = 0; n < each; n++) await publish(publisher, `${top}/live/waits`, `${n}`, 1 + (n % 2));
  await restarted();
  keeper = await open(transport, version, "keeper", { keeps: true });
  assert.ok(keeper.present, "the session is there after a restart");
  const got = { 1: [], 2: [] };
  while (got[1].length + got[2].length < each) {
    const { topic, payload, qos } = await keeper.take();
    // After `kill -9` a message of QoS 1 may come once more; one of QoS 2 may not.
    const isAgain = qos === 1 && (topic !== `${top}/live/waits` || got[1].includes(payload));
    if (!isAgain) got[qos].push(payload);
  }
  for (const qos of [1, 2]) {
    const want = [...Array(each).keys()].filter((n) => 1 + (n % 2) === qos).map(String);
    assert.deepStrictEqual(got[qos], want);
  }
  // A publisher that was connected all the while comes back by itself.
  await publish(publisher, `${top}/live/after`, "after", 2);
  assert.strictEqual((await keeper.take()).payload, "after");
  late = await open(transport, version, "late");
  await subscribe(late, `${top}/kept`, 1);
  assert.strictEqual((await late.take()).payload, "kept");
  await publish(publisher, `${top}/kept`, "", 1, true);
  for (const peer of [late, keeper, publisher]) await peer.client.endAsync();
}

async function main() {
  const runs = Object.keys(ports).flatMap((transport) => [4, 5].map((version) => [transport, version]));
  let ready = 0;
  let go;
  const gone = new Promise((restarted) => (go = restarted));
  const restarted = () => {
    ready += 1;
    if (ready === runs.length) {
      readline.createInterface({ input: process.stdin }).once("line", go);
      console.log("RESTART");
    }
    return within(gone, "the restart");
  };
  await Promise.all(runs.map(([transport, version]) => scenario(transport, version, restarted)));
  console.log(`${runs.length} runs`);
}

main().then(
  () => process.exit(0),
  (fault) => {
    console.error(fault);
    process.exit(1);
  },
);
