"""How many hosts a slice has, by what a metadata server of the tests says."""

import contextlib
import http.server
import threading

import pytest

from jaxreason.errors import UserError
from jaxreason.runtime import tpu_hosts as of_this_machine
from jaxreason.runtime.tpu_hosts import tpu_hosts


@contextlib.contextmanager
def metadata(attributes, fails=0):
    """A metadata server; the first `fails` requests are answered with 503."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            asked.append(self.path)
            text = attributes.get(
                self.path.removeprefix("/computeMetadata/v1/instance/attributes/")
            )
            google = self.headers["Metadata-Flavor"] == "Google"
            self.send_response(
                503 if len(asked) <= fails or not google else 404 if text is None else 200
            )
            self.end_headers()
            self.wfile.write((text or "").encode())

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield {"GCE_METADATA_IP": f"127.0.0.1:{server.server_port}"}
        server.shutdown()


@pytest.fixture
def chips(tmp_path, monkeypatch):
    monkeypatch.setattr(of_this_machine, "SECONDS_BETWEEN_TRIES", 0.01)
    (tmp_path / "accel0").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("attributes", "hosts"),
    [
        ({"worker-network-endpoints": "t:0:10.0.0.1,t:1:10.0.0.2", "tpu-env": "TYPE: 'V4'\n"}, 2),
        ({"worker-network-endpoints": "10.0.0.1"}, 1),
        (
            {
                "worker-network-endpoints": "a,b,c,d",
                "tpu-env": "TYPE: 'V5P'\nMEGASCALE_NUM_SLICES: '2'\nMEGASCALE_SLICE_ID: '1'\n",
            },
            8,
        ),
        ({}, 1),  # a machine that is no TPU VM
    ],
)
def test_the_metadata_server_of_a_cloud_tpu_says_how_many_hosts_its_slices_have(
    chips, attributes, hosts
):
    with metadata(attributes) as environment:
        assert tpu_hosts(environment, chips) == hosts


def test_a_metadata_server_that_stumbles_is_asked_again(chips):
    with metadata({"worker-network-endpoints": "a,b"}, fails=2) as environment:
        assert tpu_hosts(environment, chips) == 2


def test_a_tpu_whose_metadata_server_is_silent_does_not_go_on_alone(chips):
    with (
        metadata({}, fails=99) as environment,
        pytest.raises(UserError, match="has TPU chips, but"),
    ):
        tpu_hosts(environment, chips)


@pytest.mark.parametrize(
    "told",
    [
        {"TPU_WORKER_HOSTNAMES": "localhost"},
        {"TPU_SKIP_MDS_QUERY": "1"},
        {"JAX_PLATFORMS": "cpu"},
    ],
)
def test_who_has_been_told_and_who_has_no_chips_asks_nobody(chips, tmp_path, told):
    nobody = {"GCE_METADATA_IP": "127.0.0.1:1"}
    assert tpu_hosts(nobody | told, chips) == 1
    (tmp_path / "empty").mkdir()
    assert tpu_hosts(nobody, tmp_path / "empty") == 1
