"""The official OpenAI SDK for Python: case 107, and 95, 97-102 by its names."""
import openai
import pydantic
import pytest

from draft import Draft
from unmask_server import TEXT, ending

MESSAGES = [{"role": "user", "content": "Hi"}]
ARGUMENTS = {"model": "tiny", "messages": MESSAGES, "max_tokens": 16, "seed": 1}


def client_of(server, **options):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", **options)


@pytest.fixture(scope="module")
def client(shared):
    return client_of(shared, max_retries=0)


@pytest.mark.case(107)
def test_create(client, shared):
    answer = client.chat.completions.create(**ARGUMENTS)
    assert answer.choices[0].message.content == shared.chat().content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.model_extra["diffusion"]["cache"] == "exact"
    assert answer._request_id.startswith("req_")


@pytest.mark.case(107)
def test_raw_response_has_the_request_id(client):
    raw = client.chat.completions.with_raw_response.create(**ARGUMENTS)
    assert raw.request_id == raw.headers["x-request-id"]
    assert raw.parse().choices[0].message.content


@pytest.mark.case(107)
def test_stream_iterates(client, shared):
    chunks = list(client.chat.completions.create(**ARGUMENTS, stream=True,
                                                 stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == shared.chat().content
    assert chunks[-1].usage.completion_tokens == shared.chat().json["usage"]["completion_tokens"]


DRAFT = {"stream": "draft", "block_length": 4, "draft": {"interval_ms": 0}}


@pytest.mark.case(107)
@pytest.mark.parametrize("diffusion", [{"block_length": 4}, DRAFT])
def test_stream_helper_accumulates(client, shared, diffusion):
    """The helper takes an answer that was cut for a failure, so a stop string ends each choice."""
    fields = {"n": 2, "temperature": 1, "diffusion": {"block_length": 4}}
    whole = [choice["message"]["content"] for choice in shared.chat(**fields).json["choices"]]
    fields["stop"] = [text[8:11] for text in whole]
    arguments = {**ARGUMENTS, "n": 2, "temperature": 1, "stop": fields["stop"]}
    with client.chat.completions.stream(**arguments, extra_body={"diffusion": diffusion}) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    expected = [choice["message"]["content"] for choice in shared.chat(**fields).json["choices"]]
    assert [choice.message.content for choice in final.choices] == expected
    assert [choice.message.role for choice in final.choices] == ["assistant"] * 2
    assert [choice.finish_reason for choice in final.choices] == ["stop"] * 2


@pytest.mark.case(107)
def test_frames_are_extra_members_of_choices(client, shared):
    draft = Draft()
    for chunk in client.chat.completions.create(**ARGUMENTS, stream=True, extra_body={"diffusion": DRAFT}):
        frame = (chunk.choices[0].model_extra or {}).get("diffusion")
        if frame:
            draft.apply(frame)
    assert draft.ended and draft.text() == shared.chat(diffusion={"block_length": 4}).content


class Answer(pydantic.BaseModel):
    n: int


@pytest.mark.case(107)
def test_parse_raises_where_the_answer_was_cut(client):
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(**ARGUMENTS)


@pytest.mark.case(100, 107)
def test_typed_answers_are_refused_by_name(client):
    """The helper trusts what comes back, so a build that cannot promise a form says so."""
    for refused in (lambda: client.chat.completions.parse(**ARGUMENTS, response_format=Answer),
                    lambda: client.responses.parse(model="tiny", input="Hi", text_format=Answer)):
        with pytest.raises(openai.BadRequestError) as caught:
            refused()
        assert caught.value.code == "unsupported_parameter"


@pytest.mark.case(101)
def test_responses(client, shared):
    arguments = {"model": "tiny", "input": "Hi", "max_output_tokens": 16, "extra_body": {"seed": 1}}
    plain = shared.chat().content
    whole = client.responses.create(**arguments)
    assert whole.output_text == plain and whole._request_id.startswith("req_")
    events = list(client.responses.create(**arguments, stream=True))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == plain
    fields, answer = ending(shared)
    arguments = {"model": "tiny", "input": "Hi", "max_output_tokens": fields["max_tokens"], "temperature": 1,
                 "extra_body": {"seed": fields["seed"], "diffusion": {"stream": "draft"}}}
    with client.responses.stream(**arguments) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()  # raises unless it ended by itself
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert final.output_text == answer.content


@pytest.mark.case(107)
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
    gap = client.completions.create(model="tiny", prompt="Once", suffix=" by the water", max_tokens=16, seed=1)
    assert gap.choices[0].text == shared.text(suffix=" by the water").content
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
    for refused in (lambda: client.embeddings.create(model="tiny", input="x"),
                    lambda: client.images.generate(prompt="x")):
        with pytest.raises(openai.NotFoundError) as caught:
            refused()
        assert caught.value.code == "endpoint_not_supported"


def test_wrong_key(launch):
    server = launch("--api-key", "sk-0123456789")
    with pytest.raises(openai.AuthenticationError):
        client_of(server).chat.completions.create(**ARGUMENTS)


def long_stream(server):
    return server.open_stream(TEXT, {"prompt": [5] * 8, "max_tokens": 400})


@pytest.mark.case(97)
def test_what_says_so_is_not_retried(launch):
    """504 alone would be; the server counts what came."""
    server = launch("--backend", "ref", "--request-timeout", "1")
    with pytest.raises(openai.InternalServerError) as caught:
        client_of(server).completions.create(model="tiny", prompt=[5] * 8, max_tokens=400)
    assert caught.value.code == "generation_timeout"
    assert server.metrics()["requests_started_total"] == 1


@pytest.mark.case(97)
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


@pytest.mark.case(98)
def test_a_client_that_times_out_leaves_nothing_behind(slow):
    client = client_of(slow, max_retries=0, timeout=0.5)
    with pytest.raises(openai.APITimeoutError):
        client.completions.create(model="tiny", prompt=[5] * 8, max_tokens=400)
    slow.wait_for_metric('request_success_total{finished_reason="abort"}', lambda n: n == 1)
    slow.wait_idle()


@pytest.mark.case(99)
def test_an_error_in_mid_stream_is_raised(launch):
    server = launch("--backend", "ref", "--request-timeout", "1")
    stream = client_of(server).completions.create(model="tiny", prompt=[5] * 8, max_tokens=400, stream=True)
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    assert caught.value.code == "generation_timeout"
