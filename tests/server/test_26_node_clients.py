"""Vercel's AI SDK (vercel.mjs) and LangChain for JavaScript (langchain.mjs): cases 103-106."""
import pytest

from clients import needs_node, node_major, run_node
from draft import Draft

pytestmark = needs_node
FIELDS = {"max_tokens": 32, "temperature": 0}
DRAFTED = {**FIELDS, "diffusion": {"block_length": 8}}


def usage_of(answer):
    usage = answer.json["usage"]
    return [usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")]


@pytest.fixture(scope="module")
def vercel(shared):
    """What its scenarios found; one process runs them all."""
    return run_node("vercel.mjs", shared, "generate", "stream", "draft", "chat", "responses", "constrained",
                    "refused")


@pytest.mark.case(103)
@pytest.mark.parametrize("scenario, finish", [("generate", "finishReason"), ("stream", "finish")])
def test_vercel_text_finish_and_usage(vercel, shared, scenario, finish):
    seen, answer = vercel[scenario], shared.chat(**FIELDS)
    assert seen["text"] == answer.content
    assert seen[finish] == answer.json["choices"][0]["finish_reason"]
    usage = seen["usage"]
    assert [usage[name] for name in ("inputTokens", "outputTokens", "totalTokens")] == usage_of(answer)


@pytest.mark.case(103)
def test_vercel_drafts_are_raw_parts_beside_an_unchanged_text(vercel, shared):
    seen = vercel["draft"]
    assert seen["sent"]["stream"] == "draft"  # what providerOptions say reaches the body
    assert seen["text"] == shared.chat(**DRAFTED).content and not seen["errors"]
    draft = Draft()
    for frame in seen["frames"]:
        draft.apply(frame)
    assert draft.ended and draft.text() == seen["text"]


@pytest.mark.case(104)
def test_vercel_default_model_is_responses(vercel, shared):
    answer = shared.chat(**FIELDS)
    seen = vercel["responses"]
    assert seen["text"] == seen["streamed"]["text"] == answer.content == vercel["chat"]["text"]
    usage = [seen["usage"][name] for name in ("inputTokens", "outputTokens", "totalTokens")]
    assert usage == usage_of(answer)
    assert seen["finishReason"] == seen["streamed"]["finish"] == answer.json["choices"][0]["finish_reason"]
    assert not seen["streamed"]["errors"]


@pytest.mark.case(104)
def test_vercel_tools_and_objects_are_refused_by_name(vercel):
    assert [error["status"] for error in vercel["constrained"]] == [400, 400]
    assert all("not supported" in error["message"] for error in vercel["constrained"]), vercel["constrained"]


@pytest.mark.case(105)
def test_vercel_does_not_retry_what_was_refused(vercel, shared):
    message = shared.chat(temperature=9).error(400, "decimal_above_max_value", "temperature")
    assert vercel["refused"] == {"attempts": 1, "waits": 0, "status": 400, "message": message}


@pytest.mark.case(105)
def test_vercel_retries_a_full_queue_twice(full):
    seen = run_node("vercel.mjs", full, "full")["full"]
    assert (seen["attempts"], seen["waits"], seen["status"]) == (3, 3, 429) and "waiting" in seen["message"]


@pytest.mark.case(103)
def test_vercel_tells_of_an_error_in_mid_stream(launch):
    server = launch("--backend", "ref", "--request-timeout", "1")
    seen = run_node("vercel.mjs", server, "broken")["broken"]
    assert seen["errors"] and seen["finish"] == "error"


@pytest.fixture(scope="module")
def langchain(shared):
    if node_major() < 20:
        pytest.skip("LangChain needs Node 20")
    return run_node("langchain.mjs", shared, "invoke", "stream", "draft", "overflow")


@pytest.mark.case(106)
@pytest.mark.parametrize("scenario", ["invoke", "stream"])
def test_langchain_text_and_usage(langchain, shared, scenario):
    seen, answer = langchain[scenario], shared.chat(**FIELDS)
    assert seen["text"] == answer.content
    assert [seen["usage"][name] for name in ("input_tokens", "output_tokens", "total_tokens")] == usage_of(answer)


@pytest.mark.case(106)
def test_langchain_drafts_leave_the_text_alone(langchain, shared):
    assert langchain["draft"]["text"] == shared.chat(**DRAFTED).content


@pytest.mark.case(106)
def test_langchain_knows_an_overflow_of_the_context(langchain):
    assert langchain["overflow"]["overflow"] and langchain["overflow"]["name"] == "ContextOverflowError"
