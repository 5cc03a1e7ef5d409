"""Readings as columns, beside DuckDB and VictoriaMetrics on the same machine in the same run.

usage: demo/bench-series GODWIT_BINARY [ROWS_PER_DEVICE]      (1,000 devices x 10,000 rows by default)

The data: 250 s ± 0.4 s apart, temperatures of two decimals that drift. Each engine takes in the same rows the way that suits it best: Godwit by
`godwit import` (MQTT QoS 1, journalled and synced before it counts), VictoriaMetrics by its JSON lines over HTTP, DuckDB in its own
process from memory. The four questions are asked over one open connection, warm, and the median of what they took is shown.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

import duckdb
import numpy as np

DEVICES = 1_000
PACE_MS = 250_000
ROUNDS = 21
ASKED = "d500"
PATIENCE_S = 300


def data(rows):
    """Times in ms and values in hundredths, a row of each per device; the same in every run but for the hour it ends at."""
    dice = np.random.default_rng(42)
    start = (int(time.time()) - (rows + 1) * PACE_MS // 1000) // 3600 * 3_600_000
    pace = start + np.arange(rows, dtype=np.int64) * PACE_MS
    times = pace + dice.integers(-400, 401, (DEVICES, rows))
    steps = np.rint(dice.normal(0, 50, (DEVICES, rows))).astype(np.int64)
    values = np.empty((DEVICES, rows), dtype=np.int64)
    at = dice.integers(1_800, 2_600, DEVICES)
    for row in range(rows):
        # Back towards 22 °C, as rooms do.
        at = at + steps[:, row] - (at - 2_200) // 20
        values[:, row] = at
    return times, values


def median_ms(ask):
    ask()
    took = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        ask()
        took.append(time.perf_counter() - begin)
    return statistics.median(took) * 1e3


def wait_for(what, condition):
    until = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > until:
            sys.exit(f"waited {PATIENCE_S} s in vain: {what}")
        time.sleep(0.05)


def bytes_of(path):
    return sum(os.path.getsize(os.path.join(root, name)) for root, _, names in os.walk(path) for name in names)


def peak_mb(pid, do):
    """Most memory that was resident while `do` ran."""
    with open(f"/proc/{pid}/clear_refs", "w") as reset:
        reset.write("5")
    do()
    with open(f"/proc/{pid}/status") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024


class Godwit:
    name = "Godwit"

    def __init__(self, binary, home):
        self.binary, self.home, self.data = binary, home, os.path.join(home, "data")
        self.settings("")
        self.start()

    def settings(self, more):
        with open(os.path.join(self.home, "godwit.toml"), "w") as settings:
            settings.write('[[listener]]\ndoor = "mqtt"\nbind = "127.0.0.1:0"\nauth = "anonymous"\n[http]\nbind = "127.0.0.1:0"\n' + more)

    def start(self):
        about = os.path.join(self.data, "server.json")
        if os.path.exists(about):
            os.remove(about)
        log = open(os.path.join(self.home, "log"), "a")
        self.server = subprocess.Popen(
            [self.binary, "serve", "--data", self.data, "--config", os.path.join(self.home, "godwit.toml")],
            stdout=subprocess.DEVNULL, stderr=log)
        def is_up():
            if self.server.poll() is not None:
                sys.exit(open(os.path.join(self.home, "log")).read())
            return os.path.exists(about) and os.path.getsize(about) > 0
        wait_for("godwit serve", is_up)
        with open(about) as file:
            about = json.load(file)
        self.token = about["token"]
        host, port = about["http"].rsplit(":", 1)
        self.http = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_S)

    def stop(self):
        self.server.send_signal(signal.SIGTERM)
        self.server.wait()

    def ask(self, sql):
        body = json.dumps({"sql": sql, "wait_ms": 600_000})
        headers = {"authorization": f"Bearer {self.token}", "accept": "text/csv", "content-type": "application/json"}
        self.http.request("POST", "/api/v1/query", body, headers)
        answer = self.http.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(text.decode())
        return text

    def status(self):
        self.http.request("GET", "/api/v1/status", headers={"authorization": f"Bearer {self.token}"})
        return json.loads(self.http.getresponse().read())

    def take_in(self, csv, rows):
        begin = time.perf_counter()
        subprocess.run([self.binary, "import", csv, "--device", "device", "--data", self.data, "--restart"],
                       check=True, stdout=subprocess.DEVNULL, stderr=open(os.path.join(self.home, "import.log"), "w"),
                       env={**os.environ, "HOME": self.home})
        wait_for("the columns to catch up", lambda: (s := self.status())["series"]["applied"] >= s["journal"]["durable"])
        rate = rows / (time.perf_counter() - begin)
        found = int(self.ask("SELECT count(*) FROM readings").split()[1])
        if found != rows:
            sys.exit(f"godwit has {found} of {rows} readings:\n" + open(os.path.join(self.home, "import.log")).read())
        # What is in memory goes to files, and small files become large ones.
        self.stop()
        self.start()
        last, since = None, time.monotonic()
        while time.monotonic() - since < 5 and time.monotonic() - begin < PATIENCE_S:
            now = (self.status()["series"]["files"], bytes_of(os.path.join(self.data, "series")))
            if now != last:
                last, since = now, time.monotonic()
            time.sleep(0.5)
        return rate

    def bytes(self):
        # All of it: manifest, newest readings and, where there are any, rollups.
        return bytes_of(os.path.join(self.data, "series"))

    def rollup_bytes(self):
        series = os.path.join(self.data, "series")
        return sum(os.path.getsize(os.path.join(series, name)) for name in os.listdir(series) if name.startswith("rollup-"))

    def measure_without_rollups(self, day, month, end):
        self.stop()
        self.settings("[series.query]\nrollups = false\n")
        self.start()
        asked = self.questions(day, month, end)
        names = ["5-minute means of a month", "hourly means over all"]
        return {f"{name}, raw": median_ms(lambda sql=asked[name]: self.ask(sql)) for name in names}

    def questions(self, day, month, end):
        del month
        at = f"device = '{ASKED}' AND channel = 'temperature'"
        def ts(ms):
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ms / 1000))
        return {
            "last value": f"SELECT time, value FROM latest WHERE {at}",
            "one day": f"SELECT time, value FROM readings WHERE {at} AND time >= '{ts(day[0])}' AND time < '{ts(day[1])}' ORDER BY time",
            "5-minute means of a month": f"SELECT date_bin(INTERVAL '5 minutes', time) AS t, avg(value) FROM readings WHERE {at} GROUP BY t ORDER BY t",
            "hourly means over all": "SELECT date_trunc('hour', time) AS t, avg(value) FROM readings WHERE channel = 'temperature' GROUP BY t ORDER BY t",
        }

    def measure(self, day, month, end):
        return {name: median_ms(lambda sql=sql: self.ask(sql)) for name, sql in self.questions(day, month, end).items()}

    def peak(self):
        sql = self.questions((0, 0), (0, 0), 0)["hourly means over all"]
        return peak_mb(self.server.pid, lambda: self.ask(sql))


class Duck:
    name = "DuckDB"

    def __init__(self, home):
        self.path = os.path.join(home, "duck.db")
        self.db = duckdb.connect(self.path)

    def take_in(self, times, values, rows):
        names = np.array([f"d{n}" for n in range(DEVICES)])
        device = np.repeat(np.arange(DEVICES, dtype=np.int64), times.shape[1])
        time_us, value = (times.reshape(-1) * 1000).astype("datetime64[us]"), values.reshape(-1) / 100
        begin = time.perf_counter()
        source, labels = {"n": device, "time": time_us, "value": value}, {"n": np.arange(DEVICES), "device": names}
        self.db.register("labels", self.db.from_arrow(arrow(labels)))
        self.db.register("source", self.db.from_arrow(arrow(source)))
        self.db.execute("CREATE TABLE readings AS SELECT device, time, value FROM source JOIN labels USING (n) ORDER BY device, time")
        self.db.execute("CHECKPOINT")
        return rows / (time.perf_counter() - begin)

    def csv(self, to):
        self.db.execute(f"COPY (SELECT device, epoch_ms(time) AS time, printf('%.2f', value) AS temperature FROM readings ORDER BY device, time) TO '{to}' (HEADER, QUOTE '')")

    def bytes(self):
        return os.path.getsize(self.path)

    def measure(self, day, month, end):
        del month, end
        at = f"device = '{ASKED}'"
        between = f"epoch_ms(time) >= {day[0]} AND epoch_ms(time) < {day[1]}"
        asked = {
            "last value": f"SELECT max(time), arg_max(value, time) FROM readings WHERE {at}",
            "one day": f"SELECT time, value FROM readings WHERE {at} AND {between} ORDER BY time",
            "5-minute means of a month": f"SELECT time_bucket(INTERVAL '5 minutes', time) AS t, avg(value) FROM readings WHERE {at} GROUP BY t ORDER BY t",
            "hourly means over all": "SELECT date_trunc('hour', time) AS t, avg(value) FROM readings GROUP BY t ORDER BY t",
        }
        return {name: median_ms(lambda sql=sql: self.db.execute(sql).fetchall()) for name, sql in asked.items()}


def arrow(columns):
    import pyarrow
    return pyarrow.table(columns)


class Victoria:
    name = "VictoriaMetrics"

    def __init__(self, home):
        self.path = os.path.join(home, "victoria")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.server = subprocess.Popen(
            ["victoria-metrics", f"-storageDataPath={self.path}", f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=100y",
             "-search.disableCache", "-search.latencyOffset=0s", "-search.maxPointsPerTimeseries=1000000"],
            stdout=subprocess.DEVNULL, stderr=open(os.path.join(home, "victoria.log"), "w"))
        def is_up():
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return True
            except OSError:
                return self.server.poll() is not None
        wait_for("victoria-metrics", is_up)
        if self.server.poll() is not None:
            sys.exit(open(os.path.join(home, "victoria.log")).read())
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)

    def stop(self):
        self.server.send_signal(signal.SIGTERM)
        self.server.wait()

    def get(self, path, **asked):
        self.http.request("GET", f"{path}?{urllib.parse.urlencode(asked)}")
        answer = self.http.getresponse()
        text = answer.read()
        if answer.status not in (200, 204):
            raise RuntimeError(text.decode())
        return text

    def take_in(self, times, values, rows):
        lines = []
        for n in range(DEVICES):
            metric = {"__name__": "temperature", "device": f"d{n}"}
            lines.append(json.dumps({"metric": metric, "values": (values[n] / 100).tolist(), "timestamps": times[n].tolist()}))
        begin = time.perf_counter()
        for at in range(0, DEVICES, 50):
            self.http.request("POST", "/api/v1/import", "\n".join(lines[at:at + 50]) + "\n")
            answer = self.http.getresponse()
            text = answer.read()
            if answer.status not in (200, 204):
                raise RuntimeError(text.decode())
        self.get("/internal/force_flush")
        rate = rows / (time.perf_counter() - begin)
        self.get("/internal/force_merge")
        last, since = None, time.monotonic()
        while time.monotonic() - since < 3:
            now = self.bytes()
            if now != last:
                last, since = now, time.monotonic()
            time.sleep(0.5)
        return rate

    def bytes(self):
        return bytes_of(self.path)

    def measure(self, day, month, end):
        of = f'temperature{{device="{ASKED}"}}'
        asked = {
            "last value": ("/api/v1/query", {"query": of, "time": end / 1000, "step": "10m"}),
            "one day": ("/api/v1/export", {"match[]": of, "start": day[0] / 1000, "end": day[1] / 1000}),
            "5-minute means of a month": ("/api/v1/query_range", {
                "query": f"avg_over_time({of}[5m])", "start": month[0] / 1000, "end": month[1] / 1000, "step": "5m", "nocache": 1}),
            "hourly means over all": ("/api/v1/query_range", {
                "query": "sum(sum_over_time(temperature[1h])) / sum(count_over_time(temperature[1h]))",
                "start": month[0] / 1000, "end": month[1] / 1000, "step": "1h", "nocache": 1}),
        }
        self.all = asked["hourly means over all"]
        return {name: median_ms(lambda path=path, args=args: self.get(path, **args)) for name, (path, args) in asked.items()}

    def peak(self):
        return peak_mb(self.server.pid, lambda: self.get(self.all[0], **self.all[1]))


def main():
    binary, per_device = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    rows = DEVICES * per_device
    home = tempfile.mkdtemp(prefix="godwit-bench-series.")
    running = []
    try:
        say = lambda text: print(text, file=sys.stderr, flush=True)
        say(f"{rows:,} readings of {DEVICES:,} devices")
        times, values = data(per_device)
        start, end = int(times.min()), int(times.max())
        middle = (start + end) // 2 // 86_400_000 * 86_400_000
        day, month = (middle, middle + 86_400_000), (start, end + 1)
        found = {}

        duck = Duck(home)
        say("DuckDB …")
        rate = duck.take_in(times, values, rows)
        found[duck.name] = {"readings/s in": rate, "bytes per reading": duck.bytes() / rows, **duck.measure(day, month, end)}
        csv = os.path.join(home, "readings.csv")
        duck.csv(csv)
        duck.db.close()

        victoria = Victoria(home)
        running.append(victoria)
        say("VictoriaMetrics …")
        rate = victoria.take_in(times, values, rows)
        found[victoria.name] = {"readings/s in": rate, "bytes per reading": victoria.bytes() / rows, **victoria.measure(day, month, end)}
        found[victoria.name]["resident MB, over all"] = victoria.peak()
        running.pop().stop()

        godwit = Godwit(binary, home)
        running.append(godwit)
        say("Godwit …")
        rate = godwit.take_in(csv, rows)
        found[godwit.name] = {"readings/s in": rate, "bytes per reading": godwit.bytes() / rows, **godwit.measure(day, month, end)}
        found[godwit.name]["resident MB, over all"] = godwit.peak()
        found[godwit.name]["bytes per reading, rollups"] = godwit.rollup_bytes() / rows
        found[godwit.name].update(godwit.measure_without_rollups(day, month, end))
        running.pop().stop()
        table(found, rows)
    finally:
        for server in running:
            server.stop()
        shutil.rmtree(home)


def table(found, rows):
    names = ["Godwit", "DuckDB", "VictoriaMetrics"]
    def shown(value, what):
        if value is None:
            return "-"
        if what == "readings/s in":
            return f"{value / 1e6:.2f} M"
        return f"{value:.2f}" if value < 100 else f"{value:.0f}"
    print(f"\n{rows:,} readings, {os.cpu_count()} cores; times in ms, medians of {ROUNDS}; ratios are Godwit's figure over the other's\n")
    print(f"{'':31}{names[0]:>12}{names[1]:>12}{'ratio':>8}{names[2]:>18}{'ratio':>8}")
    for what in found["Godwit"]:
        ours = found["Godwit"][what]
        line = f"{what:31}{shown(ours, what):>12}"
        for name, width in zip(names[1:], (12, 18)):
            theirs = found[name].get(what)
            line += f"{shown(theirs, what):>{width}}{f'{ours / theirs:.2f}' if theirs else '-':>8}"
        print(line)
    print("\nGodwit takes in over MQTT, journalled and synced, one message per 1,000 readings; VictoriaMetrics over HTTP; DuckDB in its own process.")


if __name__ == "__main__":
    main()
