"""Programs of the tests' own on the PATH (`gcloud`, `kubectl` …): they note how they are called, and fail when told.

Google's cloud is a folder: a request is ACTIVE once made, each of its TPU VMs has one host, and that is a folder where
commands really run. A new slice has new hosts.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Adds a call to the file of calls, in one write, since calls run side by side: bash by itself makes one for each line.
RECORD = r"""#!/usr/bin/env bash
printf '%s\n' "$@" ---- > "$CLOUD/call.$$" && cat "$CLOUD/call.$$" >> "$CLOUD/calls" && rm "$CLOUD/call.$$"
"""
GCLOUD = r"""#!/usr/bin/env bash
record gcloud "$@"
fails() { # a line of the file is what happens to a call
  [ -s "$CLOUD/fail.$1" ] || return 0
  line=$(head -n 1 "$CLOUD/fail.$1")
  sed -i 1d "$CLOUD/fail.$1"
  case "$line" in
    ok) ;;
    lost*) lost="${line#lost }" ;;
    preempted*) rm -rf "$CLOUD/hosts"; echo SUSPENDED > "$CLOUD/state"; exit 255 ;;
    *) echo "${line#* }" >&2; exit "${line%% *}" ;;
  esac
}
missing() { echo "ERROR: (gcloud) NOT_FOUND: there is no such thing" >&2; exit 1; }
ended() { if [ -n "${lost:-}" ]; then echo "$lost" >&2; exit 1; fi; }
node=$5 prefix=
for word in "$@"; do
  case "$word" in
    --node-id=*) nodes=${word#*=} ;;
    --node-prefix=*) prefix=${word#*=} ;;
    --node-count=*) count=${word#*=} ;;
    --command=*) command=${word#*=} ;;
  esac
done
case "$*" in
  "compute tpus queued-resources describe"*)
    fails describe
    cat "$CLOUD/state" 2>/dev/null || missing ;;
  "compute tpus tpu-vm describe"*)
    [ -d "$CLOUD/hosts/$node" ] || missing
    echo READY ;;
  "compute tpus queued-resources create"*)
    fails create
    [ -z "$prefix" ] || nodes=$(seq -f "$prefix-%g" 0 $((count - 1)))
    for one in $nodes; do mkdir -p "$CLOUD/hosts/$one"; done
    echo "${CLOUD_STATE:-ACTIVE}" > "$CLOUD/state"
    ended ;;
  "compute tpus queued-resources delete"*) fails delete; rm -rf "$CLOUD/state" "$CLOUD/hosts" ;;
  "compute tpus tpu-vm ssh"*)
    fails ssh
    cd "$CLOUD/hosts/$node" || exit 255
    HOME=$PWD bash -c "$command" || exit
    ended ;;
  "compute tpus tpu-vm scp"*) fails scp; cp -p "$5" "$CLOUD/hosts/${6%%:*}/${6#*:}" ;;
  "storage cat"*) cat "$CLOUD/bucket/status.json" ;;
  *list*) echo "ANOTHER  READY" ;;
esac
"""

# Cloning brings what a host needs of the scripts; installing makes the folder of the programs.
GIT = """#!/usr/bin/env bash
record git "$@"
case "$1" in
  clone) mkdir -p jaxreason && cp -r "$REPOSITORY/tpu" jaxreason/ ;;
  ls-remote)
    [ "${CLOUD_BRANCH:-}" != unknown ] || exit 128
    printf '1\\t%s\\n' HEAD "refs/heads/${CLOUD_BRANCH:-${TPU_REVISION:-main}}" ;;
esac
"""
PYTHON3 = """#!/usr/bin/env bash
case "$*" in
  "-m venv .venv")
    mkdir -p .venv/bin
    printf '#!/bin/sh\\necho "$@" >> pip.calls\\n' | tee .venv/bin/pip > .venv/bin/python
    chmod +x .venv/bin/* ;;
esac
"""
OTHER = """#!/usr/bin/env bash
record {name} "$@"
[ "{reads}" = no ] || cat > "$CLOUD/{name}.stdin"
if [ -s "$CLOUD/fail.{name}" ]; then
  line=$(head -n 1 "$CLOUD/fail.{name}"); sed -i 1d "$CLOUD/fail.{name}"; echo "${{line#* }}" >&2; exit "${{line%% *}}"
fi
"""


class Cloud:
    """A folder with the programs, what they were called with, and what they shall fail at.

    Attributes:
      folder: `hosts/NODE` is a machine, `state` that of the queued resource, `bucket/status.json` the run's word.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        programs = {"record": RECORD, "gcloud": GCLOUD, "git": GIT, "python3": PYTHON3}
        programs |= {
            name: OTHER.format(name=name, reads="yes" if name == "kubectl" else "no")
            for name in ("kubectl", "srun", "scontrol")
        }
        (folder / "bin").mkdir()
        (folder / "bucket").mkdir()
        for name, text in programs.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        self.settings = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(folder),
            "CLOUD": str(folder),
            "REPOSITORY": str(ROOT),
            "TPU_PROJECT": "project",
            "TPU_ZONE": "zone",
            "TPU_NAME": "name",
            "TPU_SLICE": "v5p-8",
            "TPU_WORKDIR": "gs://b/run",
            "TPU_SOURCE": "https://example.org/jaxreason.git",
            "TPU_POLL_SECONDS": "0.05",
            "TPU_WAIT_SECONDS": "0.05",
            # Nothing that other processes of this machine hold.
            "TPU_HELD": f"{folder}/dev/accel[0-9]* {folder}/dev/libtpu_lockfile",
        }

    def run(self, script: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess:
        """A script of tpu/ with these settings beside the usual ones."""
        return subprocess.run(
            ["bash", ROOT / "tpu" / script, *arguments],
            env=self.settings | settings,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def close(self) -> None:
        """Ends what still runs on the hosts."""
        for path in self.folder.glob("hosts/*/jaxreason/run.pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.killpg(int(path.read_text()), signal.SIGKILL)

    def fail(self, what: str, *how: str) -> None:
        """The next calls of this kind (describe, create, delete, ssh, scp, kubectl, srun) fail so, one after the other.

        Args:
          what: the kind.
          *how: `CODE MESSAGE`, or `ok`; of the cloud also `preempted`, and `lost MESSAGE`: done, but not answered.
        """
        (self.folder / f"fail.{what}").write_text("".join(f"{line}\n" for line in how))

    def job(self, *codes: int, name: str = "job") -> tuple[str, Callable[[], int]]:
        """A command that ends with these codes, one a start, the last again and again; and how often it was started."""
        starts, path = self.folder / f"{name}.starts", self.folder / name
        path.write_text(
            f"""#!/usr/bin/env bash
echo start >> {starts}
sleep 0.05
codes=({" ".join(map(str, codes))} {codes[-1]} {codes[-1]})
exit "${{codes[$(wc -l < {starts}) - 1]}}"
"""
        )
        path.chmod(0o755)
        return str(path), lambda: starts.read_text().count("start") if starts.exists() else 0

    @property
    def changes(self) -> list[str]:
        """What was asked of the cloud that changes something, in order."""
        kinds = ("create", "delete", "host.sh install", "host.sh start")
        asked = (" ".join(call) for call in self.calls if call[0] == "gcloud")
        return [kind for words in asked for kind in kinds if kind in words]

    @property
    def calls(self) -> list[list[str]]:
        """The words of each call, the program first."""
        path = self.folder / "calls"
        text = path.read_text() if path.exists() else ""
        return [call.split("\n")[:-1] for call in text.split("----\n")[:-1]]

    def asked(self, *words: str) -> list[list[str]]:
        """The calls that have all these words, whole."""
        return [call for call in self.calls if set(words) <= set(call)]

    def host(self, name: str = "name") -> Path:
        """The checkout on the host of a TPU VM."""
        return self.folder / "hosts" / name / "jaxreason"
