import functools
import glob
import shutil

import pytest
import transformers
from etils import epath

from jaxreason.data.examples import Example, each_reply
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.errors import UserError

open_tokenizer = functools.cache(load_tokenizer)
open_reference = functools.cache(transformers.AutoTokenizer.from_pretrained)
USER = {"role": "user", "content": "What is 2+2?"}
REPLY = {"role": "assistant", "content": "It is 4."}
THOUGHT = {**REPLY, "reasoning_content": "Two and two.\nFour."}
TEMPLATES = [
    ("thinking", "bytes"),
    ("chatml", "bytes"),
    ("headers", "bytes"),
    ("brackets", "pieces"),
]


def text_of(folder, ids):
    """The text of the ids with special tokens, by Hugging Face."""
    return open_reference(folder).decode(ids, skip_special_tokens=False)


def learned(folder, tokens, mask):
    return text_of(folder, [token for token, m in zip(tokens, mask, strict=True) if m])


def ids_of(folder, *tokens):
    return tuple(sorted(open_reference(folder).convert_tokens_to_ids(list(tokens))))


def test_stop_ids_are_gathered_where_a_base_model_contradicts_itself(make_tokenizer):
    # As in Qwen3-14B-Base: the configs say <|endoftext|>, the chat template ends turns otherwise.
    folder = make_tokenizer("thinking", eos="<|im_end|>")
    end, turn = ids_of(folder, "<|endoftext|>")[0], ids_of(folder, "<|im_end|>")[0]
    other = ids_of(folder, "[/INST]")[0]
    both = tuple(sorted((end, turn)))
    base = make_tokenizer(
        "thinking", config={"eos_token_id": end}, generation_config={"eos_token_id": end}
    )
    assert load_tokenizer(base).stop_ids == both
    in_tokenizer = make_tokenizer(
        "thinking", eos="<|endoftext|>", config={"eos_token_id": end}, generation_config={}
    )
    assert load_tokenizer(in_tokenizer).stop_ids == both
    listed = make_tokenizer("thinking", generation_config={"eos_token_id": [end, other]})
    assert load_tokenizer(listed).stop_ids == tuple(sorted((end, turn, other)))
    null = make_tokenizer("thinking", config={"eos_token_id": None})
    assert load_tokenizer(null).stop_ids == (turn,)
    without_template = make_tokenizer(None, eos=None, config={"eos_token_id": end})
    assert load_tokenizer(without_template).stop_ids == (end,)


def test_a_tokenizer_that_never_stops_is_refused(make_tokenizer):
    with pytest.raises(ValueError, match="no end-of-sequence token"):
        load_tokenizer(make_tokenizer(None, eos=None))


def test_the_padding_id_is_the_tokenizers_or_a_stop_id(make_tokenizer):
    folder = make_tokenizer("chatml")
    assert (load_tokenizer(folder).pad_id,) == ids_of(folder, "<|endoftext|>")
    folder = make_tokenizer("chatml", pad=None)
    assert (load_tokenizer(folder).pad_id,) == ids_of(folder, "<|im_end|>")


@pytest.mark.parametrize(("template", "kind"), TEMPLATES)
@pytest.mark.parametrize("thinking", [None, True, False])
def test_the_prompt_is_the_beginning_of_the_conversation_token_for_token(
    make_tokenizer, template, kind, thinking
):
    tokenizer = load_tokenizer(make_tokenizer(template, kind))
    last = THOUGHT if template == "thinking" else REPLY
    for messages in ([USER, last], [USER, REPLY, USER, last]):
        prompt = tokenizer.encode_prompt(messages[:-1], thinking)
        tokens, mask = tokenizer.encode_conversation(messages, thinking)
        assert tokens[: len(prompt)] == prompt
        assert mask == [0] * len(prompt) + [1] * (len(tokens) - len(prompt))
        assert tokens[-1] in tokenizer.stop_ids
        assert len(tokens) > len(prompt) + 1


@pytest.mark.parametrize(
    ("template", "kind"), [("chatml", "bytes"), ("headers", "bytes"), ("brackets", "pieces")]
)
def test_without_thinking_the_reply_and_its_end_are_learned(make_tokenizer, template, kind):
    folder = make_tokenizer(template, kind)
    tokens, mask = open_tokenizer(folder).encode_conversation([USER, REPLY], None)
    assert learned(folder, tokens, mask).strip() == "It is 4.<|im_end|>"


def test_tokens_are_those_that_transformers_gives_the_same_messages(make_tokenizer):
    for template, kind in TEMPLATES:
        folder = make_tokenizer(template, kind)
        loaded = open_reference(folder)
        dated = loaded.chat_template.replace("strftime_now('%d %b %Y')", "'26 Jul 2024'")
        options = {"chat_template": dated, "return_dict": False}
        prompt = loaded.apply_chat_template([USER], add_generation_prompt=True, **options)
        whole = loaded.apply_chat_template([USER, REPLY], **options)
        tokenizer = open_tokenizer(folder)
        tokens, _ = tokenizer.encode_conversation([USER, REPLY], None)
        assert tokenizer.encode_prompt([USER], None) == prompt
        assert tokens == whole[: len(tokens)]
        # Nothing but a line break follows the end of the turn.
        assert loaded.decode(whole[len(tokens) :]).strip() == ""


@pytest.mark.parametrize(
    ("thinking", "message", "expected"),
    [
        (True, THOUGHT, "<think>\nTwo and two.\nFour.\n</think>\n\nIt is 4.<|im_end|>"),
        (None, THOUGHT, "<think>\nTwo and two.\nFour.\n</think>\n\nIt is 4.<|im_end|>"),
        (None, REPLY, "<think>\n\n</think>\n\nIt is 4.<|im_end|>"),
        (False, REPLY, "It is 4.<|im_end|>"),
        (False, THOUGHT, "It is 4.<|im_end|>"),
    ],
)
def test_learning_starts_after_the_generation_prompt_of_the_same_mode(
    make_tokenizer, shared_qwen3, thinking, message, expected
):
    for folder in (make_tokenizer("thinking"), *shared_qwen3):
        tokenizer = open_tokenizer(folder)
        tokens, mask = tokenizer.encode_conversation([USER, message], thinking)
        assert learned(folder, tokens, mask) == expected
        prompt = text_of(folder, tokenizer.encode_prompt([USER], thinking))
        assert prompt.endswith(
            "assistant\n" + ("<think>\n\n</think>\n\n" if thinking is False else "")
        )


def test_only_the_last_reply_is_learned_and_each_can_be(make_tokenizer, shared_qwen3):
    messages = (USER, {**THOUGHT, "content": "First."}, USER, {**THOUGHT, "content": "Second."})
    conversation = Example("x", "t", messages, "", "s", {})
    for folder in (make_tokenizer("thinking"), *shared_qwen3):
        tokenizer = open_tokenizer(folder)
        tokens, mask = tokenizer.encode_conversation(messages, False)
        assert learned(folder, tokens, mask) == "Second.<|im_end|>"
        # Earlier replies stand in the context as the template shows them when generating.
        assert "assistant\nFirst.<|im_end|>" in text_of(folder, tokens)
        pairs = [
            tokenizer.encode_conversation(item.messages, False) for item in each_reply(conversation)
        ]
        assert [learned(folder, *pair) for pair in pairs] == [
            "First.<|im_end|>",
            "Second.<|im_end|>",
        ]


def test_a_think_block_where_thinking_is_off_is_refused_with_both_texts(
    make_tokenizer, shared_qwen3
):
    inline = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nIt is 4."}
    for folder in shared_qwen3:
        with pytest.raises(
            ValueError, match="does not start with its own generation prompt"
        ) as error:
            open_tokenizer(folder).encode_conversation([USER, inline], False)
        assert "Hm." in str(error.value)
    broken = make_tokenizer("thinking")
    path = broken / "chat_template.jinja"
    path.write_text(path.read_text().replace("'<think>\\n\\n</think>\\n\\n'", "'<think></think>'"))
    with pytest.raises(ValueError, match=r"has '</think>' where the conversation has"):
        load_tokenizer(broken).encode_conversation([USER, REPLY], False)


@pytest.mark.parametrize("thinking", [None, True, False])
def test_a_template_that_opens_a_thought_and_never_writes_one_is_refused_with_the_way_out(
    make_tokenizer, thinking
):
    # As that of DeepSeek-R1's distilled models: replies lose their thoughts, also the last one.
    folder = make_tokenizer("chatml")
    path = folder / "chat_template.jinja"
    dropped = path.read_text().replace("message.content", "message.content.split('</think>')[-1]")
    path.write_text(dropped.replace("assistant\\n'", "assistant\\n<think>\\n'"))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.show(tokenizer.encode_prompt([USER], thinking)).endswith("<think>\n")
    inline = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nIt is 4."}
    for reply in (REPLY, inline):
        with pytest.raises(ValueError, match=r"opens a thought.*Change the template") as error:
            tokenizer.encode_conversation([USER, reply], thinking)
        assert "thinking=False" not in str(error.value)


def test_a_template_that_would_lose_the_thinking_is_refused(make_tokenizer):
    tokenizer = load_tokenizer(make_tokenizer("chatml"))
    with pytest.raises(ValueError, match="does not show reasoning_content"):
        tokenizer.encode_conversation([USER, THOUGHT], True)
    without = tokenizer.encode_conversation([USER, THOUGHT], False)
    assert without == tokenizer.encode_conversation([USER, REPLY], False)


def test_a_token_across_the_start_of_the_reply_is_split_there(make_tokenizer):
    # The vocabulary has two line breaks as one token; the prompt ends with one, the reply starts
    # with one, and a sampler that was given the prompt can only produce single ones.
    folder = make_tokenizer("chatml")
    tokenizer = open_tokenizer(folder)
    assert len(tokenizer.encode("\n\n")) == 1
    messages = [USER, {"role": "assistant", "content": "\nIt is 4."}]
    tokens, mask = tokenizer.encode_conversation(messages, None)
    prompt = tokenizer.encode_prompt([USER], None)
    assert tokens[: len(prompt)] == prompt
    assert learned(folder, tokens, mask) == "\nIt is 4.<|im_end|>"


def test_the_reply_is_tokenised_in_its_context_where_that_matters(make_tokenizer):
    # SentencePiece puts a space before a text; encoded alone, the reply would begin with two.
    folder = make_tokenizer("brackets", "pieces")
    tokenizer = open_tokenizer(folder)
    tokens, mask = tokenizer.encode_conversation([USER, REPLY], None)
    names = open_reference(folder).convert_ids_to_tokens(tokens)
    start = mask.index(1)
    assert names[start - 1 : start + 3] == ["[/INST]", "▁", "I", "t"]


def test_a_stop_token_inside_a_reply_is_refused(make_tokenizer):
    tokenizer = load_tokenizer(make_tokenizer("chatml"))
    reply = {"role": "assistant", "content": "It is<|im_end|> 4."}
    with pytest.raises(ValueError, match=r"'<\|im_end\|>', which would end it early"):
        tokenizer.encode_conversation([USER, reply], None)


@pytest.mark.parametrize("content", ["", " \n"])
def test_a_reply_that_says_nothing_is_refused(make_tokenizer, content):
    tokenizer = load_tokenizer(make_tokenizer("thinking"))
    reply = {"role": "assistant", "content": content, "reasoning_content": "2 and 2"}
    with pytest.raises(UserError, match="the reply has no text; expected some after its thoughts"):
        tokenizer.encode_conversation([USER, reply], None)


@pytest.mark.parametrize("thinking", [None, True])
def test_a_reply_whose_text_is_a_thought_alone_is_refused_as_one_without_text(
    make_tokenizer, thinking
):
    tokenizer = load_tokenizer(make_tokenizer("thinking"))
    reply = {"role": "assistant", "content": "<think>\n2 and 2\n</think>\n\n"}
    with pytest.raises(UserError, match="the reply has no text; expected some after its thoughts"):
        tokenizer.encode_conversation([USER, reply], thinking)


def test_conversations_and_prompts_must_end_with_the_right_role(make_tokenizer):
    tokenizer = load_tokenizer(make_tokenizer("chatml"))
    for messages in ([USER, REPLY], []):
        with pytest.raises(ValueError, match="not the assistant's"):
            tokenizer.encode_prompt(messages, None)
    with pytest.raises(ValueError, match="must end with an assistant message"):
        tokenizer.encode_conversation([USER], None)


def test_a_missing_or_unwilling_chat_template_is_a_clear_error(make_tokenizer):
    with pytest.raises(ValueError, match=r"no chat template \(chat_template.jinja"):
        load_tokenizer(make_tokenizer(None)).encode_prompt([USER], None)
    tokenizer = load_tokenizer(make_tokenizer("brackets", "pieces"))
    with pytest.raises(ValueError, match=r"roles must alternate.*roles: user, user"):
        tokenizer.encode_prompt([USER, USER], None)


def test_text_returns_unchanged_and_special_tokens_are_left_out(make_tokenizer, shared_qwen3):
    texts = ["", " a  b \n\n c", "Größe — 数学 🙂", "don ' t , it 's ."]
    for folder in (make_tokenizer("chatml"), *shared_qwen3):
        tokenizer = open_tokenizer(folder)
        for text in texts:
            assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.decode([*tokenizer.encode("a"), *tokenizer.stop_ids]) == "a"
        assert tokenizer.vocab_size > max(tokenizer.stop_ids)


def test_the_date_in_a_template_does_not_change_from_day_to_day(make_tokenizer):
    folder = make_tokenizer("headers")
    prompt = text_of(folder, open_tokenizer(folder).encode_prompt([USER], None))
    assert "Today is 26 Jul 2024" in prompt
    folder = make_tokenizer("chatml")
    written = "{{ strftime_now('%-d %B, %H:%M, %j; 100%%') }}{{ messages[0].content }}"
    (folder / "chat_template.jinja").write_text(written)
    tokenizer = load_tokenizer(folder)
    shown = tokenizer.show(tokenizer.encode_prompt([USER], None))
    assert shown == "26 July, 00:00, 208; 100%What is 2+2?"


def test_a_tokenizer_loads_from_a_bucket_without_its_weights(make_tokenizer):
    folder = make_tokenizer("chatml")
    (folder / "model.safetensors").write_text("large")
    copied = []

    def here(path):
        return str(path).replace("gs://bucket/model", str(folder))

    def copy(original, source, target, overwrite):
        copied.append(epath.Path(source).name)
        shutil.copy(here(source), target)

    def find(original, pattern):
        return [path.replace(str(folder), "gs://bucket/model") for path in glob.glob(here(pattern))]

    with epath.testing.mock_epath(glob=find, copy=copy):
        loaded = load_tokenizer("gs://bucket/model")
    assert loaded.stop_ids == load_tokenizer(folder).stop_ids
    assert sorted(copied) == ["chat_template.jinja", "tokenizer.json", "tokenizer_config.json"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/gone/model", "no such folder"),
        ("./gone", "no such folder"),
        ("Qwen/Qwen3-14B-Base", "not to be had from the Hugging Face Hub.*downloaded model folder"),
    ],
)
def test_what_cannot_be_loaded_is_named(path, expected):
    with pytest.raises(ValueError, match=expected) as error:
        load_tokenizer(path)
    assert path in str(error.value)


def test_a_folder_without_a_tokenizer_says_what_it_holds(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"no tokenizer.json.*found config.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="cannot load the tokenizer"):
        load_tokenizer(tmp_path)


def test_the_real_qwen3_files_made_like_a_base_model_stop_at_either_token(shared, tmp_path):
    for file in shared("tokenizers/qwen3").iterdir():
        shutil.copy(file, tmp_path)
    for name in ("config", "generation_config"):
        (tmp_path / f"{name}.json").write_text('{"eos_token_id": 151643}')
    assert load_tokenizer(tmp_path).stop_ids == (151643, 151645)


def test_the_token_that_closes_a_think_block_is_known_where_there_is_one(
    make_tokenizer, shared_qwen3
):
    assert load_tokenizer("configs/tiny_base").close_think == ()
    assert load_tokenizer("configs/tiny_base").open_think is None
    assert load_tokenizer(make_tokenizer("thinking")).close_think[0] == 263
    for folder in shared_qwen3:
        assert load_tokenizer(folder).close_think == (151668, 271)  # </think> and an empty line
        assert load_tokenizer(folder).open_think == 151667  # <think>
