"""The official OpenAI SDK for Python: cases 95, 97-99, 102, 107 by its names."""
import openai
import pytest

from unmask_server import TEXT, joined

MESSAGES = [{"role": "user", "content": "Hi"}]
ARGUMENTS = {"model": "tiny", "messages": MESSAGES, "max_tokens": 16, "seed": 1}


def client_of(server, **options):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", **options)


@pytest.fixture(scope="module")
def client(shared):
    return client_of(shared, max_retries=0)


def test_create(client, shared):
    answer = client.chat.completions.create(**ARGUMENTS)
    assert answer.choices[0].message.content == shared.chat().content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.model_extra["diffusion"]["cache"] == "exact"
    assert answer._request_id.startswith("req_")


def test_raw_response_has_the_request_id(client):
    raw = client.chat.completions.with_raw_response.create(**ARGUMENTS)
    assert raw.request_id == raw.headers["x-request-id"]
    assert raw.parse().choices[0].message.content


def test_stream_iterates(client, shared):
    chunks = list(client.chat.completions.create(**ARGUMENTS, stream=True,
                                                 stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == shared.chat().content
    assert chunks[-1].usage.completion_tokens == shared.chat().json["usage"]["completion_tokens"]


def test_stream_helper_accumulates(client, shared):
    stop = shared.chat().content[8:11]  # the helper takes an answer that was cut for a failure
    with client.chat.completions.stream(**ARGUMENTS, stop=stop) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == shared.chat(stop=stop).content
    assert final.choices[0].message.role == "assistant"


def test_parse_raises_where_the_answer_was_cut(client):
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(**ARGUMENTS)


def test_extra_body_reaches_the_engine(client):
    extra = {"diffusion": {"steps": 4, "echo": True}}
    answer = client.chat.completions.create(**ARGUMENTS, extra_body=extra)
    assert answer.usage.model_extra["diffusion"]["steps"] <= 4
    assert answer.model_extra["diffusion"]["algorithm"] == "low_confidence"


def test_completions_and_models(client, shared):
    answer = client.completions.create(model="tiny", prompt=["Once", "We"], max_tokens=16, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].text == shared.text().content
    chunks = client.completions.create(model="tiny", prompt="Once", max_tokens=16, seed=1, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == shared.text().content
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("alias/name").id == "tiny"


@pytest.mark.parametrize("change, kind, code, param", [
    ({"temperature": 9}, openai.BadRequestError, "decimal_above_max_value", "temperature"),
    ({"model": "gpt-4o"}, openai.NotFoundError, "model_not_found", "model"),
    ({"max_tokens": 5000}, openai.BadRequestError, "context_length_exceeded", "messages"),
])
def test_errors_are_typed(client, change, kind, code, param):
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**{**ARGUMENTS, **change})
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.type == "invalid_request_error" and caught.value.request_id


def test_missing_endpoint_is_not_found(client):
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="tiny", input="x")


def test_wrong_key(launch):
    server = launch("--api-key", "sk-0123456789")
    with pytest.raises(openai.AuthenticationError):
        client_of(server).chat.completions.create(**ARGUMENTS)


def long_stream(server):
    return server.open_stream(TEXT, {"prompt": [5] * 8, "max_tokens": 400})


def test_full_queue_is_retried_until_there_is_room(slow):
    """The SDK waits as it is told and gets its answer when the others are gone."""
    first, second = long_stream(slow), long_stream(slow)
    with pytest.raises(openai.RateLimitError):
        client_of(slow, max_retries=0).chat.completions.create(**ARGUMENTS)
    before = slow.metrics()['requests_rejected_total{reason="queue_full"}']
    with pytest.raises(openai.RateLimitError):
        client_of(slow, max_retries=1).chat.completions.create(**ARGUMENTS)
    assert slow.metrics()['requests_rejected_total{reason="queue_full"}'] == before + 2
    first.close()
    second.close()
    slow.wait_idle()
    assert client_of(slow).chat.completions.create(**ARGUMENTS).choices[0].message.content


def test_a_client_that_times_out_leaves_nothing_behind(slow):
    client = client_of(slow, max_retries=0, timeout=0.5)
    with pytest.raises(openai.APITimeoutError):
        client.completions.create(model="tiny", prompt=[5] * 8, max_tokens=400)
    slow.wait_for_metric('request_success_total{finished_reason="abort"}', lambda n: n == 1)
    slow.wait_idle()


def test_an_error_in_mid_stream_is_raised(launch):
    server = launch("--backend", "ref", "--request-timeout", "1")
    stream = client_of(server).completions.create(model="tiny", prompt=[5] * 8, max_tokens=400, stream=True)
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    assert caught.value.code == "generation_timeout"
