"""docs/gpu-model.md: its tables are what scripts/gpu_model.py prints, and the script's picture of a
step is the code's."""
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import gpu_model  # noqa: E402


def test_tables_in_the_document_are_what_the_script_prints():
    printed = subprocess.run([sys.executable, ROOT / "scripts/gpu_model.py"], check=True,
                             capture_output=True, text=True).stdout
    document = (ROOT / "docs/gpu-model.md").read_text()
    found = re.search(r"<!-- scripts/gpu_model.py -->\n\n(.*)<!-- end -->\n", document, re.DOTALL)

    assert found and found[1] == printed


def constant(path, name):
    return int(re.search(rf"#define {name} (\d+)", (ROOT / path).read_text())[1])


def test_sizes_are_those_of_the_code():
    assert gpu_model.CHUNK_ROWS == constant("core/model/model.c", "CHUNK_ROWS")
    assert gpu_model.ATTENTION_TILE == constant("kernels/cuda/cuda_attention.h",
                                                "UMI_ATTENTION_TILE")
    assert gpu_model.ATTENTION_TILE == constant("kernels/cuda/cuda_attention.h",
                                                "UMI_ATTENTION_KEYS")


@pytest.mark.parametrize("model", gpu_model.MODELS, ids=lambda model: model.name)
def test_launches_of_a_short_step(model):
    """Nine a layer and eight around them, as tests/cuda/test_cuda_step.c counts."""
    _, launches = gpu_model.step_seconds(model, gpu_model.Step(1, 128))

    assert launches == 9 * model.layers + 8


def test_weights_are_read_once_in_a_short_step():
    """The products' bytes are the weights and the activations, written out here once more."""
    llada, step = gpu_model.MODELS[0], gpu_model.Step(1, 64)
    weights = 32 * (4096 * 12288 + 4096 * 4096 + 3 * 4096 * 12288) + 4096 * 126464
    # a layer: q/k/v reads 64 x 4096 and writes 64 x 12288 floats, and so on
    attention = 32 * 64 * (2 * 4096 + 4 * 12288 + 2 * 4096 + 8 * 4096)
    mlp = (31 * 64 + 32) * (2 * 4096 + 4 * 24576 + 2 * 12288 + 8 * 4096)
    head = 32 * (2 * 4096 + 4 * 126464)
    products = [k for k in gpu_model.kernels(llada, step) if k.name.startswith("product")]

    assert sum(k.bytes for k in products) == 2 * weights + attention + mlp + head
