"""The document at /openapi.json: a valid OpenAPI 3.1 document, and what the server does is in it.
schemathesis makes bodies from it, right ones and wrong ones, always the same; no answer is a fault
of the server's, and every answer has a status, a media type and a shape that the document lists."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import jsonschema
import openapi_spec_validator
import pytest

DOCUMENT = "/openapi.json"
SEED = "12"
FUZZED_PER_OPERATION = "10"
# positive_data_acceptance: what a body means for this model (context, ids) is beyond its schema. The
# others are about things that are created and deleted, which there are none of.
LEFT_OUT = ("positive_data_acceptance,use_after_free,ensure_resource_availability,"
            "object_level_authorization")
# A deadline of 1 ms may pass before there is any answer: 504 is what then is right.
CONFIG = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 504]
"""


@pytest.fixture(scope="module")
def document(shared):
    return shared.get(DOCUMENT).json


def test_document_is_valid_and_needs_no_key(document, launch):
    openapi_spec_validator.validate(document, cls=openapi_spec_validator.OpenAPIV31SpecValidator)
    answer = launch("--api-key", "12345678", "--max-n", "3").get(DOCUMENT)
    assert answer.status == 200 and answer.headers["content-type"] == "application/json"
    chat = answer.json["components"]["schemas"]["ChatRequest"]["properties"]
    assert chat["n"]["maximum"] == 3
    assert document["components"]["schemas"]["ChatRequest"]["properties"]["n"]["maximum"] == 8


def test_every_path_of_the_document_is_served(document, shared):
    for path, operations in document["paths"].items():
        for method in operations:
            answer = shared.ask(method.upper(), path.replace("{id}", "tiny"),
                                {} if method == "post" else None)
            assert answer.status in (200, 400), (path, answer.body)


def valid(document, name, value):
    """`value` has the shape of that name, which lies in the document as others do that it names."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(value)


def events(raw):
    """The data of a stream's events, without its end."""
    lines = [line[6:] for line in raw.decode().split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def requests_of(document):
    """(path, the schema's name, the example) of every operation that has a body."""
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if "requestBody" in operation:
                media = operation["requestBody"]["content"]["application/json"]
                yield path, media["schema"]["$ref"].rsplit("/", 1)[1], media["example"]


def test_examples_are_valid_and_answered(document, shared):
    for path, name, body in requests_of(document):
        valid(document, name, body)
        answer = shared.post(path, body)
        assert answer.status == 200, (path, answer.body)
        schema = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]
        valid(document, schema["schema"]["$ref"].rsplit("/", 1)[1], answer.json)


# Events of Responses can only append text: there is no mode replace.
STREAMS = [(path, chunk, mode) for path, chunk in (
    ("/v1/chat/completions", "ChatChunk"), ("/v1/completions", "TextChunk"),
    ("/v1/fim/completions", "TextChunk"), ("/v1/edit/completions", "ChatChunk"),
    ("/v1/responses", "ResponseEvent"))
    for mode in ("settled", "draft", "replace") if (path, mode) != ("/v1/responses", "replace")]


@pytest.mark.parametrize("path, chunk, mode", STREAMS)
def test_events_have_the_shape_of_the_document(document, shared, path, chunk, mode):
    body = next(body for where, _, body in requests_of(document) if where == path)
    draft = {"interval_ms": 0, "guess": True, "confidence": True, "token_ids": True}
    settings = {**body.get("diffusion", {}), "stream": mode, "draft": draft}
    seen = events(shared.stream(path, {**body, "diffusion": settings})[1])
    assert len(seen) > 1
    for event in seen:
        valid(document, chunk, event)


@pytest.fixture(scope="module")
def brief(checkpoint, tmp_path_factory):
    """A model that says little where a body does not ask for more, since thousands will not."""
    path = tmp_path_factory.mktemp("brief") / "brief"
    shutil.copytree(checkpoint, path)
    (path / "unmask.json").write_text('{"max_tokens": 4, "block_length": 4}')
    return path


@pytest.mark.timeout(1800)  # some 6,000 requests
def test_answers_conform_to_the_document(document, brief, launch, tmp_path):
    server = launch("--context", "64", "--max-n", "2", model=brief)
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    program = pathlib.Path(sys.executable).with_name("schemathesis")
    run = subprocess.run(
        [program, "--no-color", "--config-file", tmp_path / "schemathesis.toml", "run",
         f"http://127.0.0.1:{server.port}{DOCUMENT}", "--phases", "examples,coverage,fuzzing",
         "--max-examples", FUZZED_PER_OPERATION, "--seed", SEED, "--generation-deterministic",
         "--exclude-checks", LEFT_OUT, "--continue-on-failure", "--no-shrink",
         "--request-timeout", "120"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    # all but the document itself
    operations = sum(len(methods) for methods in document["paths"].values()) - 1
    assert f"{operations} passed" in run.stdout and " generated" in run.stdout, run.stdout[-4000:]
    server.stop()
