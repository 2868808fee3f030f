"""Asks the metadata server of a Cloud TPU VM for the number of hosts of this machine's TPU slice."""

import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from jaxreason.errors import UserError

TRIES = 4
SECONDS_BETWEEN_TRIES = 2.0
# If one of these is set, the environment itself describes the hosts (GKE), or there is no TPU:
# then JAX sets the last one.
TOLD = ("TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES", "TPU_SKIP_MDS_QUERY")


def tpu_hosts(environment: Mapping[str, str], devices: Path = Path("/dev")) -> int:
    """Returns the number of hosts of all slices that this machine belongs to; 1 if it is not a Cloud TPU VM.

    Args:
      environment: the environment variables of this process.
      devices: the folder in which a TPU's chips appear as files.

    Raises:
      UserError: the machine has chips but the metadata server cannot be reached. A process that went on alone would
        wait for the chips of the other hosts.
    """
    if any(name in environment for name in TOLD) or environment.get("JAX_PLATFORMS") == "cpu":
        return 1
    if not any(next(devices.glob(name), None) for name in ("accel[0-9]*", "vfio/[0-9]*")):
        return 1
    server = environment.get("GCE_METADATA_IP", "metadata.google.internal")
    hosts = _attribute(server, "worker-network-endpoints")
    if not hosts:
        return 1
    slices = re.search(r"^MEGASCALE_NUM_SLICES:\s*'?(\d+)", _attribute(server, "tpu-env"), re.M)
    return len(hosts.split(",")) * (int(slices[1]) if slices else 1)


def _attribute(server: str, name: str) -> str:
    """Returns an attribute of the metadata server; "" if there is no such attribute."""
    url = f"http://{server}/computeMetadata/v1/instance/attributes/{name}"
    request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for left in reversed(range(TRIES)):
        try:
            return direct.open(request, timeout=10).read().decode()
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return ""
            wrong: Exception = error
        except OSError as error:
            wrong = error
        if left:
            time.sleep(SECONDS_BETWEEN_TRIES)
    raise UserError(
        f"This machine has TPU chips, but {server} does not say how many hosts its slice has ({wrong}). "
        "Set TPU_SKIP_MDS_QUERY=1 if it is the only one."
    )
