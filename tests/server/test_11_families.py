"""Every family of the mission behind the real server: the directories that make_tiny_checkpoint.py
writes in the layout of each release, asked for chat and completions, streamed and not, alone and in
mixed load."""
import concurrent.futures
import json
import subprocess
import sys

import pytest

import unmask_server
from child import BUILD
from conftest import MAKER
from unmask_server import CHAT, TEXT, chat, events, joined, text

# family: has a chat template; its own settings
FAMILIES = {
    "dream": (True, {"algorithm": "entropy", "temperature": 0, "top_p": 0.95}),
    "mmada": (True, {"algorithm": "low_confidence", "block_length": 64}),
    "illada": (True, {"algorithm": "low_confidence", "block_length": 32}),
    "diffullama": (False, {"algorithm": "origin", "steps_per_block": 64, "top_p": 0.9}),
    "diffugpt": (False, {"algorithm": "origin", "steps_per_block": 64, "top_p": 0.9}),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """(name, has a chat template, directory, server)"""
    path = tmp_path_factory.mktemp("families") / request.param
    subprocess.run([sys.executable, MAKER, "--family", request.param, "--out", path], check=True,
                   stdout=subprocess.DEVNULL)
    server = unmask_server.Server(path)
    yield request.param, FAMILIES[request.param][0], path, server
    server.wait_idle()
    server.stop()


def streamed(server, path, body):
    return joined(events(server.stream(path, body)[1]))


def inspect(path, *options):
    ended = subprocess.run([BUILD / "server/unmask", "inspect", path, "--json", *options],
                           capture_output=True, text=True)
    return ended.returncode, json.loads(ended.stdout)


def test_inspect_names_the_family(family):
    name, has_chat, path, _ = family
    status, report = inspect(path)
    assert status == 0 and report["family"] == name
    assert (report["chat_template"] is not None) == has_chat
    assert report["parameters"] > 100000 and report["defaults"]["algorithm"]


def test_its_own_settings_are_the_default(family):
    name, _, _, server = family
    body = server.text(diffusion={"echo": True}).json
    for key, value in FAMILIES[name][1].items():
        assert body["diffusion"][key] == pytest.approx(value), key


def test_completions_streamed_and_not(family):
    _, _, _, server = family
    whole = server.text(prompt="The house by the water", max_tokens=24)
    assert whole.status == 200
    body = text(prompt="The house by the water", max_tokens=24)
    assert streamed(server, TEXT, body) == whole.content


def test_chat_where_there_is_a_template(family):
    _, has_chat, _, server = family
    answer = server.chat(max_tokens=24)
    if not has_chat:
        assert "no chat template" in answer.error(400, "unsupported_parameter", "messages")
        return
    assert answer.status == 200 and isinstance(answer.content, str)
    assert streamed(server, CHAT, chat(max_tokens=24)) == answer.content


REQUESTS = [{"temperature": 0}, {"temperature": 0, "max_tokens": 40}, {"temperature": 0.8},
            {"temperature": 1.2, "top_p": 0.8, "max_tokens": 9}, {"top_k": 5, "temperature": 1},
            {"diffusion": {"algorithm": "random"}}, {"diffusion": {"algorithm": "origin"}},
            {"diffusion": {"algorithm": "entropy", "order_temperature": 0.5}},
            {"diffusion": {"algorithm": "margin", "steps": 3}, "max_tokens": 20},
            {"diffusion": {"threshold": 0.02, "block_length": 8}, "max_tokens": 32},
            {"diffusion": {"factor": 2.0}}, {"diffusion": {"algorithm": "competing", "steps": 5}},
            {"diffusion": {"cfg_scale": 1.0}, "temperature": 0},
            {"suffix": " by the water", "max_tokens": 7},
            {"suffix": " by the water", "diffusion": {"infill_length": "auto"}, "max_tokens": 70},
            {"suffix": " in the night", "diffusion": {"preset": "fast"}},
            {"diffusion": {"preset": "balanced"}}, {"diffusion": {"preset": "max"}}]


def test_mixed_load_changes_no_answer(family):
    """Policies, shapes, gaps and presets, each alone and then all at once, twice."""
    _, _, _, server = family
    prompts = ["Once", "The house", "we can see the river in the night", ""]
    bodies = [text(prompt=prompts[i % len(prompts)], **fields)
              for i, fields in enumerate(REQUESTS)]

    def ask(body):
        answer = server.post(TEXT, body)
        assert answer.status == 200, answer.body
        return answer.content

    alone = [ask(body) for body in bodies]
    with concurrent.futures.ThreadPoolExecutor(2 * len(bodies)) as pool:
        together = list(pool.map(ask, bodies + bodies[::-1]))
    assert together == alone + alone[::-1]
    assert len(set(alone)) > len(alone) / 2


def test_a_gap_is_as_long_as_asked_or_grows(family):
    """Blocks or none, a schedule by time or by chance: a gap of open length grows by a block (by 32
    where the model knows no blocks) and stays inside its bound."""
    name, _, _, server = family
    fixed = server.text(prompt="The house", suffix=" by the water", max_tokens=7, ignore_eos=True)
    assert fixed.json["usage"]["diffusion"]["canvas_tokens"] == 7
    assert fixed.json["choices"][0]["finish_reason"] == "stop"
    grown = server.text(prompt="The house", suffix=" by the water", max_tokens=70, ignore_eos=True,
                        diffusion={"infill_length": "auto"})
    usage = grown.json["usage"]["diffusion"]
    assert usage["canvas_tokens"] == 70
    assert usage["blocks"] == (2 if name == "mmada" else 3)  # its blocks are of 64
    assert grown.json["choices"][0]["finish_reason"] == "length"


def test_a_prompt_holds_the_mask_only_where_the_mask_is_text(family):
    """DiffuLLaMA's and DiffuGPT's masks are ordinary tokens; the others' is the unknown."""
    name, _, path, server = family
    mask = json.loads((path / "config.json").read_text()).get("mask_token_id", 5)  # iLLaDA's: 5
    answer = server.text(prompt=[7, mask, 9])
    if name in ("diffullama", "diffugpt"):
        assert answer.status == 200 and answer.json["usage"]["prompt_tokens"] == 3
    else:
        assert "mask token" in answer.error(400, "invalid_value", "prompt[1]")


def test_a_plain_llama_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / "llama"
    subprocess.run([sys.executable, MAKER, "--family", "diffullama", "--out", path], check=True,
                   stdout=subprocess.DEVNULL)
    (path / "special_tokens_map.json").unlink()
    status, report = inspect(path)
    assert status != 0 and "--family diffullama" in report["problem"]
    status, report = inspect(path, "--family", "diffullama")
    assert status == 0 and report["family"] == "diffullama"
    status, report = inspect(path, "--family", "bert")
    assert status != 0 and "known are llada, dream" in report["problem"]
