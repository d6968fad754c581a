"""`unmask bench` on the real binary: that it measures what it says, not how fast this machine is."""
import json
import subprocess

import unmask_server
from child import TIMEOUT

SHAPE = "64,2,4,2,96,300"


def bench(*options):
    done = subprocess.run([unmask_server.BINARY, "bench", "--repeat", "1", *options], timeout=TIMEOUT,
                          capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_a_synthetic_shape_is_measured_in_every_part():
    status, out, err = bench("--shape", SHAPE, "--canvas", "16,40", "--threads", "1", "--json")
    assert (status, err) == (0, "")
    report = json.loads(out)
    # embedding, head, final norm; per layer q, o, k, v, gate, up, down and two norms
    assert report["parameters"] == 2 * 300 * 64 + 64 + 2 * (
        2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64 + 2 * 64)
    assert report["precision"] == "bf16" and report["backend"].startswith("cpu-")
    assert report["peak_bf16_flops"] >= report["peak_f32_flops"] * 0.5 > 0
    assert report["resident_bytes"] > report["weight_bytes"] > 0
    assert [step["canvas"] for step in report["steps"]] == [16, 40]
    assert all(step["seconds"] >= step["best_seconds"] > 0 for step in report["steps"])
    assert [(p["kind"], p["rows_min"], p["rows_max"]) for p in report["packings"]] == [
        ("mixed", 4, 16), ("window", 8, 8), ("window", 4, 4), ("window", 1, 1)]
    assert all(p["positions"] == 32 * p["rows_max"] for p in report["packings"][1:])
    shapes = {(l["matrix"], l["out"], l["in"]) for l in report["linears"]}
    assert shapes == {("qkv", 128, 64), ("attention_out", 64, 64), ("gate_up", 192, 64),
                      ("down", 64, 96)}
    rows = sorted({l["rows"] for l in report["linears"]})
    assert rows == [1, 4, 8, 32, 64, 128, 512] and len(report["linears"]) == 4 * 7


def test_a_checkpoint_is_measured_and_only_what_is_asked(checkpoint):
    status, out, err = bench("--model", checkpoint, "--canvas", "32", "--measure", "step",
                             "--precision", "f32")
    assert (status, err) == (0, "")
    assert "denoising step" in out and ", f32" in out
    assert "linear layers" not in out and "packed into shared steps" not in out


def test_options_that_make_no_sense_name_value_and_bound():
    for options, words in (
            (["--shape", "64,2,4"], ("--shape", "64,2,4", "d,layers,heads")),
            (["--shape", SHAPE, "--canvas", "1"], ("--canvas", '"1"', "from 2")),
            (["--shape", SHAPE, "--measure", "speed"], ("--measure", "speed", "linear")),
            (["--shape", SHAPE, "--precision", "int8"], ("--precision", "int8", "bf16")),
            (["--shape", "64,2,3,3,96,300"], ("heads", "width"))):
        status, out, err = bench(*options)
        assert status != 0 and out == ""
        assert all(word in err for word in words), err
