"""The measurement of the balancer fails where a client's request does, and where the result is too low."""
import http.server
import threading

import pytest

import bench_balancer


class Refusing(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_error(503)

    def log_message(self, *_):
        pass


def test_a_client_that_fails_fails_the_run():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(RuntimeError, match="status 503"):
            bench_balancer.throughput(server.server_port, 2, 0.1, {})
        server.shutdown()


@pytest.mark.parametrize("enough, status", [(True, 0), (False, 1)])
def test_too_low_a_ratio_is_the_exit_status(monkeypatch, enough, status):
    monkeypatch.setattr(bench_balancer, "compare_throughput", lambda *_: enough)
    monkeypatch.setattr(bench_balancer, "measure_cost", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["bench_balancer"])
    assert bench_balancer.main() == status
