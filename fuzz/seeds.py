#!/usr/bin/env python3
"""Writes the golden payloads of demo/payloads as inputs of the fuzz target payload_decode into a directory."""

import json
import pathlib
import re
import sys

here = pathlib.Path(__file__).parent
out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
source = (here / "fuzz_targets/payload_decode.rs").read_text()


def strings(name):
    """The texts of a constant list."""
    return re.findall(r'"((?:[^"\\]|\\.)*)"', source.split(f"const {name}:", 1)[1].split("\n];", 1)[0])


flat = strings("WAYS")
ways = list(zip(flat[::2], flat[1::2]))
types = [topic.split("/")[2] for topic in strings("STORY")]
story = b"\xff"
for path in sorted((here / "../demo/payloads").glob("*/*.json")):
    golden = json.loads(path.read_text())
    if "payload_hex" in golden:
        payload = bytes.fromhex(golden["payload_hex"])
    else:
        text = golden["payload"]
        payload = (text if isinstance(text, str) else json.dumps(text)).encode()
    kind = path.parent.name
    for way, (_, toml) in enumerate(ways):
        if f'\\"{kind}\\"' in toml or (kind == "cbor" and "senml" in toml):
            (out / f"{kind}-{path.stem}-{way}").write_bytes(bytes([way]) + payload)
    if kind == "sparkplug" and golden["topic"].split("/")[2] in types and len(payload) < 256:
        story += bytes([len(payload), types.index(golden["topic"].split("/")[2]) | 2 << 3]) + payload
(out / "sparkplug-story").write_bytes(story)
