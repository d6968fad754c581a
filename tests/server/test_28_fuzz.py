"""Random bodies from every field's name, random headers and random cuts over a socket: whatever comes,
an answer is 2xx, 4xx, 429 or 503, the server lives, and its counters balance.

UM_FUZZ_REQUESTS and UM_FUZZ_SEED make it longer and other."""
import json
import os
import random
import re
import socket

import pytest

from child import SANITIZED, TIMEOUT
from http_echo import Reader

REQUESTS = int(os.environ.get("UM_FUZZ_REQUESTS", "100" if SANITIZED else "300"))
SEED = int(os.environ.get("UM_FUZZ_SEED", "1"))
GENERATING = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/fim/completions",
              "/v1/edit/completions"]
PATHS = GENERATING * 8 + ["/tokenize", "/detokenize", "/v1/models", "/v1/models/tiny@fast", "/health",
                          "/metrics", "/openapi.json", "/nope", "/v1/embeddings", "/", "*"]

TEXTS = ["", "Hi", "The sun", "\0", "\u4f60\u597d \U0001f600", "<|mdm_mask|>", "<|code_to_edit|>\nx\n"
         "<|/code_to_edit|>", "word " * 300, "x" * 5000, "\ufffe", "tiny", "auto", "text", "low", "fast", "draft"]
NUMBERS = [0, 1, -1, 2, 3, 7, 0.5, 1.0, -0.0, 1e-9, 1e300, 16, 33, 64, 400, 1 << 31, -(1 << 31), 1 << 53,
           (1 << 63) - 1, 582, 607, 608]

# Fields and what they mostly are; now and then each gets something else.
FIELDS = {
    "numbers": """max_tokens max_completion_tokens max_output_tokens temperature top_p top_k min_p seed n best_of
        logprobs top_logprobs frequency_penalty presence_penalty repetition_penalty min_tokens steps
        block_length block_size threshold eps cfg_scale gen_length max_nfe max_tool_calls""".split(),
    "flags": """stream logprobs echo store ignore_eos skip_special_tokens add_generation_prompt
        continue_final_message parallel_tool_calls diffusing realtime background add_special_tokens
        return_token_strs""".split(),
    "texts": """model suffix user reasoning_effort verbosity service_tier instructions truncation alg remasking
        input prompt content tool_choice prompt_cache_key previous_response_id""".split(),
    "others": """messages stop stream_options logit_bias response_format tools prediction metadata diffusion
        stop_token_ids chat_template_kwargs text reasoning include tokens input modalities foo""".split(),
}
DIFFUSION = {
    "numbers": """steps steps_per_block block_length threshold factor order_temperature eps cfg_scale deadline_ms
        noise infill_length entropy_bound edit_threshold max_post_steps""".split(),
    "flags": "early_stop reference_quirks echo".split(),
    "texts": "preset algorithm stream cache eos_rule infill_length".split(),
    "others": "draft template foo".split(),
}
WORDS = ["fast", "balanced", "max", "random", "threshold", "factor", "origin", "entropy", "margin", "draft",
         "replace", "settled", "exact", "dual", "none", "confidence", "auto", "logits", "low_confidence"]


class Grammar:
    def __init__(self, rng):
        self.rng = rng

    def maybe(self, chance):
        return self.rng.random() < chance

    def anything(self, depth=0):
        kinds = [lambda: None, lambda: self.maybe(0.5), lambda: self.rng.choice(NUMBERS),
                 lambda: self.rng.choice(TEXTS)]
        if depth < 4:
            kinds += [lambda: [self.anything(depth + 1) for _ in range(self.rng.randrange(4))],
                      lambda: {self.rng.choice(["type", "text", "content", "role", "gap", "a", ""]):
                               self.anything(depth + 1) for _ in range(self.rng.randrange(4))}]
        return self.rng.choice(kinds)()

    def number(self):
        return self.rng.choice(NUMBERS) if self.maybe(0.4) else self.rng.choice([0, 1, 2, 4, 8, 16, 24, 0.5])

    def message(self):
        content = self.rng.choice(TEXTS)
        if self.maybe(0.3):
            content = [{"type": self.rng.choice(["text", "text", "input_text", "image_url"]), "text": content}]
        return {"role": self.rng.choice(["user", "user", "system", "developer", "assistant", "tool", "x"]),
                "content": content if self.maybe(0.95) else self.anything()}

    def template(self):
        return [self.rng.choice([{"text": self.rng.choice(TEXTS[:5])}, {"gap": self.rng.randrange(9)}])
                for _ in range(self.rng.randrange(6))]

    def other(self, name):
        makers = {
            "messages": lambda: [self.message() for _ in range(self.rng.randrange(1, 4))],
            "stop": lambda: self.rng.choice(["e", ["a", "b"], [], [""], ["x"] * 5, "th"]),
            "stream_options": lambda: {"include_usage": self.maybe(0.7), "continuous_usage_stats": self.maybe(0.5)},
            "logit_bias": lambda: {str(self.rng.randrange(700)): self.number() for _ in range(3)},
            "prediction": lambda: {"type": "content", "content": self.rng.choice(TEXTS)},
            "metadata": lambda: {"a": self.rng.choice(TEXTS)},
            "diffusion": lambda: self.fields(DIFFUSION, 3),
            "stop_token_ids": lambda: [self.rng.randrange(620) for _ in range(2)],
            "tokens": lambda: [self.rng.randrange(620) for _ in range(self.rng.randrange(9))],
            "text": lambda: {"format": {"type": "text"}},
            "reasoning": lambda: {"effort": self.rng.choice(["low", "high", "x"])},
            "draft": lambda: {"interval_ms": self.number(), "guess": self.maybe(0.5), "confidence": self.maybe(0.5),
                              "token_ids": self.maybe(0.5), "frames": self.rng.choice(["auto", "full"])},
            "template": self.template,
            "input": lambda: [self.message()],
        }
        return makers.get(name, self.anything)()

    def fields(self, names, count):
        found = {}
        for _ in range(self.rng.randrange(count + 1)):
            kind = self.rng.choice(list(names))
            name = self.rng.choice(names[kind])
            value = {"numbers": self.number, "flags": lambda: self.maybe(0.5),
                     "texts": lambda: self.rng.choice(WORDS if self.maybe(0.7) else TEXTS),
                     "others": lambda: self.other(name)}[kind]()
            found[name] = value if self.maybe(0.97) else self.anything()
        return found

    def body(self, path):
        base = {"max_tokens": self.rng.choice([1, 8, 16, 24]), "stream": self.maybe(0.5)}
        if "chat" in path or "edit" in path:
            base["messages"] = self.other("messages")
        elif "responses" in path:
            base = {"input": "Hi", "max_output_tokens": 16, "stream": self.maybe(0.5)}
        elif "detokenize" in path:
            base = {"tokens": self.other("tokens")}
        else:
            base["prompt"] = self.rng.choice(["Once", "", ["a", "b"], [1, 2, 3], [[1], [2]], self.rng.choice(TEXTS)])
        payload = json.dumps({**base, **self.fields(FIELDS, 3)}).encode()
        if self.maybe(0.05):  # bytes that no program would write
            place = self.rng.randrange(len(payload))
            payload = payload[:place] + self.rng.randbytes(self.rng.randrange(4)) + payload[place + 1:]
        return payload

    def request(self):
        """(bytes, whether the headers are honest about the body)"""
        path = self.rng.choice(PATHS)
        method = "POST" if self.maybe(0.93) else self.rng.choice(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
        payload = self.body(path)
        headers = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(payload))}
        extra = {"X-Request-Id": ["abc", "a b", "\xe9" * 9, "x" * 200], "Origin": ["http://evil.example"],
                 "Content-Type": ["text/plain", "text/xml", "application/json; charset=latin-1", ""],
                 "Content-Encoding": ["gzip", "identity"], "Expect": ["100-continue", "nothing"],
                 "Authorization": ["Bearer x", "Basic y", "Bearer " + "k" * 300], "Accept": ["*/*"],
                 "Transfer-Encoding": ["chunked", "gzip"], "Host": ["evil.example", "127.0.0.1:1", ""],
                 "Content-Length": ["0", "-1", "99999999999999999999", "5", "x"], "Connection": ["close"],
                 "X-Long": ["y" * 70000]}
        chosen = self.rng.sample(list(extra), self.rng.choice([0, 0, 0, 0, 1, 2]))
        headers.update({name: self.rng.choice(extra[name]) for name in chosen})
        version = self.rng.choice(["1.1"] * 9 + ["1.0"])
        head = f"{method} {path} HTTP/{version}\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers.items()) + "\r\n"
        honest = not {"Content-Length", "Transfer-Encoding", "X-Long"} & set(chosen)
        return head.encode("latin-1", errors="replace") + payload, honest and method != "HEAD"


def exchange(port, grammar):
    """(what was sent, the answer's status): 0 where there need not be one."""
    data, honest = grammar.request()
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as client:
        cut = grammar.rng.randrange(len(data)) if grammar.maybe(0.1) else len(data)
        try:
            client.sendall(data[:cut])
            if cut < len(data) or grammar.maybe(0.05):
                return data, 0  # gone in the middle, or before the answer
            if not honest:
                client.shutdown(socket.SHUT_WR)  # it would wait for what was announced
            return data, read_status(Reader(client), honest)
        except (OSError, EOFError):  # a refusal may close the connection at any point of this
            return data, None if honest else 0


def read_status(reader, honest):
    head = reader.until(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100 "):
        head = reader.until(b"\r\n\r\n")
    if honest and b"event-stream" in head:  # whole, if it is not an old client's, which ends by close
        while not reader.buffer.endswith(b"0\r\n\r\n") and reader.more():
            pass
        assert b"chunked" not in head or not reader.closed, reader.buffer[-400:]
    return int(head.split()[1])


def good(status):
    return status == 0 or 200 <= status < 300 or 400 <= status < 500 or status == 503


def test_whatever_comes_is_answered(launch):
    server = launch("--max-batch", "8", "--max-queue", "8", "--model-id", "tiny", "--model-alias", "alias/name")
    grammar = Grammar(random.Random(SEED))
    seen = {}
    for number in range(REQUESTS):
        data, status = exchange(server.port, grammar)
        assert status is not None and good(status), (SEED, number, status, data[:4000])
        assert server.process.poll() is None, (SEED, number, data[:4000], server.errors()[-4000:])
        seen[status] = seen.get(status, 0) + 1
    assert seen.get(200, 0) > REQUESTS / 10 and seen.get(400, 0) > REQUESTS / 20, seen
    metrics = server.wait_idle()
    assert metrics["canvas_tokens"] == 0
    assert metrics.get('request_success_total{finished_reason="error"}') == 0
    assert not re.search(r"^\S+ error ", server.errors(), re.M)
    server.stop()
