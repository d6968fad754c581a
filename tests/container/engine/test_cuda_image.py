"""The image of docker/Dockerfile.cuda up to its stage `program`, which lacks cuBLASLt: the plugin is
there and says what it misses; the server serves on the CPU where that is allowed. `scripts/container_test
cuda` makes it."""
from engine import STRICT, engine, inspect

IMAGE = "localhost/unmask-cuda:latest"


def test_it_has_the_plugin_and_says_why_it_cannot_be_used():
    print(f"image without cuBLASLt: {inspect(IMAGE, 'image')['Size'] / 1e6:.1f} MB")
    result = engine("run", "--rm", *STRICT, IMAGE, check=False)
    assert result.returncode == 1
    reason = result.stderr.splitlines()[-1]
    assert "cuda" in reason and ("driver" in reason or "libcuda" in reason), reason


def test_it_serves_on_the_cpu_where_that_is_allowed():
    result = engine("run", "--rm", *STRICT, "-e", "UNMASK_BACKEND=auto", IMAGE, "generate", "--seed", "1",
                    "What is the capital of France?", check=False)
    assert result.returncode == 0 and result.stdout == "The capital of France is Paris.\n", result.stderr
