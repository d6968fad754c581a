"""The official OpenAI SDK for Node (sdk.mjs): cases 35, 95-102."""
import pytest

from clients import needs_node, run_node

pytestmark = needs_node


def run(server, scenario):
    return run_node("sdk.mjs", server, scenario)[scenario]


@pytest.mark.case(95)
def test_create_with_response(shared):
    seen = run(shared, "create")
    assert seen["content"] == shared.chat().content and seen["steps"] >= 1
    assert seen["id"] == seen["header"] and seen["id"].startswith("req_")


@pytest.mark.case(95)
def test_stream_iterates_to_its_end(shared):
    assert run(shared, "stream") == {"content": shared.chat().content, "finishes": 1}


@pytest.mark.case(96)
@pytest.mark.parametrize("scenario", ["final", "draft"])
def test_final_completion_of_the_stream_helper(shared, scenario):
    diffusion = {"block_length": 4} if scenario == "draft" else {}
    whole, seen = shared.chat(diffusion=diffusion).json, run(shared, scenario)
    assert seen == {"content": whole["choices"][0]["message"]["content"], "role": "assistant",
                    "finish": whole["choices"][0]["finish_reason"], "usage": whole["usage"]}


@pytest.mark.case(96)
def test_frames_are_properties_of_choices(shared):
    frames = run(shared, "frames")
    assert frames[0] == "full" and frames[-1] == "end" and len(frames) > 4


@pytest.mark.case(102)
def test_completions_and_models(shared):
    assert run(shared, "completions") == {
        "text": shared.text().content, "gap": shared.text(suffix=" by the water").content,
        "models": ["tiny"], "retrieved": "tiny"}


@pytest.mark.case(35, 97, 101, 102)
def test_refused_requests_are_not_retried(shared):
    seen = run(shared, "refused")
    assert seen["attempts"] == ["0", "0", "0"] and seen["missing"] == "NotFoundError"
    assert seen["image"] == ["NotFoundError", "endpoint_not_supported"]  # no image model is served
    error = seen["error"]
    assert (error["name"], error["code"], error["param"]) == (
        "BadRequestError", "decimal_above_max_value", "temperature")
    assert error["requestID"].startswith("req_")


@pytest.mark.case(100)
def test_typed_answers_and_tools_are_refused_by_name(shared):
    """The helpers trust what comes back, so a build that cannot promise a form says so."""
    for error in run(shared, "constrained"):
        assert (error["name"], error["code"]) == ("BadRequestError", "unsupported_parameter"), error


@pytest.mark.case(101)
def test_responses(shared):
    seen = run(shared, "responses")
    plain, drafted = shared.chat().content, shared.chat(diffusion={"block_length": 4})
    assert seen["whole"] == seen["text"] == seen["parsed"] == plain
    assert seen["id"].startswith("req_") and seen["status"] in ("completed", "incomplete")
    assert seen["kinds"][0] == "response.created" and seen["kinds"][-1] == f"response.{seen['status']}"
    assert seen["helper"] == drafted.content
    assert seen["usage"] == drafted.json["usage"]["completion_tokens"]


@pytest.mark.case(97)
def test_a_full_queue_is_retried_twice(full):
    seen = run(full, "full")
    assert seen["attempts"] == ["0", "1", "2"] and seen["error"]["name"] == "RateLimitError"
    assert seen["error"]["requestID"].startswith("req_")


@pytest.mark.case(97)
def test_what_says_so_is_not_retried(launch):
    """504 alone would be."""
    seen = run(launch("--backend", "ref", "--request-timeout", "1"), "unretried")
    assert seen["attempts"] == ["0"]
    assert (seen["error"]["name"], seen["error"]["code"]) == ("InternalServerError", "generation_timeout")


@pytest.mark.case(98)
def test_timeouts_leave_nothing_behind(launch):
    """The queue has room for an attempt that comes before the last one is seen to be gone."""
    server = launch("--backend", "ref", "--max-batch", "1")
    seen = run(server, "timeout")
    assert seen["attempts"] == ["0", "1", "2"]
    assert seen["error"]["name"] == "APIConnectionTimeoutError"
    server.wait_for_metric('request_success_total{finished_reason="abort"}', lambda n: n == 3)
    server.wait_idle()


@pytest.mark.case(99)
def test_an_error_in_mid_stream_is_raised(launch):
    seen = run(launch("--backend", "ref", "--request-timeout", "1"), "broken")
    assert seen["name"] == "APIError" and seen["code"] == "generation_timeout"


@pytest.mark.case(99)
def test_abort_frees_the_slot(slow):
    run(slow, "abort")
    slow.wait_idle()
    assert slow.metrics()['request_success_total{finished_reason="abort"}'] == 1
