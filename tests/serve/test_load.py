"""Many short requests leave nothing behind, and the tool that loads a server counts what it asked for."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent.parent.parent / "scripts"))
import bench_load
import leaks
from engine_sizes import engine_sizes

TINY = ["--size", "tiny", "--scale", "0.05", "--slots", "4", "--decode-block", "4"]


@pytest.mark.slow
def test_short_requests_leave_nothing_in_the_engine(engine):
    leaks.ask_engine(engine, 0, 60)
    first = leaks.engine_row(engine)
    for start in (60, 180):
        leaks.ask_engine(engine, start, 120)
    last = leaks.engine_row(engine)
    # This process's memory may still grow by what other tests have begun: see the next test.
    most = float("inf")
    assert leaks.grown(first, last, most) == []
    assert last["pages_held"] == last["pages_lost"] == 0
    engine._pools[0].take(1)  # a page that is lost is seen
    assert leaks.grown(first, leaks.engine_row(engine), most) == ["pages_held", "pages_lost"]
    engine.release()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["engine", "server"])
def test_short_requests_leave_no_memory_taken_in_a_process_of_their_own(what):
    script = Path(leaks.__file__)
    words = [sys.executable, script, what, "--requests", "400", "--most", "64"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 11


def test_what_has_grown_is_named_but_for_threads_of_pools():
    first = {"memory_mib": 100.0, "threads": 40, "files": 16}
    pooled = {"memory_mib": 164.0, "threads": 40 + leaks.POOLED_THREADS, "files": 15}
    assert leaks.grown(first, pooled, most_mib=64) == []
    more = {name: value + 2 for name, value in pooled.items()}
    assert leaks.grown(first, more, most_mib=64) == ["memory_mib", "threads", "files"]


def test_the_tools_ask_for_engines_that_can_be():
    assert leaks.make_engine().max_length == 32
    assert engine_sizes(16, 512).sizes(1).slots == 16


@pytest.mark.slow
def test_short_requests_leave_nothing_in_the_server(server):
    url = f"{server.url}/v1"

    def row():
        # Python's threads: those of XLA, whose pools other tests in this process may still grow, are not the server's.
        counts = {"threads": threading.active_count(), "replies": leaks.waiting(url)}
        return leaks.process_row() | leaks.own_objects() | counts

    seen = leaks.ask_server(url, 0, 70)
    assert seen == {200: 50, 400: 20}
    first = leaks.settled(row, None, 64)
    leaks.ask_server(url, 70, 140)
    most = float("inf")  # As above.
    last = leaks.settled(row, first, most)
    assert leaks.grown(first, last, most) == [] and last["replies"] == 0
    assert not server.state.engine_thread._running and not server.state.engine_thread._waiting


@pytest.mark.parametrize("kind", sorted(bench_load.KINDS))
def test_drawn_lengths_have_the_mean_and_the_longest_that_is_asked_for(kind):
    for wanted in bench_load.KINDS[kind]:
        found = bench_load.lengths(wanted, 1000, 1.0, np.random.default_rng(3))
        assert found.mean() == pytest.approx(wanted.mean, rel=0.01)
        assert 1 <= found.min() < wanted.mean / 4 and wanted.mean * 2 < found.max() <= wanted.most


def test_requests_arrive_at_the_rate_on_average():
    times = bench_load.arrivals(8.0, 4000, np.random.default_rng(0))
    assert 4000 / times[-1] == pytest.approx(8, rel=0.03) and (np.diff(times) >= 0).all()
    assert np.diff(times).std() == pytest.approx(1 / 8, rel=0.05)  # exponential, not even


@pytest.mark.parametrize(
    ("flag", "value"), [("--rate", "0"), ("--rate", "nan"), ("--requests", "0"), ("--scale", "-1")]
)
def test_a_load_that_cannot_be_is_refused_by_name(capsys, flag, value):
    with pytest.raises(SystemExit) as refused:
        bench_load.run(["--kind", "chat", "--size", "tiny", flag, value])
    assert refused.value.code == 2
    assert f"argument {flag}: expected" in capsys.readouterr().err


def test_latencies_count_from_the_arrival_and_the_first_token():
    times = [bench_load.Timed(1.0, 1.5, 3.5, 10, 5), bench_load.Timed(2.0, 2.1, 2.1, 20, 1)]
    found = bench_load.numbers_of(times)
    assert found["output_tokens_per_second"] == pytest.approx(6 / 3.5)
    assert found["total_tokens_per_second"] == pytest.approx(36 / 3.5)
    assert found["first_token_ms_p50"] == pytest.approx(300)  # between 500 and 100
    assert found["output_token_ms_p99"] == pytest.approx(500)  # two seconds for the four after it


def test_the_load_tool_gets_the_replies_that_it_asks_our_engine_for(tmp_path, capsys):
    out = tmp_path / "load.jsonl"
    argv = ["--kind", "chat", "--requests", "20", "--rate", "inf", "200", "--out", str(out), *TINY]
    found = bench_load.run(argv)
    rng = np.random.default_rng(0)
    prompts, replies = (bench_load.lengths(k, 20, 0.05, rng) for k in bench_load.KINDS["chat"])
    for result, rate in zip(found, ("inf", "200.0"), strict=True):
        assert result["rate"] == rate and result["requests"] == 20
        assert result["prompt_tokens"] == prompts.sum()
        assert result["output_tokens"] == result["decoded_tokens"] == replies.sum()
        assert result["prefilled_tokens"] == prompts.sum() - 20  # decode takes the last of each
        assert replies.max() <= result["decode_steps"] <= result["decode_dispatches"] * 4
        busy = replies.sum() / result["decode_steps"]
        assert result["slots_busy"] == pytest.approx(busy) and 1 <= busy <= 4
        assert result["first_token_ms_p50"] <= result["first_token_ms_p99"]
        assert result["processor"] and result["device"] == "cpu"
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["rate"] for line in lines] == ["inf", "200.0"] and lines[0]["arguments"] == argv
    assert "output_token_ms_p99" in capsys.readouterr().out


def test_the_load_tool_asks_a_server_too(server):
    argv = ["--kind", "chat", "--requests", "8", "--url", f"{server.url}/v1", "--model"]
    before = server.metrics()
    (found,) = bench_load.run([*argv, "tiny_base", "--rate", "100", "--scale", "0.05"])
    after = server.metrics()
    for ours, theirs in (("prompt", "prompt"), ("output", "generated")):
        name = f"{theirs}_tokens_total"
        assert found[f"{ours}_tokens"] == after[name] - before[name] > 0
    assert found["requests"] == 8 and found["device"].startswith("http://")
