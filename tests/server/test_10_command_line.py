"""The program itself: help, options, broken checkpoints, `generate`."""
import json
import os
import pty
import re
import shutil
import signal
import subprocess

import pytest

from child import TIMEOUT
from unmask_server import BINARY

COMMANDS = ("serve", "generate", "inspect", "bench", "eval", "health")


def run(*arguments, **how):
    return subprocess.run([str(BINARY), *map(str, arguments)], capture_output=True, text=True, timeout=TIMEOUT,
                          **{"stdin": subprocess.DEVNULL, **how})


def test_help_and_version():
    whole = run("--help")
    assert whole.returncode == 0 and all(f"  {name} " in whole.stdout for name in COMMANDS)
    assert re.fullmatch(r"unmask \d+\.\d+\.\d+ \(\S+\)\n", run("--version").stdout)
    for name in COMMANDS:
        result = run(name, "--help")
        assert result.returncode == 0 and result.stdout.startswith(f"usage: unmask {name} ")
        assert "--config" in result.stdout and not result.stderr


def test_unknown_words_are_refused():
    result = run("sevre")
    assert result.returncode == 2 and "sevre" in result.stderr
    result = run("serve", "--max-bach", "3")
    assert result.returncode == 2 and "--max-batch" in result.stderr


@pytest.mark.parametrize("options, words", [
    (["--model", "/nonexistent"], ["/nonexistent"]),
    (["--port", "70000"], ["--port", "70000", "65535"]),
    (["--precision", "f8"], ["--precision", "f8"]),
    (["--backend", "cuda"], ["cuda"]),
    (["--log-level", "loud"], ["--log-level", "loud"]),
    (["--api-key", "short"], ["--api-key", "8 to 255"]),
    (["--max-body-total", "4096"], ["--max-body-total 4096", "--max-body 8388608"]),
])
def test_serve_refuses_bad_options_and_says_why(checkpoint, options, words):
    model = [] if "--model" in options else ["--model", checkpoint]
    result = run("serve", "--port", "0", *model, *options)
    assert result.returncode in (1, 2)
    assert all(word in result.stderr.splitlines()[-1] for word in words), result.stderr
    assert "short" not in result.stderr  # never a key


def test_an_unknown_chat_template_is_an_error_with_a_way_out(checkpoint, launch, tmp_path):
    model = tmp_path / "unknown-template"
    shutil.copytree(checkpoint, model)
    file = model / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "chat_template": "{{ messages }}"}))
    result = run("serve", "--port", "0", "--model", model)
    assert result.returncode == 1
    assert str(file) in result.stderr and "--chat-template NAME" in result.stderr
    result = run("inspect", model)
    assert result.returncode == 1 and str(file) in result.stderr
    for name, words in (("chatml", ["chatml", "<|im_start|>"]),  # tokens that this tokenizer lacks
                        ("nope", ["nope", "llada, mmada, chatml, chatml-plain, llama2, none"])):
        result = run("serve", "--port", "0", "--model", model, "--chat-template", name)
        assert result.returncode in (1, 2) and all(word in result.stderr for word in words), result.stderr
    listed = run("serve", "--help").stdout
    assert "llada, mmada, chatml, chatml-plain, llama2, or none" in listed
    assert run("inspect", model, "--chat-template", "llada").returncode == 0
    server = launch("--chat-template", "llada", model=model)
    assert server.chat().status == 200
    server = launch("--chat-template", "none", model=model)
    assert server.chat().status == 400 and server.text().status == 200


def damage_config(path, **changes):
    config = json.loads((path / "config.json").read_text())
    config.update(changes)
    (path / "config.json").write_text(json.dumps(config))


DAMAGES = {
    "no config": (lambda p: (p / "config.json").unlink(), ["config.json"]),
    "no weights": (lambda p: (p / "model.safetensors").unlink(), ["model.safetensors"]),
    "no tokenizer": (lambda p: (p / "tokenizer.json").unlink(), ["tokenizer.json"]),
    "unknown architecture": (lambda p: damage_config(p, architectures=["Other"]), ["Other", "LLaDA"]),
    "one layer too many": (lambda p: damage_config(p, n_layers=4), ["blocks.3."]),
    "cut weights": (lambda p: os.truncate(p / "model.safetensors", 100_000), ["model.safetensors"]),
    "no JSON": (lambda p: (p / "config.json").write_text("{"), ["config.json"]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_checkpoint_is_refused_with_file_and_reason(checkpoint, tmp_path, damage):
    path = tmp_path / "broken"
    shutil.copytree(checkpoint, path)
    harm, words = DAMAGES[damage]
    harm(path)
    result = run("serve", "--port", "0", "--model", path)
    assert result.returncode == 1 and "info ready " not in result.stderr
    assert all(word in result.stderr.splitlines()[-1] for word in words), result.stderr


def test_a_used_port_is_refused(checkpoint, shared):
    result = run("serve", "--model", checkpoint, "--port", shared.port)
    assert result.returncode == 1 and str(shared.port) in result.stderr


def test_options_come_from_variables_and_files_too(checkpoint, launch, tmp_path):
    file = tmp_path / "unmask.json"
    file.write_text(json.dumps({"model_id": "from-file", "model_alias": ["other"]}))
    server = launch("--config", str(file), env={"UNMASK_STRICT_PARAMS": "1"})
    assert server.get("/v1/models/other").json["id"] == "from-file"
    server.chat(foo=1).error(400, "unknown_parameter", "foo")


# ---- generate ----

ARGUMENTS = ("--threads", "1", "--max-tokens", "24", "--seed", "3")


def test_generate_says_what_the_server_says(checkpoint, shared):
    for options, fields in (((), {}), (("--temperature", "0.9"), {"temperature": 0.9}),
                            (("--steps", "6", "--block-length", "8"), {"steps": 6, "block_length": 8}),
                            (("--threshold", "0.3"), {"threshold": 0.3})):
        result = run("generate", "--model", checkpoint, *ARGUMENTS, *options, "Hello", "you")
        assert result.returncode == 0 and result.stderr == ""
        messages = [{"role": "user", "content": "Hello you"}]
        assert result.stdout == shared.chat(messages=messages, max_tokens=24, seed=3, **fields).content + "\n"


def test_generate_reads_standard_input_and_plain_text(checkpoint, shared):
    with open(checkpoint / "prompt", "w+") as file:
        file.write("Once")
        file.seek(0)
        result = run("generate", "--model", checkpoint, *ARGUMENTS, "--raw", stdin=file)
    assert result.stdout == shared.text(max_tokens=24, seed=3).content + "\n"


def test_generate_draws_the_draft_in_a_terminal(checkpoint, shared):
    """Everything is drawn over; the last frame is the answer and a line of figures."""
    parent, child = pty.openpty()
    process = subprocess.Popen([str(BINARY), "generate", "--model", str(checkpoint), *ARGUMENTS, "--raw",
                                "Once"], stdout=child, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    os.close(child)
    screen = b""
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:  # the other end of the terminal is gone
            break
        if not part:
            break
        screen += part
    assert process.wait(TIMEOUT) == 0 and process.stderr.read() == b""
    text = screen.decode().replace("\r\n", "\n")
    last = text.rsplit("\x1b[J", 1)[1]
    answer = shared.text(max_tokens=24, seed=3)
    assert last.startswith(answer.content + "\n")
    steps = answer.json["usage"]["diffusion"]["steps"]
    assert f"{steps} steps" in last and "tokens/s" in last
    assert "\u2591" in text  # drafts may be skipped, but for the first


def test_generate_ends_on_ctrl_c(checkpoint):
    # a test run in the background of a shell inherits an ignored SIGINT; a terminal's child does not
    process = subprocess.Popen([str(BINARY), "generate", "--model", str(checkpoint), "--backend", "ref",
                                "--max-tokens", "900", "x"], stdout=subprocess.PIPE,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    process.send_signal(signal.SIGINT)
    assert process.wait(TIMEOUT) == -signal.SIGINT


def test_generate_explains_its_errors(checkpoint):
    for options, word in ((("--max-tokens", "5000"), "maximum context length"),
                          (("--algorithm", "nope"), "low_confidence"),
                          (("--threshold", "0.5", "--algorithm", "random"), "threshold")):
        result = run("generate", "--model", checkpoint, *options, "x")
        assert result.returncode == 2 and word in result.stderr and result.stdout == ""
