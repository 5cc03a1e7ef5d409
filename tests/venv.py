"""Makes the Python that tests meet as strangers: `python3 tests/venv.py DIR` installs tests/requirements.txt there, and
tests/requirements-mqtt.txt into DIR/mqtt, which is no part of the environment: whoever wants it names it in PYTHONPATH.

Prints the path of its interpreter. Made once: a later call finds the mark, the hash of the requirements, and does
nothing. Two calls at once wait for each other. Not here: what the tests ask of it (crates/*/tests/it).
"""

import fcntl
import hashlib
import pathlib
import shutil
import subprocess
import sys


def main() -> None:
    requirements = pathlib.Path(__file__).with_name("requirements.txt")
    mqtt = requirements.with_name("requirements-mqtt.txt")
    folder = pathlib.Path(sys.argv[1]).resolve()
    python = folder / "bin" / "python"
    mark = folder / "made-from"
    version = ".".join(map(str, sys.version_info[:2]))
    wanted = hashlib.sha256(requirements.read_bytes() + mqtt.read_bytes() + version.encode()).hexdigest()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(folder.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.exists() or mark.read_text() != wanted:
            print(f"Installing tests/requirements.txt into {folder} (once, about a minute).", file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)
            run(sys.executable, "-m", "venv", str(folder))
            run(str(python), "-m", "pip", "install", "--quiet", "--no-input", "-r", str(requirements))
            pip = (str(python), "-m", "pip", "install", "--quiet", "--no-input", "--no-deps")
            run(*pip, "--target", str(folder / "mqtt"), "-r", str(mqtt))
            # Last, so that a half-made one has no mark.
            mark.write_text(wanted)
    print(python)


def run(*command: str) -> None:
    done = subprocess.run(command, stdout=sys.stderr)
    if done.returncode != 0:
        sys.exit(f"error: `{' '.join(command)}` failed\n  hint: Debian has venv in the package python3-venv")


main()
