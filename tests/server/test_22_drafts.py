"""Drafts beside the settled text, and whole texts that replace each other: cases 58-69, 50."""
import json
import os
import random
import re
import socket
import subprocess
import sys

import pytest

import unmask_server
from child import SANITIZED, TIMEOUT
from conftest import MAKER
from draft import drafted, plain, watch
from http_echo import Reader, request
from unmask_server import CHAT, TEXT, chat, events, joined, text

REPLAYS = int(os.environ.get("UM_DRAFT_REPLAYS", "240"))  # random generations; long runs ask for more
PARTS = 12


def diffusion(**fields):
    return {"block_length": 8, "steps_per_block": 4, **fields}


@pytest.mark.case(58)
@pytest.mark.parametrize("path, body", [(CHAT, chat()), (TEXT, text())])
def test_without_frames_it_is_the_settled_stream(shared, path, body):
    body = {**body, "max_tokens": 32, "stream_options": {"include_usage": True}, "diffusion": diffusion()}
    settled = events(shared.stream(path, body)[1])
    chunks, [draft] = drafted(shared, path, body)
    left = plain(chunks)
    assert joined(left) == joined(settled) == draft.content
    assert left[-1]["usage"] == settled[-1]["usage"]
    assert left[-2]["choices"] == settled[-2]["choices"] and set(left[-2]) == set(settled[-2])
    if path == CHAT:
        assert left[0]["choices"] == settled[0]["choices"]


SAMPLERS = [{}, {"algorithm": "random"}, {"algorithm": "threshold", "threshold": 0.02}, {"factor": 3},
            {"algorithm": "margin"}, {"algorithm": "entropy"}, {"algorithm": "origin"},
            {"algorithm": "low_confidence", "early_stop": False}, {"eos_rule": "confidence"}]


def random_case(rng):
    """(path, body, options of the draft)"""
    fields = {
        "seed": rng.randrange(1 << 40),
        "max_tokens": rng.choice([1, 2, 7, 16, 24, 33, 64]),
        "temperature": rng.choice([0, 0.7, 1, 2]),
        "diffusion": {**rng.choice(SAMPLERS), "block_length": rng.choice([1, 4, 8, 16, 32, 64])},
    }
    if rng.random() < 0.5:
        fields["diffusion"]["steps_per_block"] = rng.choice([1, 2, 5, 9, 32])
    if rng.random() < 0.3:
        fields["stop"] = rng.sample(["e", " a", "th", "the", "d d", "\n", "\ufffd", " if u", "o"],
                                    rng.randrange(1, 4))
    if rng.random() < 0.2:
        fields["n"] = 2
    if rng.random() < 0.2:
        fields["top_k"] = 3
    if rng.random() < 0.1:
        fields["ignore_eos"] = True
    options = {name: True for name in ("guess", "confidence", "token_ids") if rng.random() < 0.5}
    options["frames"] = rng.choice(["auto", "auto", "full"])
    options["interval_ms"] = rng.choice([0, 0, 0, 2, 33])
    path, make = rng.choice([(CHAT, chat), (TEXT, text)])
    return path, make(**fields), options


@pytest.mark.case(59, 60, 61)
@pytest.mark.parametrize("part", range(PARTS))
def test_replayed_frames_give_the_text(shared, stepwise, part):
    """Random settings; every promise about frames is checked on the way (draft.py). In the last part
    there is a frame for each step; a fast model's steps are told several at a time."""
    for seed in range(part, REPLAYS, PARTS):
        replay(stepwise if part == PARTS - 1 else shared, *random_case(random.Random(seed)))


def replay(server, path, body, options):
    whole = server.post(path, body)
    assert whole.status == 200, whole.body
    _, drafts = drafted(server, path, body, options)
    for draft, choice in zip(drafts, whole.json["choices"], strict=True):
        said = choice["message"]["content"] if "message" in choice else choice["text"]
        assert draft.content == said
        if choice["finish_reason"] == "length" or "stop" not in body:
            assert draft.text() == said
        assert draft.text().startswith(said)


@pytest.mark.case(62)
def test_patches_and_whole_frames_show_the_same_drafts(stepwise):
    body = chat(max_tokens=64, temperature=1, diffusion=diffusion(block_length=16, steps_per_block=8))
    options = {"guess": True}
    [patched] = drafted(stepwise, CHAT, body, options)[1]
    [whole] = drafted(stepwise, CHAT, body, {**options, "frames": "full"})[1]
    assert {frame["frame"] for frame in whole.frames} == {"full", "end"}
    assert {frame["frame"] for frame in patched.frames} == {"full", "patch", "end"}
    both = patched.drafts.keys() & whole.drafts.keys()
    assert both >= {8, 16, 24, 32}  # the last steps of the blocks are always told
    for step in both:
        assert patched.drafts[step] == whole.drafts[step]


@pytest.mark.case(63)
def test_a_long_interval_leaves_the_ends_of_blocks(shared):
    body = chat(max_tokens=32, diffusion=diffusion(early_stop=False), ignore_eos=True)
    [draft] = drafted(shared, CHAT, body, {"interval_ms": 10000})[1]
    first, *rest = [frame["step"] for frame in draft.frames[:-1]]
    if first != 4:  # the first steps may come together
        assert first < 4
        assert rest.pop(0) == 4
    assert rest == [8, 12, 16]
    assert [frame["frame"] for frame in draft.frames[-4:-1]] == ["full"] * 3  # a block each


@pytest.mark.case(64)
@pytest.mark.parametrize("frames, temperature", [("auto", 2), ("full", 0)])  # sampled guesses change at each step
def test_a_reader_that_sleeps_loses_frames_and_no_text(launch, frames, temperature):
    """It takes nothing until the answer is complete; what waited is bounded, the text is whole, and the
    frame after those that were left out is full. The systems between
    them hold back little; all frames would be half a megabyte and more, where steps are slow enough for a
    frame of each: a busy HTTP thread takes the news of several as one."""
    server = launch("--test-step", "slow:8")
    options = {"interval_ms": 0, "guess": True, "confidence": True, "token_ids": True, "frames": frames}
    body = text(max_tokens=256, temperature=temperature, ignore_eos=True,
                diffusion={"block_length": 256, "steps_per_block": 256})
    whole = server.post(TEXT, body).content
    resident = server.resident_kib()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # the sender's buffer goes by it
        client.settimeout(TIMEOUT)
        client.connect(("127.0.0.1", server.port))
        diffusion = {**body["diffusion"], "stream": "draft", "draft": options}
        payload = json.dumps({**body, "diffusion": diffusion, "stream": True}).encode()
        client.sendall(request("POST", TEXT, payload, {"Content-Type": "application/json"}))
        server.wait_for_metric('request_success_total{finished_reason="length"}', lambda count: count == 2)
        assert SANITIZED or server.resident_kib() - resident < 16 * 1024
        answer = Reader(client).response()
    assert answer.complete
    [draft] = watch(events(answer.body), options)
    assert draft.content == draft.text() == whole
    *frames_told, end = draft.frames
    assert server.metrics()['stream_frames_total{kind="dropped"}'] > 0
    assert len(frames_told) < 256 and frames_told[-1]["step"] == 256 and frames_told[-1]["frame"] == "full"


@pytest.mark.case(65)
@pytest.mark.parametrize("fields, code, param", [
    ({"diffusion": {"stream": "draft"}}, "invalid_value", "diffusion.stream"),
    ({"diffusion": {"stream": "replace"}}, "invalid_value", "diffusion.stream"),
    ({"diffusing": True}, "invalid_value", "diffusing"),
    ({"diffusion": {"stream": "drafts"}, "stream": True}, "invalid_value", "diffusion.stream"),
    ({"diffusion": {"foo": 1}, "stream": True}, "unknown_parameter", "diffusion.foo"),
    ({"diffusion": {"draft": {"foo": 1}}, "stream": True}, "unknown_parameter", "diffusion.draft.foo"),
    ({"diffusion": {"draft": {"interval_ms": 10001}}}, "integer_above_max_value",
     "diffusion.draft.interval_ms"),
    ({"diffusion": {"draft": {"interval_ms": -1}}}, "integer_below_min_value", "diffusion.draft.interval_ms"),
    ({"diffusion": {"draft": {"frames": "half"}}}, "invalid_value", "diffusion.draft.frames"),
    ({"diffusion": {"draft": {"guess": 1}}}, "invalid_type", "diffusion.draft.guess"),
])
def test_bad_draft_settings_are_named(shared, fields, code, param):
    shared.chat(**fields).error(400, code, param)


@pytest.mark.case(66)
def test_guesses_confidences_and_ids_are_told_on_request(stepwise):
    """The ids of the last draft are the text; a guess is what an argmax commits in the end."""
    options = {"guess": True, "confidence": True, "token_ids": True}
    body = chat(max_tokens=32, temperature=0, diffusion=diffusion(steps_per_block=8, block_length=32))
    [draft] = drafted(stepwise, CHAT, body, options)[1]
    states = {cell[1] for shown in draft.drafts.values() for cell in shown}
    assert states >= {"g", "d"}
    assert any(cell.confidence > 0 for cell in draft.cells if cell.state == "d")
    ids = [cell.token for cell in draft.cells if cell.state == "d"]
    assert stepwise.post("/detokenize", {"tokens": ids}).json["prompt"] == draft.content


@pytest.mark.case(67)
@pytest.mark.parametrize("fields", [{"diffusing": True}, {"diffusion": {"stream": "replace"}}])
def test_texts_that_replace_each_other(stepwise, fields):
    body = chat(max_tokens=32, temperature=1, diffusion=diffusion())
    whole = stepwise.post(CHAT, body)
    body["diffusion"].update(draft={"interval_ms": 0}, **fields.get("diffusion", {}))
    chunks = events(stepwise.stream(CHAT, {**fields, **body})[1])
    *shown, closing = chunks
    assert [chunk["choices"][0]["delta"].get("role") for chunk in chunks] == [
        "assistant"] + [None] * (len(chunks) - 1)
    assert closing["choices"][0]["delta"] == {}
    shown = [chunk for chunk in shown if chunk["choices"][0]["delta"].get("content")]
    contents = [chunk["choices"][0]["delta"]["content"] for chunk in shown]
    assert contents[-1] == whole.content and len(contents) > 4
    assert all(a != b for a, b in zip(contents, contents[1:]))
    assert any("\u2591" in content for content in contents[:-1])  # no guess: a mask
    meta = [chunk["diffusion_meta"] for chunk in shown]
    assert all(m["diffusion_content"] is True for m in meta)
    progress = [m["diffusion_progress"] for m in meta]
    assert progress == sorted(progress) and 0 <= progress[0] and progress[-1] == 1
    reason = whole.json["choices"][0]["finish_reason"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in (shown[-1], closing)] == [reason] * 2
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in shown[:-1])


@pytest.mark.case(68)
def test_frames_of_completions_stand_beside_empty_texts(shared):
    body = text(prompt=["Once", "The sun"], max_tokens=24, diffusion=diffusion())
    chunks, drafts = drafted(shared, TEXT, body)
    for draft, choice in zip(drafts, shared.post(TEXT, body).json["choices"], strict=True):
        assert draft.content == choice["text"] == draft.text()
    alone = [choice for chunk in chunks for choice in chunk["choices"]
             if choice.get("diffusion", {}).get("frame") in ("full", "patch")]
    assert any(choice["text"] == "" for choice in alone)
    assert all("delta" not in choice for choice in alone)


@pytest.mark.case(69)
def test_frames_of_responses_ride_on_empty_deltas(shared):
    """Only standard types; the same frames that a chat has."""
    body = {"input": "Hi", "max_output_tokens": 32, "seed": 1, "diffusion": diffusion()}
    body["diffusion"].update(stream="draft", draft={"interval_ms": 0})
    raw = shared.post("/v1/responses", {**body, "stream": True}).body.decode()
    found = re.findall(r"^event: (\S+)\ndata: (\{.*\})\n\n", raw, re.M)
    assert {kind for kind, _ in found} <= {
        "response.created", "response.in_progress", "response.output_item.added",
        "response.content_part.added", "response.output_text.delta", "response.output_text.done",
        "response.content_part.done", "response.output_item.done", "response.completed",
        "response.incomplete"}
    deltas = [json.loads(data) for kind, data in found if kind == "response.output_text.delta"]
    framed = [delta for delta in deltas if "diffusion" in delta]
    assert framed and all(delta["delta"] == "" for delta in framed)
    content = "".join(delta["delta"] for delta in deltas)
    chunks = [{"choices": [{"index": 0, "text": delta["delta"], "diffusion": delta.get("diffusion"),
                            "finish_reason": None}]} for delta in deltas]
    frames = [chunk["choices"][0]["diffusion"] for chunk in chunks if chunk["choices"][0]["diffusion"]]
    if frames[-1]["frame"] == "end":
        next(chunk for chunk in chunks if chunk["choices"][0]["diffusion"] is frames[-1])[
            "choices"][0]["finish_reason"] = "length"
    [draft] = watch(chunks)
    assert draft.text() == content


@pytest.fixture(scope="module")
def competing(tmp_path_factory):
    """DiffuGPT, in whose sampler filled positions compete again with the masked ones."""
    path = tmp_path_factory.mktemp("competing") / "diffugpt"
    subprocess.run([sys.executable, MAKER, "--family", "diffugpt", "--out", path], check=True,
                   stdout=subprocess.DEVNULL)
    server = unmask_server.Server(path)
    yield server
    server.wait_idle()
    server.stop()


@pytest.mark.case(50)
@pytest.mark.parametrize("seed", range(6))
def test_what_a_competing_sampler_says_stands(competing, seed):
    """No cell that is done changes (draft.py), and no text that was sent."""
    body = text(max_tokens=24, seed=seed, temperature=1, diffusion={
        "algorithm": "competing", "block_length": 8, "steps_per_block": 8})
    whole = competing.post(TEXT, body)
    assert joined(events(competing.stream(TEXT, body)[1])) == whole.content
    [draft] = drafted(competing, TEXT, body)[1]
    assert draft.content == draft.text() == whole.content


@pytest.mark.case(50)
def test_models_say_that_they_do_not_revise(competing, shared):
    """None of this build's samplers puts another token where one is."""
    for server in (competing, shared):
        assert server.get("/v1/models").json["data"][0]["diffusion"]["revises"] is False
        assert server.text().json["usage"]["diffusion"]["revised_tokens"] == 0
