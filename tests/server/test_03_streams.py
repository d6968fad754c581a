"""Streams of settled text: cases 42-46, 48, 49, 55, 57."""
import pytest

from unmask_server import CHAT, TEXT, chat, events, joined, text


@pytest.mark.case(42)
def test_framing_and_headers(shared):
    headers, raw = shared.stream(CHAT, chat())
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-cache" and headers["x-accel-buffering"] == "no"
    assert raw.startswith(b": accepted\n\n")
    assert events(raw)
    assert not any(line.startswith((b"event:", b"id:", b"retry:")) for line in raw.split(b"\n"))


@pytest.mark.case(43, 45)
def test_chunks_are_what_the_sdks_expect(shared):
    chunks = events(shared.stream(CHAT, chat())[1])
    first = chunks[0]
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    for chunk in chunks:
        assert chunk["object"] == "chat.completion.chunk" and "usage" not in chunk
        assert (chunk["id"], chunk["created"], chunk["model"], chunk["system_fingerprint"]) == (
            first["id"], first["created"], "tiny", first["system_fingerprint"])
        [choice] = chunk["choices"]
        assert choice["index"] == 0 and choice["logprobs"] is None
    for chunk in chunks[1:]:
        assert "role" not in chunk["choices"][0]["delta"]
    for chunk in chunks[1:-1]:
        assert chunk["choices"][0]["delta"]["content"] != ""
        assert chunk["choices"][0]["finish_reason"] is None
    last = chunks[-1]["choices"][0]
    assert last["delta"] == {} and last["finish_reason"] in ("stop", "length")


@pytest.mark.case(44, 50)
@pytest.mark.parametrize("seed", range(1, 51))
def test_deltas_add_up_to_the_whole_answer(shared, seed):
    """Temperatures 0 and 1; the sampled one has stray bytes, hence characters over several tokens."""
    prompt = [{"role": "user", "content": f"Tell me number {seed} \u4f60\u597d"}]
    for temperature in (0, 1):
        body = chat(messages=prompt, seed=seed, temperature=temperature, max_tokens=24,
                    diffusion={"block_length": 8})
        whole = shared.post(CHAT, body).content
        stops = [[], [whole[6:8]], ["zz", whole[9:12]]]
        body["stop"] = [s for s in stops[seed % 3] if s]
        whole = shared.post(CHAT, body)
        chunks = events(shared.stream(CHAT, body)[1])
        assert joined(chunks) == whole.content
        finish = whole.json["choices"][0]["finish_reason"]
        assert chunks[-1]["choices"][0]["finish_reason"] == finish


@pytest.mark.case(44, 48)
def test_sampled_bytes_arrive_as_whole_characters(shared):
    """Each delta is valid UTF-8 by itself (json.loads saw to that) and no character is torn."""
    torn = 0
    for seed in range(1, 9):
        body = chat(seed=seed, temperature=2, max_tokens=64)
        whole = shared.post(CHAT, body).content
        assert joined(events(shared.stream(CHAT, body)[1])) == whole
        torn += "\ufffd" in whole
    assert torn > 0  # bytes that are no character at all do come out of random weights


@pytest.mark.case(46)
def test_usage_chunk_comes_last_and_only_on_request(shared):
    whole = shared.chat().json["usage"]
    chunks = events(shared.stream(CHAT, chat(stream_options={"include_usage": True}))[1])
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"] == whole
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


def test_continuous_usage_grows_to_the_final_one(shared):
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = events(shared.stream(CHAT, chat(stream_options=options))[1])
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    whole = shared.chat().json["usage"]
    assert counts == sorted(counts) and counts[-1] == whole["completion_tokens"]
    assert {chunk["usage"]["prompt_tokens"] for chunk in chunks} == {whole["prompt_tokens"]}


@pytest.mark.case(57)
def test_completions_stream_text(shared):
    chunks = events(shared.stream(TEXT, text())[1])
    assert all(chunk["object"] == "text_completion" for chunk in chunks)
    assert joined(chunks) == shared.text().content
    assert chunks[-1]["choices"][0]["text"] == "" and chunks[-1]["choices"][0]["finish_reason"]
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks[:-1])


def test_several_prompts_share_a_stream(shared):
    prompts = ["Once", "The sun", "We"]
    chunks = events(shared.stream(TEXT, text(prompt=prompts))[1])
    whole = shared.text(prompt=prompts).json["choices"]
    for index, choice in enumerate(whole):
        assert joined(chunks, index) == choice["text"]
        ends = [c for chunk in chunks for c in chunk["choices"]
                if c["index"] == index and c["finish_reason"]]
        assert [end["finish_reason"] for end in ends] == [choice["finish_reason"]]


@pytest.mark.case(55)
def test_errors_before_the_stream_are_plain_json(shared):
    answer = shared.chat(stream=True, temperature=9)
    answer.error(400, "decimal_above_max_value", "temperature")


def test_without_early_headers_the_stream_is_the_same(shared, launch):
    late = launch("--no-early-headers", "--model-id", "tiny")
    raw = late.stream(CHAT, chat())[1]
    assert joined(events(raw)) == shared.chat().content
