"""A teacher over HTTP: what is sent, what is tried again, and what a server that misbehaves can do."""

import dataclasses
import json
import time

import pytest
from teachers import Teacher, Wrong, question_of, said
from tiny_distill import at, config_of, distill, replies_of, rows_of, write_questions
from tiny_distill import yield_of as told

from jaxreason.config import ConfigError
from jaxreason.data.examples import Example
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.distill.endpoint_asking import Asking
from jaxreason.distill.passes import Pass, TeacherQuestion
from jaxreason.errors import UserError
from jaxreason.sampling.sampling_params import SamplingParams

HALF = "\ud83d"  # of a surrogate pair
BROKEN = [
    Wrong(429, b"slow down", Retry_After="0"),
    Wrong(500, b"oh"),
    Wrong(503, b"", Retry_After="Thu, 26 Nov 2026 20:00:00 GMT"),
    Wrong(cut=True),
    Wrong(200, b"<html>"),
    Wrong(200, b'{"choices": [{"message": {"content": "#1"'),
    Wrong(200, b"[" * 100_000),
    Wrong(200, b"null"),
    Wrong(200, b"{}"),
    Wrong(200, b'{"choices": []}'),
    Wrong(200, b'{"choices": [null]}'),
    Wrong(200, b'{"choices": [{"finish_reason": "stop"}]}'),
    Wrong(200, b'{"choices": [{"message": {"content": "#1"}}]}'),
    Wrong(200, json.dumps(said(None)).encode()),
    Wrong(200, json.dumps(said(4)).encode()),
]


def solve(body, before=0):
    """The right answer to a sum, with a thought."""
    left, right = question_of(body).split("+")
    return said(f"#{int(left) + int(right)}", f"{left} and {right}")


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return write_questions(tmp_path_factory.mktemp("questions"))


def config(questions, url, teacher=None, **changes):
    tokenizer = str(questions.parent / "tokenizer")
    return config_of(questions, teacher=at(url, **(teacher or {})), tokenizer=tokenizer, **changes)


def test_every_reply_comes_with_a_seed_of_its_own_and_the_thoughts_of_its_field(
    questions, tmp_path
):
    teacher = Teacher(lambda body, before: time.sleep(0.02) or solve(body))
    with teacher.serve() as url:
        rows = distill(config(questions, url), tmp_path)
    assert len(teacher.bodies) == 36 == len({body["seed"] for body in teacher.bodies})
    assert 1 < teacher.most <= 4
    assert all(0 <= body["seed"] < 2**31 for body in teacher.bodies)
    body = teacher.bodies[0]
    assert set(body) == {"model", "messages", "max_tokens", "temperature", "top_p", "seed"}
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("teacher", 64, 1.0)
    assert rows[0]["question"] == "3+14"
    assert rows[0]["think_response"] == "<think>\n3 and 14\n</think>\n\n#17"
    assert rows[0]["no_think_response"] == "#17"
    assert rows[0]["replies"][0] == {
        "content": "#17",
        "reasoning_content": "3 and 14",
        "correct": 1,
        "finish_reason": "stop",
        "tokens": 5,
    }


def test_fields_of_the_decoding_are_sent_where_they_change_something_and_extra_has_the_last_word(
    questions, tmp_path
):
    decoding = SamplingParams(0.6, 20, 0.95, 32, ("END",), 0.1, 1.2)
    extra = {"max_tokens": None, "max_completion_tokens": 40, "service_tier": "flex"}
    teacher = Teacher(
        lambda body, before: said(solve(body)["choices"][0]["message"]["content"] + "END9")
    )
    with teacher.serve() as url:
        changed = config(questions, url, {"extra": extra}, decoding=decoding, thinking=True)
        rows = distill(changed, tmp_path)
    body = teacher.bodies[0]
    assert "max_tokens" not in body and body["max_completion_tokens"] == 40
    assert (body["top_k"], body["min_p"], body["repetition_penalty"]) == (20, 0.1, 1.2)
    assert body["stop"] == ["END"] and body["service_tier"] == "flex"
    assert body["chat_template_kwargs"] == {"enable_thinking": True}
    assert rows[0]["no_think_response"] == "#17"  # cut at the stop, which this server ignored


def test_what_may_pass_is_tried_again_and_leaves_no_trace(tmp_path):
    """Each question is answered in another wrong way first."""
    path = write_questions(tmp_path, len(BROKEN))
    number = {f"{i + 3}+{i + 14}": i for i in range(len(BROKEN))}
    wrong = Teacher(
        lambda body, before: solve(body) if before else BROKEN[number[question_of(body)]]
    )
    right = Teacher(solve)
    with wrong.serve() as url:
        found = distill(config(path, url, samples=1), tmp_path / "wrong")
    with right.serve() as url:
        assert distill(config(path, url, samples=1), tmp_path / "right") == found
    assert len(wrong.bodies) == 2 * len(BROKEN) == 2 * len(right.bodies)
    assert set(wrong.seen.values()) == {2}


def test_replies_do_not_depend_on_the_order_in_which_they_come(questions, tmp_path):
    def by_seed(body, before):
        time.sleep(body["seed"] % 7 / 200)
        return said(f"#{body['seed'] % 3}")

    found = []
    for number, concurrency in enumerate((1, 12)):
        with Teacher(by_seed).serve() as url:
            changed = config(questions, url, {"concurrency": concurrency})
            with pytest.raises(UserError, match="answered nothing right"):
                distill(changed, tmp_path / str(number))
        found.append((tmp_path / str(number) / "distill/replies/main.jsonl").read_bytes())
    assert found[0] == found[1]


def test_a_server_that_asks_to_wait_is_given_the_time(questions, tmp_path):
    times = {}

    def once(body, before):
        times.setdefault(body["seed"], []).append(time.monotonic())
        return solve(body) if before else Wrong(429, b"", Retry_After="1")

    with Teacher(once).serve() as url:
        distill(config(write_questions(tmp_path, 1), url, samples=1), tmp_path)
    ((first, second),) = times.values()
    assert second - first >= 1.0


@pytest.mark.parametrize("status", [401, 404, 302])
def test_a_wrong_key_address_or_name_ends_the_run_at_once_and_no_key_is_shown(
    questions, tmp_path, monkeypatch, status
):
    monkeypatch.setenv("TEACHER_KEY", "sk-secret")
    teacher = Teacher(lambda body, before: Wrong(status, b"no: sk-secret is no key"))
    with teacher.serve() as url, pytest.raises(UserError) as caught:
        distill(config(questions, url, {"key_variable": "TEACHER_KEY"}), tmp_path)
    assert str(status) in str(caught.value) and "key_variable" in str(caught.value)
    assert "sk-secret" not in str(caught.value) and "*** is no key" in str(caught.value)
    assert set(teacher.keys) == {"Bearer sk-secret"} and len(teacher.bodies) <= 8


def test_a_key_that_the_environment_has_not_is_named(questions, tmp_path, monkeypatch):
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    changed = config(questions, "http://127.0.0.1:9/v1", {"key_variable": "TEACHER_KEY"})
    with pytest.raises(ConfigError, match=r"key_variable='TEACHER_KEY'.*no such variable"):
        distill(changed, tmp_path)


def test_a_question_that_is_refused_is_an_error_of_its_own_and_not_asked_again(questions, tmp_path):
    def refuse(body, before):
        return Wrong(400, b"too long") if question_of(body) == "4+15" else solve(body)

    teacher = Teacher(refuse)
    with teacher.serve() as url:
        rows = distill(config(questions, url), tmp_path)
        assert len(teacher.bodies) == 36
        distill(config(questions, url, keep="shortest"), tmp_path)
        assert len(teacher.bodies) == 36
    assert rows[1]["no_think_response"] == "" and rows[1]["replies"] == []
    assert told(tmp_path)["all"]["not_gradable"] == 3
    reasons = {line["finish_reason"] for line in replies_of(tmp_path) if line["id"] == "sums/q1"}
    assert reasons == {"error: 400 Bad Request: too long"}


def test_a_question_that_is_forbidden_is_an_error_of_its_own_while_others_are_answered(
    questions, tmp_path
):
    def forbid(body, before):
        return Wrong(403, b"flagged") if question_of(body) == "4+15" else solve(body)

    teacher = Teacher(forbid)
    with teacher.serve() as url:
        rows = distill(config(questions, url), tmp_path)
        distill(config(questions, url, keep="shortest"), tmp_path)
    assert len(teacher.bodies) == 36 and rows[1]["replies"] == []
    reasons = {line["finish_reason"] for line in replies_of(tmp_path) if line["id"] == "sums/q1"}
    assert reasons == {"error: 403 Forbidden: flagged"}


@pytest.mark.parametrize("answered", [0, 10])
def test_a_key_that_is_forbidden_gives_no_question_up(questions, tmp_path, answered):
    number = iter(range(10_000))
    failing = Teacher(lambda body, before: solve(body) if next(number) < answered else Wrong(403))
    with failing.serve() as url, pytest.raises(UserError, match=r"in a row.*403.*key_variable"):
        distill(config(questions, url), tmp_path)
    assert len(replies_of(tmp_path)) == answered
    working = Teacher(solve)
    with working.serve() as url:
        distill(config(questions, url), tmp_path)
    assert len(working.bodies) == 36 - answered and told(tmp_path)["all"]["right"] == 36


def test_a_key_that_ended_since_the_last_run_gives_no_question_up(questions, tmp_path):
    def some(status):
        def answer(body, before):
            return Wrong(status) if question_of(body) == "4+15" else solve(body)

        return Teacher(answer)

    few = {"retries": 0}
    for teacher in (some(500), Teacher(lambda body, before: Wrong(403))):
        with teacher.serve() as url, pytest.raises(UserError, match="3 replies could not be had"):
            distill(config(questions, url, few), tmp_path)
    with Teacher(solve).serve() as url:
        distill(config(questions, url, few), tmp_path)
    assert told(tmp_path)["all"]["right"] == 36


def test_a_recipe_that_is_refused_with_every_call_leaves_no_errors_behind(questions, tmp_path):
    teacher = Teacher(lambda body, before: Wrong(400, b"top_k: no such field"))
    with teacher.serve() as url:
        with pytest.raises(UserError, match=r"not answered.*top_k: no such field"):
            distill(config(questions, url), tmp_path)
        with pytest.raises(UserError, match=r"every call was refused.*top_k"):
            distill(config(questions, url, {"concurrency": 64}), tmp_path)
    assert replies_of(tmp_path) == []


def test_a_server_that_goes_down_ends_the_run_and_the_same_command_asks_for_the_rest(
    questions, tmp_path
):
    number = iter(range(10_000))
    failing = Teacher(lambda body, before: solve(body) if next(number) < 10 else Wrong(502, b""))
    with failing.serve() as url, pytest.raises(UserError, match=r"in a row.*502.*2 tries"):
        distill(config(questions, url, {"retries": 1}), tmp_path)
    there = replies_of(tmp_path)
    assert len(there) == 10
    working = Teacher(solve)
    with working.serve() as url:
        distill(config(questions, url), tmp_path)
    assert len(working.bodies) == 26
    asked = {line["id"]: line for line in replies_of(tmp_path)}
    assert len(replies_of(tmp_path)) == 36 and len(asked) == 12


@pytest.mark.parametrize("status", [402, 407, 410])
def test_an_account_without_money_or_a_model_that_is_gone_is_no_fault_of_the_questions(
    questions, tmp_path, status
):
    number = iter(range(10_000))
    failing = Teacher(lambda body, before: solve(body) if next(number) < 10 else Wrong(status))
    with failing.serve() as url, pytest.raises(UserError, match=f"every call.*{status}"):
        distill(config(questions, url), tmp_path)
    there = len(replies_of(tmp_path))
    assert there <= 10 and len(failing.bodies) <= 10 + 8
    working = Teacher(solve)
    with working.serve() as url:
        distill(config(questions, url), tmp_path)
    assert len(working.bodies) == 36 - there and told(tmp_path)["all"]["right"] == 36


@pytest.mark.parametrize("error", [None, 401])
def test_replies_that_have_come_are_written_also_if_nobody_took_them_before_the_end(
    tmp_path, error
):
    message = {"role": "user", "content": "1+2"}
    question = TeacherQuestion("s/q", "s", Example("q", "hash_answer", (message,), "3", "s", {}))
    one = Pass("main", None, SamplingParams(1.0, 0, 1.0, 8), 3, [()], ["asked"], {})
    refused = []

    def answer(body, before):
        if error and not refused:
            refused.append(body)
            return Wrong(error, b"no")
        return solve(body)

    missing, path = [(0, sample) for sample in range(3)], tmp_path / "main.jsonl"
    with Teacher(answer).serve() as url:
        asking = Asking(at(url, concurrency=1), one, [question], missing, 0, path, any_there=False)
        asking.start()
        for thread in asking._threads:
            thread.join()
        if error:
            with pytest.raises(UserError, match="401"):
                asking.work()
        asking.close()
    samples = [json.loads(line)["sample"] for line in path.read_text().splitlines()]
    assert samples == ([1, 2] if error else [0, 1, 2])


def test_replies_that_could_not_be_had_are_told_of_and_the_others_are_a_dataset(
    questions, tmp_path
):
    def never(body, before):
        return Wrong(500, b"oh") if question_of(body) == "4+15" else solve(body)

    with Teacher(never).serve() as url:
        changed = config(questions, url, {"retries": 1})
        with pytest.raises(UserError, match=r"3 replies could not be had.*same command asks"):
            distill(changed, tmp_path)
    rows = rows_of(tmp_path)
    assert [row["id"] for row in rows if not row["no_think_response"]] == ["sums/q1"]
    assert not (tmp_path / "distill" / "done.json").exists()


def test_nothing_listens(questions, tmp_path):
    changed = config(questions, "http://127.0.0.1:9/v1", {"retries": 0, "concurrency": 2})
    with pytest.raises(UserError, match="ConnectError"):
        distill(changed, tmp_path)


def test_text_that_is_no_utf8_and_a_reply_without_text_are_kept_as_far_as_they_go(
    questions, tmp_path
):
    def odd(body, before):
        return {
            "3+14": said(f"{HALF}\u2028#17"),
            "4+15": said(None, "thought and thought", "length"),
            "5+16": said("", "thoughts alone"),
        }.get(question_of(body), solve(body))

    with Teacher(odd).serve() as url:
        rows = distill(config(questions, url), tmp_path)
    assert rows[0]["no_think_response"] == "?\u2028#17"
    assert rows[1]["replies"][0]["reasoning_content"] == "thought and thought"
    assert rows[1]["replies"][0]["finish_reason"] == "length" and not rows[1]["think_response"]
    assert told(tmp_path)["all"]["unfinished"] == 3 and told(tmp_path)["all"]["no_answer"] == 3


def test_replies_of_the_second_time_are_counted_behind_the_prompt_that_they_were_asked_with(
    tmp_path,
):
    questions = write_questions(tmp_path)
    template = tmp_path / "tokenizer" / "chat_template.jinja"
    closed = "{%- if add_generation_prompt -%}{%- if enable_thinking is false -%}{{ 'x' * 30 }}"
    text = template.read_text().replace(
        "{%- if add_generation_prompt -%}", closed + "{%- endif -%}"
    )
    template.write_text(text)

    def switch(body, before):
        return solve(body) if body["chat_template_kwargs"]["enable_thinking"] else said("#17")

    with Teacher(switch).serve() as url:
        changed = config(questions, url, thinking=True, no_think="generate", cutoff=60)
        rows = distill(changed, tmp_path / "run")
        tokenizer = load_tokenizer(tmp_path / "tokenizer")
        ask = ({"role": "user", "content": "3+14"},)
        length = len(tokenizer.encode_prompt(ask, False)) + len("#17") + 1
        assert rows[0]["no_think_response"] == "#17"
        lengths = told(tmp_path / "run", "no_think")["all"]["kept_tokens"]
        assert lengths["no_think_response"]["mean"] == length
        with pytest.raises(
            UserError, match=r"\(no_think\) are right and none is kept: 3 are longer"
        ):
            distill(dataclasses.replace(changed, cutoff=length - 1), tmp_path / "run")


def test_the_second_time_asks_without_thinking_and_what_thinks_all_the_same_is_not_kept(
    questions, tmp_path
):
    def switch(body, before):
        if body["chat_template_kwargs"]["enable_thinking"] or question_of(body) == "4+15":
            return solve(body)
        return said(f"at once: {solve(body)['choices'][0]['message']['content']}")

    teacher = Teacher(switch)
    with teacher.serve() as url:
        changed = config(questions, url, thinking=True, no_think="generate", no_think_samples=2)
        rows = distill(changed, tmp_path)
    assert len(teacher.bodies) == 36 + 24
    assert rows[0]["think_response"].endswith("</think>\n\n#17")
    assert rows[0]["no_think_response"] == "at once: #17"
    assert [len(rows[0][n]) for n in ("replies", "no_think_replies")] == [3, 2]
    assert rows[1]["think_response"] and rows[1]["no_think_response"] == ""
    assert told(tmp_path, "no_think")["all"]["malformed"] == 2
    assert told(tmp_path, "no_think")["all"]["kept"] == 11
