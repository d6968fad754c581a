"""`unmask eval` on the real binary and the tiny checkpoint, whose answers are noise: what is right is
decided by what the model was first seen to say."""
import csv
import json
import os
import pty
import subprocess

import pytest

from child import TIMEOUT
from unmask_server import BINARY

OPTIONS = ("--threads", "1", "--max-tokens", "16")
PROMPTS = ["Hello", "What is 2 + 3?", "Sort: 3 1 2", "x" * 60, "", "Hi \u00e9\u4e2d", "One", "Two", "Three"]


def run(*arguments):
    return subprocess.run([str(BINARY), "eval", *map(str, arguments)], capture_output=True, text=True,
                          timeout=TIMEOUT, stdin=subprocess.DEVNULL)


def write_tasks(path, checkers, kinds=("even", "odd")):
    path.write_text("".join(json.dumps({"kind": kinds[i % 2], "prompt": PROMPTS[i % len(PROMPTS)],
                                        "checker": checker}) + "\n"
                            for i, checker in enumerate(checkers)))
    return path


def exact(text):
    return {"type": "exact", "text": text}


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    return write_tasks(tmp_path_factory.mktemp("tasks") / "noise.jsonl", [exact("-")] * 20)


def answers(checkpoint, tasks, *options):
    done = run(checkpoint, tasks, *OPTIONS, "--json", *options)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def stable(result):
    """What must not depend on time or company."""
    return [(a["line"], a["kind"], a["answer"], a["tokens"], a["steps"]) for a in result["answers"]]


def test_answers_are_those_of_the_server(checkpoint, shared, noise):
    for line, answer in enumerate(answers(checkpoint, noise)["answers"][:len(PROMPTS)], 1):
        messages = [{"role": "user", "content": PROMPTS[line - 1]}]
        served = shared.chat(messages=messages, max_tokens=16, seed=line)
        assert answer["line"] == line and answer["answer"] == served.content
        assert answer["tokens"] == served.json["usage"]["completion_tokens"]


def test_company_changes_nothing(checkpoint, noise):
    """Alone, in small batches, in steps of few rows: the same answers, also where lots are drawn."""
    for policy in ((), ("--algorithm", "random", "--tokens-per-step", "2"), ("--temperature", "1")):
        alone = stable(answers(checkpoint, noise, "--max-batch", "1", *policy))
        assert stable(answers(checkpoint, noise, *policy)) == alone
        assert stable(answers(checkpoint, noise, "--max-batch", "3", "--rows-per-step", "100", *policy)) == alone


def test_the_seed_decides_where_lots_are_drawn(checkpoint, noise):
    hot = ("--temperature", "1")
    assert stable(answers(checkpoint, noise, *hot)) == stable(answers(checkpoint, noise, *hot, "--seed", "0"))
    assert stable(answers(checkpoint, noise, *hot)) != stable(answers(checkpoint, noise, *hot, "--seed", "9"))


def test_right_answers_are_counted(checkpoint, noise, tmp_path):
    """Every third task expects what the model says; the others expect something else."""
    said = answers(checkpoint, noise)["answers"]
    tasks = write_tasks(tmp_path / "tasks.jsonl",
                        [exact(a["answer"] + ("" if i % 3 == 0 else "!")) for i, a in enumerate(said)])
    result = answers(checkpoint, tasks)
    assert [a["right"] for a in result["answers"]] == [i % 3 == 0 for i in range(20)]
    assert (result["right"], result["total"]) == (7, 20) and result["accuracy"] == pytest.approx(7 / 20)
    assert result["kinds"] == {"even": {"right": 4, "total": 10}, "odd": {"right": 3, "total": 10}}
    assert result["tokens"] == sum(a["tokens"] for a in said)
    assert result["steps"] == sum(a["steps"] for a in said)
    assert result["tokens_per_step"] == pytest.approx(result["tokens"] / result["steps"], abs=1e-5)
    assert result["tokens_per_second"] == pytest.approx(result["tokens"] / result["seconds"], rel=1e-2)
    text = run(checkpoint, tasks, *OPTIONS).stdout
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.endswith("%")}
    assert rows == {"even": ["4", "10", "40.0%"], "odd": ["3", "10", "30.0%"], "all": ["7", "20", "35.0%"]}
    assert "tokens/s" in text and "tokens per step" in text


def test_the_file_beside_the_model_is_the_default(checkpoint, noise, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for file in checkpoint.iterdir():
        (model / file.name).symlink_to(file)
    missing = run(model)
    assert missing.returncode == 1 and f"{model}/eval.jsonl" in missing.stderr
    (model / "eval.jsonl").symlink_to(noise)
    limited = json.loads(run(model, *OPTIONS, "--json", "--limit", "2").stdout)
    assert limited["file"] == f"{model}/eval.jsonl" and limited["total"] == 4
    assert [a["line"] for a in limited["answers"]] == [1, 2, 3, 4]


def test_settings_are_told(checkpoint, noise):
    def settings(*options):
        return answers(checkpoint, noise, "--limit", "1", *options)["settings"]

    assert settings() == {"algorithm": "low_confidence", "block_length": 32, "steps_per_block": 32,
                          "max_tokens": 16, "temperature": 0}
    assert settings("--tokens-per-step", "3", "--block-length", "8")["steps_per_block"] == 3
    assert settings("--threshold", "0.5")["threshold"] == 0.5
    assert settings("--factor", "2")["algorithm"] == "factor"
    assert settings("--steps", "4", "--block-length", "16", "--algorithm", "random")["steps_per_block"] == 4


def test_the_curve_is_a_csv_of_all_settings(checkpoint, noise, tmp_path):
    path = tmp_path / "curve.csv"
    done = run(checkpoint, noise, *OPTIONS, "--limit", "2", "--curve", path)
    assert (done.returncode, done.stderr) == (0, "")
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [(policy, n, "", "") for policy in ("low_confidence", "random") for n in "124"]
    expected += [("threshold", "", t, "") for t in ("0.5", "0.6", "0.7", "0.8", "0.9", "0.95")]
    expected += [("factor", "", "", f) for f in ("0.5", "1", "2")]
    assert [(r["algorithm"], r["per_step"], r["threshold"], r["factor"]) for r in rows] == expected
    for row in rows:
        assert row["total"] == "4" and row["right"] == "0" and {"accuracy_even", "accuracy_odd"} <= set(row)
        assert float(row["tokens_per_step"]) == pytest.approx(int(row["tokens"]) / int(row["steps"]), abs=1e-5)
    one = answers(checkpoint, noise, "--limit", "2", "--algorithm", "random", "--tokens-per-step", "4")
    row = rows[expected.index(("random", "4", "", ""))]
    assert (one["tokens"], one["steps"]) == (int(row["tokens"]), int(row["steps"]))
    assert len(done.stdout.splitlines()) == 1 + len(rows)


def test_progress_is_drawn_over_itself_in_a_terminal(checkpoint, tmp_path):
    tasks = write_tasks(tmp_path / "many.jsonl", [exact("-")] * 400)
    parent, child = pty.openpty()
    process = subprocess.Popen([str(BINARY), "eval", str(checkpoint), str(tasks), *OPTIONS, "--max-batch", "1"],
                               stdout=subprocess.PIPE, stderr=child, stdin=subprocess.DEVNULL)
    os.close(child)
    seen = b""
    while b"of 400 answered" not in seen:
        seen += os.read(parent, 4096)
    assert seen.startswith(b"\r\x1b[K") and b"\n" not in seen
    process.kill()
    process.wait()
    os.close(parent)


@pytest.mark.parametrize("line, words", [
    ("{", ["line 2", "JSON"]),
    ('{"kind": "a", "prompt": "p"}', ["line 2", "checker is missing"]),
    ('{"kind": "a", "prompt": "p", "checker": {"type": "exact"}}', ["line 2", "checker.text"]),
    ('{"kind": "a", "prompt": "p", "checker": {"type": "magic"}}', ["line 2", "checker.type", "magic"]),
    (json.dumps({"kind": "a", "prompt": "word " * 2000, "checker": exact("x")}),
     ["line 2", "maximum context length"]),
])
def test_faults_of_the_file_name_line_and_field(checkpoint, tmp_path, line, words):
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps({"kind": "a", "prompt": "p", "checker": exact("x")}) + "\n" + line + "\n")
    done = run(checkpoint, path, *OPTIONS)
    assert done.returncode != 0 and done.stdout == ""
    assert all(word in done.stderr for word in [str(path), *words]), done.stderr


@pytest.mark.parametrize("options, words", [
    (["--curve", "/nonexistent/c.csv"], ["/nonexistent/c.csv"]),
    (["--curve", "c.csv", "--json"], ["--curve", "--json"]),
    (["--curve", "c.csv", "--threshold", "0.5"], ["--curve", "--threshold"]),
    (["--steps", "4", "--tokens-per-step", "2"], ["--steps", "--tokens-per-step"]),
    (["--max-tokens", "5000"], ["line 1", "maximum context length"]),
    (["third"], ["third"]),
    (["--model", "x"], ["--model"]),
])
def test_options_that_cannot_be_are_refused(checkpoint, noise, options, words):
    done = run(checkpoint, noise, *options)
    assert done.returncode != 0 and done.stdout == ""
    assert all(word in done.stderr for word in words), done.stderr


def test_a_missing_model_or_file_is_named(checkpoint, noise):
    done = run("/nonexistent", noise)
    assert done.returncode == 1 and "/nonexistent: no such directory" in done.stderr
    done = run(checkpoint, "/nonexistent.jsonl")
    assert done.returncode == 1 and "/nonexistent.jsonl" in done.stderr
