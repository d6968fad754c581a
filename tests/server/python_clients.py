"""LangChain and LiteLLM: python_clients.py BASE_URL SCENARIO... prints what each scenario found as one
line of JSON. Runs in the environment of tests/client_requirements.txt."""
import contextlib
import json
import sys
import traceback

BASE_URL, *SCENARIOS = sys.argv[1:]
MESSAGES = [{"role": "user", "content": "Hi"}]
DRAFT = {"stream": "draft", "block_length": 8, "draft": {"interval_ms": 0}}


def langchain(**fields):
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="tiny", base_url=BASE_URL, api_key="none", temperature=0, max_tokens=32,
                      max_retries=0, **fields)


def langchain_invoke():
    answer = langchain().invoke("Hi")
    return {"text": answer.content, "usage": answer.usage_metadata,
            "finish": answer.response_metadata["finish_reason"]}


def langchain_stream(**fields):
    whole = None
    for chunk in langchain(stream_usage=True, **fields).stream("Hi"):
        whole = chunk if whole is None else whole + chunk
    return {"text": whole.content, "usage": whole.usage_metadata}


def langchain_draft():
    return langchain_stream(extra_body={"diffusion": DRAFT})


def langchain_overflow():
    try:
        langchain().invoke("word " * 3000)
    except Exception as error:  # its name is what is asked
        return {"names": [kind.__name__ for kind in type(error).__mro__], "message": str(error)}
    raise AssertionError("it should have failed")


def litellm_of(model, **fields):
    import litellm

    return litellm.completion(model=model, api_base=BASE_URL, api_key="none", messages=MESSAGES,
                              temperature=0, max_tokens=32, num_retries=0, **fields)


def joined(stream):
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def litellm_plain():
    answer = litellm_of("openai/tiny", extra_body={"diffusion": {"steps": 4}})
    return {"text": answer.choices[0].message.content, "finish": answer.choices[0].finish_reason,
            "usage": answer.usage.completion_tokens}


def litellm_stream():
    return {"text": joined(litellm_of("openai/tiny", stream=True, extra_body={"diffusion": {"steps": 4}})),
            "draft": joined(litellm_of("openai/tiny", stream=True, extra_body={"diffusion": DRAFT}))}


def litellm_errors():
    import litellm

    found = []
    for fields in ({"temperature": 1.9, "top_p": 7}, {"max_tokens": 5000}):
        try:
            litellm.completion(model="openai/tiny", api_base=BASE_URL, api_key="none", messages=MESSAGES,
                               num_retries=0, **fields)
        except litellm.exceptions.BadRequestError as error:
            found.append([type(error).__name__, error.status_code])
    return found


def litellm_fim():
    """Its route for Mercury's infilling."""
    import litellm

    fields = {"model": "text-completion-inception/tiny", "api_base": BASE_URL + "/fim", "api_key": "none",
              "prompt": "The house ", "suffix": " by the water", "max_tokens": 12}
    whole = litellm.text_completion(**fields)
    stream = litellm.text_completion(**fields, stream=True)
    return {"text": whole.choices[0].text,
            "streamed": "".join(chunk.choices[0].text or "" for chunk in stream)}


def outcome(scenario):
    try:
        with contextlib.redirect_stdout(sys.stderr):  # LiteLLM gives advice there
            return {"found": scenario()}
    except Exception:
        return {"raised": traceback.format_exc()}


print(json.dumps({name: outcome(globals()[name]) for name in SCENARIOS}))
