"""Makes the Node modules that tests meet as strangers: `python3 tests/node.py DIR` installs tests/node there.

Prints the folder. Made once: a later call finds the mark, the hash of the lock file, and does nothing. Two calls at once
wait for each other. Not here: what the tests ask of it (crates/godwit/tests/it/node.rs).
"""

import fcntl
import hashlib
import pathlib
import shutil
import subprocess
import sys


def main() -> None:
    here = pathlib.Path(__file__).with_name("node")
    folder = pathlib.Path(sys.argv[1]).resolve()
    mark = folder / "made-from"
    names = ["package.json", "package-lock.json"]
    wanted = hashlib.sha256(b"".join((here / name).read_bytes() for name in names)).hexdigest()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(folder.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.exists() or mark.read_text() != wanted:
            print(f"Installing tests/node into {folder} (once, a few seconds).", file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name in names:
                shutil.copy(here / name, folder)
            command = ["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
            if subprocess.run(command, cwd=folder, stdout=sys.stderr).returncode != 0:
                sys.exit("error: `npm ci` failed\n  hint: Debian has it in the packages nodejs and npm")
            # Last, so that a half-made one has no mark.
            mark.write_text(wanted)
    print(folder)


main()
