"""`unmask inspect` on the real binary: text, JSON, and what it says of checkpoints that are broken."""
import json
import shutil
import subprocess

import pytest

import unmask_server
from child import TIMEOUT


def inspect(directory, *options):
    done = subprocess.run([unmask_server.BINARY, "inspect", directory, *options], timeout=TIMEOUT,
                          capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def broken(checkpoint, tmp_path):
    """A copy to break, and a way to change its config."""
    directory = tmp_path / "copy"
    shutil.copytree(checkpoint, directory)

    def configure(**keys):
        path = directory / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))

    return directory, configure


def test_a_good_checkpoint_can_be_served(checkpoint):
    status, out, err = inspect(checkpoint)
    assert (status, err) == (0, "")
    assert "LLaDAModelLM (llada)" in out and "chat template: llada" in out
    assert out.endswith("can be served  yes\n")


def test_json_tells_dimensions_needs_and_defaults(checkpoint):
    status, out, _ = inspect(checkpoint, "--json")
    found = json.loads(out)
    config = json.loads((checkpoint / "config.json").read_text())
    assert status == 0 and found["servable"] is True and found["problem"] is None
    for ours, theirs in {"width": "d_model", "layers": "n_layers", "kv_heads": "n_kv_heads",
                         "context": "max_sequence_length", "mask_token": "mask_token_id",
                         "end_token": "eos_token_id"}.items():
        assert found[ours] == config[theirs]
    assert found["file_bytes"] == (checkpoint / "model.safetensors").stat().st_size
    assert found["dtype"] == "BF16" and found["unused_tensors"] == 0
    assert found["weight_bytes_bf16"] < found["weight_bytes_f32"] <= 4 * found["parameters"]
    assert found["defaults"] == {"algorithm": "low_confidence", "block_length": 32,
                                 "steps_per_block": 0, "max_tokens": 128, "temperature": 0}


def test_unfit_tensors_are_all_listed(broken):
    directory, configure = broken
    configure(mlp_hidden_size=160, include_qkv_bias=True)
    status, out, err = inspect(directory, "--json")
    found = json.loads(out)
    assert status == 1 and "18 of 39 tensors are missing or unfit" in err
    assert found["servable"] is False and found["problem"] in err
    assert len(found["tensor_problems"]) == 18
    assert "model.transformer.blocks.2.k_proj.bias is missing" in found["tensor_problems"]
    assert ("model.transformer.blocks.0.ff_out.weight is [64, 176], expected [64, 160]"
            in found["tensor_problems"])
    assert found["tensor_problems"][-1] in inspect(directory)[1]


@pytest.mark.parametrize("keys, reason", [
    ({"architectures": ["Wüst\u001b[31m" + "é" * 200]}, "this build knows: LLaDAModelLM"),
    ({"block_type": "sequential"}, 'block_type is "sequential"'),
    ({"mask_token_id": 100000}, "mask token is 100000"),
])
def test_an_unsupported_config_is_named(broken, keys, reason):
    directory, configure = broken
    configure(**keys)
    status, out, err = inspect(directory, "--json")
    assert status == 1 and reason in err
    found = json.loads(out)
    assert reason in found["problem"] and found["servable"] is False
    assert "\x1b" not in out and "\x1b" not in inspect(directory)[1]


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_missing_files_are_named(broken, missing):
    directory, _ = broken
    (directory / missing).unlink()
    status, out, err = inspect(directory)
    assert status == 1 and missing in err
    assert out.endswith("can be served  no\n")


def test_it_wants_one_directory():
    status, out, err = inspect("a", "b")
    assert status == 2 and out == "" and "not 2" in err
