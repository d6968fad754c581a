"""The HTTP transport over raw sockets: bodies, deadlines, connections, streams, what it costs, its end.

The server is tests/server/http_echo.c with short deadlines. Each is asked at its end whether requests
are left, and must exit with 0 (under a sanitizer: without a leak). A deadline is proven by coming at
all, where nothing else would end the wait, and by not coming early; never by how soon it came.
"""
import concurrent.futures
import contextlib
import random
import re
import select
import signal
import socket
import struct
import time

import pytest

from child import SANITIZED, TIMEOUT, wait_until
from http_echo import Reader, Server, is_closed, read_response, request, running


@pytest.fixture(scope="module")
def echo():
    with running() as server:
        yield server


# ---- bodies: size, expectation, time ----------------------------------------------------------


@pytest.mark.case(80, 92)
def test_expect_continue_is_answered_only_when_the_body_is_wanted(echo):
    with echo.connect() as client:
        head = request("POST", "/echo", headers={"Expect": "100-continue", "Content-Length": "3"})
        client.sendall(head)
        reader = Reader(client)
        assert reader.response().status == 100
        client.sendall(b"abc")
        assert reader.response().body == b"abc"
    for path, headers, status in (("/echo", {"Content-Length": str(2 << 20)}, 413),
                                  ("/nope", {}, 404), ("/open", {}, 405),
                                  ("/echo", {"Content-Type": "text/xml"}, 415)):
        with echo.connect() as client:
            headers = {"Content-Length": "3", "Expect": "100-continue", **headers}
            client.sendall(request("POST", path, headers=headers))
            answer = read_response(client)
            assert answer.status == status
            assert answer.headers["connection"] == "close"
            assert is_closed(client)


@pytest.mark.case(80)
def test_too_large_by_content_length_is_told_before_the_body(echo):
    with echo.connect() as client:
        client.sendall(request("POST", "/echo", headers={"Content-Length": str((1 << 20) + 1)}))
        answer = read_response(client)
        assert (answer.status, answer.error()["code"]) == (413, "request_too_large")
        assert "1048576" in answer.error()["message"]
        assert is_closed(client)
    assert echo.ask("POST", "/echo", b"x" * (1 << 20)).status == 200


@pytest.mark.parametrize("path, status", [("/echo", 413), ("/nope", 404)])
def test_a_client_that_keeps_sending_still_reads_its_refusal(echo, path, status):
    # 16 MiB do not fit into the sockets: without a lingering close the answer would be lost to a reset.
    with echo.connect() as client:
        client.sendall(request("POST", path, headers={"Content-Length": str(64 << 20)}))
        for _ in range(256):
            client.sendall(b"x" * 65536)
        answer = read_response(client)
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert answer.error()


@pytest.mark.case(80)
def test_too_large_chunked_is_told_when_the_limit_is_crossed(echo):
    with echo.connect() as client:
        client.sendall(request("POST", "/echo", headers={"Transfer-Encoding": "chunked"}))
        for _ in range(17):
            client.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        answer = read_response(client)
        assert (answer.status, answer.error()["code"]) == (413, "request_too_large")
        assert is_closed(client)


@pytest.mark.case(89)
def test_a_pipelined_error_with_unread_body_closes(echo):
    with echo.connect() as client:
        reader = Reader(client)
        client.sendall(request("POST", "/echo", b"1") + request("POST", "/nope", b"{}") +
                       request("POST", "/echo", b"3"))
        assert reader.response().status == 200
        answer = reader.response()
        assert (answer.status, answer.headers["connection"]) == (404, "close")
        assert is_closed(client)
        assert reader.buffer == b""


@contextlib.contextmanager
def not_before(seconds):
    """Its end must not come early; loops round to milliseconds, and their clock may be one turn old."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start > seconds * 0.9


def drip_until_cut(client, pause):
    """Sends a byte at a time, so that the connection is never silent for long."""
    end = time.monotonic() + TIMEOUT
    with pytest.raises(OSError):
        while time.monotonic() < end:
            client.sendall(b"x")
            time.sleep(pause)


@pytest.mark.case(90)
def test_slow_headers_are_cut_at_the_absolute_deadline():
    with running("header_timeout_ms=1000") as server:
        with not_before(1), server.connect() as client:
            client.sendall(b"GET /open HTTP/1.1\r\nX-Slow: ")
            drip_until_cut(client, 0.1)
        with not_before(1), server.connect() as client:
            assert is_closed(client)


def test_a_kept_connection_may_idle_longer_than_headers_may_take():
    with running("header_timeout_ms=200", "idle_timeout_s=2") as server:
        with server.connect() as client:
            reader = Reader(client)
            for _ in range(2):
                client.sendall(request("GET", "/open"))
                assert reader.response().status == 200
                time.sleep(0.4)
            with not_before(0.2):
                client.sendall(b"GET /open HTTP/1.1\r\nX-Slow: ")
                drip_until_cut(client, 0.05)
        with server.connect() as client:
            client.sendall(request("GET", "/open"))
            read_response(client)
            assert is_closed(client)


def test_slow_bodies_get_408_and_announced_bytes_buy_time():
    with running("body_timeout_ms=300") as server:
        for announced, seconds in ((1000, 0.3), (65536 + 1000, 1.3)):
            with not_before(seconds), server.connect() as client:
                client.sendall(request("POST", "/generate", headers={"Content-Length": str(announced)}))
                while not select.select([client], [], [], 0.05)[0]:
                    client.sendall(b"x")
                answer = read_response(client)
                assert (answer.status, answer.error()["code"]) == (408, "request_timeout")
                assert is_closed(client)
        assert server.counts()["rejected bad_request"] == 2


@pytest.mark.case(90)
def test_large_headers_are_refused_like_any_other_request(echo):
    assert echo.ask("GET", "/open", headers={"X-Large": "x" * 65000}).status == 200
    many = {f"X-{i}": "x" * 100 for i in range(650)}
    for method, body, headers in (("GET", None, {"X-Large": "x" * 65536}), ("GET", None, many),
                                  ("GET", None, {"X-Large": "x" * 100000}),
                                  ("POST", b"{}", {"X-Large": "x" * 70000})):
        with echo.connect() as client:
            client.sendall(request(method, "/open", body, headers))
            answer = read_response(client)
            assert (answer.status, answer.error()["code"]) == (431, "request_headers_too_large")
            assert re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["x-request-id"])
            assert answer.headers["connection"] == "close" and is_closed(client)


@pytest.mark.case(90)
def test_headers_beyond_the_librarys_room_are_survived(echo):
    with echo.connect() as client, contextlib.suppress(OSError, EOFError):
        client.sendall(request("GET", "/open", headers={"X-Large": "x" * (1 << 20)}))
        assert read_response(client).status == 431  # unless it closed while we were still sending
    assert echo.ask("GET", "/open").status == 200


def test_bodies_share_a_total_and_give_it_back():
    """Bytes count from their arrival until their request ends, whichever way."""
    with running("body_bytes_total_max=1000000") as server, contextlib.ExitStack() as stack:
        def begin(size, **headers):
            client = stack.enter_context(server.connect())
            headers = {"Content-Length": str(size), **headers}
            client.sendall(request("POST", "/generate", headers=headers))
            return client

        def refused(client):
            answer = read_response(client)
            assert (answer.status, answer.error()["code"]) == (503, "overloaded")
            assert answer.headers["retry-after"] == "1"
            assert is_closed(client)

        held = begin(900000)
        held.sendall(b"x" * 800000)
        server.wait_for("body bytes", 800000)
        refused(begin(200001))  # by its announcement
        late = begin(200000)    # there is room for it now, and none any more when it comes
        late.sendall(b"y" * 150000)
        server.wait_for("body bytes", 950000)
        held.sendall(b"x" * 100000)
        refused(held)
        server.wait_for("body bytes", 150000)
        late.sendall(b"y" * 50000)
        assert read_response(late).status == 200
        server.wait_for("body bytes", 0)
        gone = begin(900000)
        gone.sendall(b"x" * 800000)
        server.wait_for("body bytes", 800000)
        chunked = begin(0, **{"Content-Length": None, "Transfer-Encoding": "chunked"})
        for _ in range(4):
            chunked.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        refused(chunked)
        gone.close()
        server.wait_for("body bytes", 0)
        counts = server.counts()
        assert (counts["rejected engine"], counts["rejected bad_request"]) == (3, 1)


def test_nonsense_is_survived(echo):
    for data in (b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\0" * 100,
                 b"GET / HTTP/9.9\r\n\r\n", b"POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                 b"POST /echo HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
                 b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"):
        with echo.connect() as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            assert is_closed(client)
    assert echo.ask("GET", "/open").status == 200


# ---- connections ------------------------------------------------------------------------------


def hold(server, count, stack):
    """Connections that were served once and stay open."""
    held = [stack.enter_context(server.connect()) for _ in range(count)]
    for client in held:
        client.sendall(request("GET", "/open"))
        assert read_response(client).status == 200
    return held


def test_connections_above_the_limit_wait_and_are_then_served():
    with running("connections_max=4") as server:
        with contextlib.ExitStack() as stack:
            held = hold(server, 4, stack)
            late = stack.enter_context(server.connect())
            late.sendall(request("GET", "/open"))
            late.settimeout(0.5)
            with pytest.raises(TimeoutError):
                late.recv(1)
            held[0].close()
            late.settimeout(TIMEOUT)
            assert read_response(late).status == 200


@pytest.mark.case(90)
def test_connections_per_address_are_limited():
    with running("connections_per_address_max=4") as server:
        with contextlib.ExitStack() as stack:
            hold(server, 4, stack)
            with server.connect() as refused:
                refused.settimeout(TIMEOUT)
                assert is_closed(refused)
            other = socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT,
                                             source_address=("127.0.0.2", 0))
            stack.enter_context(other)
            other.sendall(request("GET", "/open"))
            assert read_response(other).status == 200


# ---- streams ----------------------------------------------------------------------------------


def events(body):
    assert body.endswith(b"\n\n")
    return [event for event in body.decode().split("\n\n")[:-1] if not event.startswith(":")]


@pytest.mark.parametrize("path", ["/stream", "/late-stream", "/instant-stream"])
def test_streams_arrive_whole_with_their_headers(echo, path):
    answer = echo.ask("POST", path, b"20")
    assert answer.status == 200 and answer.complete
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert "openai-processing-ms" not in answer.headers
    assert events(answer.body) == [f"data: {i}" for i in range(20)]


def test_stream_bytes_are_not_held_back():
    """Nothing follows the one event that could push it out."""
    with running("ping_interval_ms=0") as server, server.connect() as client:
        client.sendall(request("POST", "/silent", b""))
        Reader(client).until(b"data: 1\n\n")


@pytest.mark.case(91)
def test_http_1_0_streams_end_by_close(echo):
    with echo.connect() as client:
        client.sendall(request("POST", "/stream", b"5", version="1.0"))
        answer = read_response(client)
        assert "transfer-encoding" not in answer.headers
        assert events(answer.body) == [f"data: {i}" for i in range(5)]


def test_an_aborted_stream_has_no_terminating_chunk(echo):
    answer = echo.ask("POST", "/abort", b"")
    assert (answer.status, answer.body, answer.complete) == (200, b"data: 1\n\n", False)


def test_a_silent_stream_gets_keep_alive_comments_between_events_only():
    with running("ping_interval_ms=200") as server:
        with server.connect() as client:
            client.sendall(request("POST", "/silent", b""))
            with not_before(0.6):
                reader = Reader(client)
                for _ in range(3):
                    reader.until(b"\r\n: keep-alive\n\n\r\n")
        with server.connect() as client:
            client.sendall(request("POST", "/half-event", b""))
            assert b"keep-alive" not in Reader(client).for_seconds(0.5)
        assert server.ask("POST", "/stream", b"60").body.count(b"keep-alive") == 0
    with running("ping_interval_ms=0") as server, server.connect() as client:
        client.sendall(request("POST", "/silent", b""))
        assert b"keep-alive" not in Reader(client).for_seconds(0.5)


def test_bulk_streams_arrive_whole_while_memory_stays_bounded(echo):
    # Twice, so that the allocator's own reserve is not counted.
    sizes = []
    for _ in range(2):
        answer = echo.ask("POST", "/huge", str(32 << 20).encode())
        assert answer.complete and len(answer.body) == 32 << 20
        assert answer.body.count(b"data: x") == (32 << 20) // 4096
        sizes.append(echo.resident_kib())
    assert SANITIZED or sizes[1] - sizes[0] < 4096


def test_a_reader_that_takes_nothing_is_cut_and_a_slow_one_is_not():
    with running("reader_timeout_ms=800") as server:
        with not_before(0.8), server.connect() as client:
            client.sendall(request("POST", "/huge", str(1 << 30).encode()))
            server.wait_for("gone", 1)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(TIMEOUT)
            client.connect(("127.0.0.1", server.port))
            client.sendall(request("POST", "/huge", str(1 << 30).encode()))
            end = time.monotonic() + 2
            while time.monotonic() < end:
                assert client.recv(4096)
                time.sleep(0.1)
            assert server.counts()["gone"] == 1
        server.wait_for("gone", 2)


def test_a_client_that_does_not_take_its_reply_is_cut():
    with running("reader_timeout_ms=800", "body_bytes_max=67108864") as server, server.connect() as client:
        with not_before(0.8):
            client.sendall(request("POST", "/echo", b"x" * (32 << 20)))  # more than the sockets hold
            server.wait_for("/echo POST 2xx", 1)
            server.wait_for("exchanges", 1)


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
@pytest.mark.parametrize("path", ["/never", "/silent", "/stream", "/threaded"])
def test_a_client_that_leaves_is_noticed(how, path):
    with running() as server:
        with server.connect() as client:
            client.sendall(request("POST", path, b"0" if path == "/stream" else b"1000000"))
            if path != "/never":
                Reader(client).until(b"\r\n\r\n")
            server.wait_for("exchanges", 2)
            if how == "half-close":
                client.shutdown(socket.SHUT_WR)
            if how == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if how != "half-close":
                client.close()
            server.wait_for("gone", 1)
            server.wait_for("exchanges", 1)


def test_a_half_closed_client_still_gets_an_answer_that_is_ready(echo):
    for _ in range(50):
        with echo.connect() as client:
            client.sendall(request("POST", "/echo", b"abc"))
            client.shutdown(socket.SHUT_WR)
            assert read_response(client).body == b"abc"


def test_a_client_that_leaves_in_its_body_is_not_a_handlers_matter(echo):
    before = echo.counts()
    with echo.connect() as client:
        client.sendall(request("POST", "/generate", b"abc", {"Content-Length": "10"}))
        echo.wait_for("exchanges", 2)
    echo.wait_for("exchanges", 1)
    after = echo.counts()
    assert after.get("gone") == before.get("gone")
    assert after["rejected bad_request"] == before["rejected bad_request"] + 1


def test_no_wake_up_is_lost(echo):
    # Another thread announces every event through a uv_async; wakes merge, events must not.
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: echo.ask("POST", "/threaded", b"20000"), range(8)))
    for answer in answers:
        assert answer.complete
        assert answer.body == b"".join(b"data: %d\n\n" % i for i in range(20000))


def test_64_streams_with_random_disconnects_leave_nothing_behind(echo):
    rng = random.Random(1)
    before = echo.counts()["gone"]

    def one(seed):
        own = random.Random(seed)
        with echo.connect() as client:
            client.sendall(request("POST", "/stream", b"%d" % own.randrange(1, 60)))
            if own.random() < 0.5:
                time.sleep(own.random() * 0.3)
                return None
            return read_response(client)

    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        for answer in pool.map(one, [rng.random() for _ in range(400)]):
            assert answer is None or answer.complete
    echo.wait_for("exchanges", 1)
    assert echo.counts()["gone"] > before


# ---- counters, cost, end ----------------------------------------------------------------------


def test_requests_are_counted_by_route_method_and_class():
    with running() as server:
        for _ in range(3):
            server.ask("POST", "/echo", b"{}")
        server.ask("POST", "/stream", b"1")
        server.ask("POST", "/echo", b"{}", {"Content-Type": "text/xml"})
        server.ask("GET", "/error/-57")
        server.ask("GET", "/tail/a")
        server.ask("GET", "/nope")
        server.ask("PUT", "/echo")
        counts = server.counts()
        assert counts["/echo POST 2xx"] == 3
        assert counts["/echo POST 4xx"] == 1
        assert counts["/stream POST 2xx"] == 1
        assert counts["/error/{status} GET 5xx"] == 1
        assert counts["/tail/{rest} GET 2xx"] == 1
        assert counts["other other 4xx"] == 2


def test_an_idle_server_uses_no_processor(echo):
    with echo.connect() as silent, echo.connect() as kept, echo.connect() as stream:
        kept.sendall(request("GET", "/open"))
        read_response(kept)
        stream.sendall(request("POST", "/silent", b""))
        Reader(stream).until(b"data: 1\n\n")
        silent.sendall(b"GET /open HTTP/1.1\r\n")
        time.sleep(0.2)
        before = echo.cpu_seconds()
        time.sleep(1.5)
        assert echo.cpu_seconds() - before <= 0.02  # two ticks; a loop that spins would use all of it


def test_thousands_of_connections_leave_memory_and_descriptors_flat(echo):
    idle = echo.descriptors()

    def one(i):
        kind = i % 6
        if kind == 0:
            assert echo.ask("POST", "/echo", b"x" * 1000).status == 200
        elif kind == 1:
            assert echo.ask("GET", "/nope").status == 404
        elif kind == 2:
            assert echo.ask("POST", "/stream", b"1").complete
        else:
            with echo.connect() as client:
                if kind == 3:
                    client.sendall(request("POST", "/never", b"{}"))
                elif kind == 4:
                    client.sendall(b"POST /echo HTTP/1.1\r\nContent-Le")
                else:
                    client.sendall(request("POST", "/huge", b"100000000"))

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(1000)))
        echo.wait_for("exchanges", 1)
        before = echo.resident_kib()
        list(pool.map(one, range(4000)))
        echo.wait_for("exchanges", 1)
    # Requests that broke off in their headers are no exchanges; their sockets close a moment later.
    wait_until(echo.descriptors, lambda count: count <= idle)
    assert SANITIZED or echo.resident_kib() < before + 6144


def test_a_quiesced_server_finishes_what_it_has_and_takes_nothing_new():
    server = Server()
    with server.connect() as client, server.connect() as kept, server.connect() as busy:
        kept.sendall(request("GET", "/open"))
        assert read_response(kept).status == 200
        busy.sendall(request("POST", "/late", b"600"))
        client.sendall(request("POST", "/stream", b"100"))
        reader = Reader(client)
        reader.until(b"accepted")
        server.process.send_signal(signal.SIGUSR1)
        assert is_closed(kept)
        with pytest.raises(OSError):
            server.connect()
        answer = read_response(busy)
        assert (answer.body, answer.headers["connection"]) == (b"late", "close")
        reader.until(b"data: 99\n\n")
    server.stop()


def test_closing_cuts_streams_and_tells_waiting_handlers():
    server = Server()
    paths = ["/never", "/silent", "/stream", "/huge", "/threaded", "/late", "/echo"]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in paths]
        for client, path in zip(clients, paths):
            body = b"0" if path == "/stream" else b"1000000000"
            if path == "/echo":
                client.sendall(request("POST", path, b"half", {"Content-Length": "10"}))
            else:
                client.sendall(request("POST", path, body))
        server.wait_for("exchanges", len(paths) + 1)
        server.stop()  # exits only when every handle is closed; a sanitizer would see a leak
        for client in clients:
            assert is_closed(client)
