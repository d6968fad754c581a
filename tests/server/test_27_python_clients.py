"""LangChain and LiteLLM for Python (python_clients.py) and the command-line tool llm: cases 107, 108."""
import subprocess

import pytest

from clients import PYTHON, base_url, needs_python_clients, output_of, run_python
from unmask_server import TEXT

pytestmark = needs_python_clients
FIELDS = {"max_tokens": 32, "temperature": 0, "seed": None}


@pytest.fixture(scope="module")
def langchain(shared):
    return run_python("python_clients.py", shared, "langchain_invoke", "langchain_stream", "langchain_draft",
                      "langchain_overflow")


@pytest.mark.case(107)
@pytest.mark.parametrize("scenario", ["langchain_invoke", "langchain_stream"])
def test_langchain_text_and_usage(langchain, shared, scenario):
    seen, answer = langchain[scenario], shared.chat(**FIELDS)
    usage = answer.json["usage"]
    assert seen["text"] == answer.content
    assert [seen["usage"][name] for name in ("input_tokens", "output_tokens", "total_tokens")] == [
        usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")]


@pytest.mark.case(107)
def test_langchain_drafts_leave_the_text_alone(langchain, shared):
    assert langchain["langchain_draft"]["text"] == shared.chat(**FIELDS, diffusion={"block_length": 8}).content


@pytest.mark.case(107)
def test_langchain_knows_an_overflow_of_the_context(langchain):
    seen = langchain["langchain_overflow"]
    assert "BadRequestError" in seen["names"] and "exceeds the context window" in seen["message"]


@pytest.fixture(scope="module")
def litellm(shared):
    return run_python("python_clients.py", shared, "litellm_plain", "litellm_stream", "litellm_errors",
                      "litellm_fim")


@pytest.mark.case(108)
def test_litellm_openai_route(litellm, shared):
    answer = shared.chat(**FIELDS, diffusion={"steps": 4})
    assert litellm["litellm_plain"] == {
        "text": answer.content, "finish": answer.json["choices"][0]["finish_reason"],
        "usage": answer.json["usage"]["completion_tokens"]}
    assert litellm["litellm_stream"] == {
        "text": answer.content, "draft": shared.chat(**FIELDS, diffusion={"block_length": 8}).content}


@pytest.mark.case(108)
def test_litellm_types_errors(litellm):
    assert [status for _, status in litellm["litellm_errors"]] == [400, 400]


@pytest.mark.case(108)
def test_litellm_inception_route_fills_gaps(litellm, shared):
    body = {"prompt": "The house ", "suffix": " by the water", "max_tokens": 12}
    gap = shared.post(TEXT, body).content
    assert litellm["litellm_fim"] == {"text": gap, "streamed": gap}


def test_llm_the_command_line_tool(shared, tmp_path):
    """Configured as its documentation says; the answer comes streamed and not."""
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: unmask\n  model_name: tiny\n  api_base: {base_url(shared)}\n")
    env = {"LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none"}
    options = ["-o", "max_tokens", "16", "-o", "seed", "1", "-o", "temperature", "0"]
    for more in ([], ["--no-stream"]):
        said = output_of([PYTHON, "-m", "llm", "-m", "unmask", *options, *more, "Hi"], env)
        assert said == shared.chat().content + "\n"
