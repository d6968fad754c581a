"""A replica dies, hangs, drains or comes back while clients ask: nobody who had not begun to read
loses anything, and who had begun gets an error, never an answer that is silently short."""
import re
import shutil
import signal
import time

import pytest

from child import wait_until
from fleet import get, repeats_what_stands_still
from load import Load


def check_nothing_was_lost(load):
    """Also no stream was cut."""
    assert load.count("right") > 0
    assert load.count("failed") == load.count("silent") == load.count("cut") == 0, load.summary()


def check_only_begun_streams_were_cut(load):
    assert load.count("right") > 0
    assert load.count("failed") == load.count("silent") == 0, load.summary()


def test_kill_9(fleet, answers):
    """Each replica in turn is killed in mid-work, three times over, and comes back."""
    f = fleet(2)
    with Load(f.url, answers, clients=8) as load:
        for turn in range(6):
            load.wait_for(8)
            victim = f.replicas[turn % 2]
            victim.server.kill()
            load.wait_for(8)
            victim.start()
            f.balancer.wait_for_states("UP", "UP")
    check_only_begun_streams_were_cut(load)
    assert f.balancer.total("wretr") > 0  # the balancer had something to repeat
    f.balanced_books()


def test_sigterm_drains_without_a_loss(fleet, answers):
    f = fleet(2, "--drain-timeout", "120")
    with Load(f.url, answers, clients=8) as load:
        load.wait_for(16)
        f.replicas[0].drain()
        load.wait_for(16)
        f.replicas[0].start()
        f.balancer.wait_for_states("UP", "UP")
        load.wait_for(8)
    check_nothing_was_lost(load)
    f.balanced_books()


def test_rolling_restart_of_three_loses_nothing(fleet, answers):
    f = fleet(3, "--drain-timeout", "120")
    with Load(f.url, answers, clients=9) as load:
        for replica in f.replicas:
            load.wait_for(9)
            replica.drain()
            replica.start()
            f.balancer.wait_for_states("UP", "UP", "UP")
        load.wait_for(9)
    check_nothing_was_lost(load)
    f.balanced_books()


def test_a_draining_replica_is_not_asked_and_keeps_its_streams(fleet, answers):
    """The balancer's view of it: it answers, but is not ready; not down, which would cut its streams."""
    f = fleet(2, "--drain-timeout", "120", "--test-step", "slow:100")
    body = {"prompt": "Once", "max_tokens": 160, "stream": True, "seed": 1}
    server = f.replicas[0].server
    client = server.open_stream("/v1/completions", body)
    server.signal(signal.SIGTERM)
    f.balancer.wait_for_states("NOLB", "UP")
    time.sleep(3)  # six checks later
    assert f.balancer.states() == ["NOLB", "UP"]
    raw = b"".join(iter(lambda: client.recv(65536), b""))
    assert raw.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") and b'"finish_reason":"stop"' in raw
    assert server.wait() == 0


def test_a_replica_that_hangs(fleet, answers):
    """SIGSTOP: connections stay open and nothing comes. What waits there is asked elsewhere once the
    checks have told, by the balancer, or by the SDK as is its habit where the balancer is too new to do it;
    and the replica serves again after SIGCONT."""
    f, balancer_repeats = fleet(2), repeats_what_stands_still()
    with Load(f.url, answers, clients=8, retries=0 if balancer_repeats else 2) as load:
        load.wait_for(16)
        f.replicas[0].signal(signal.SIGSTOP)
        f.balancer.wait_for_states("DOWN", "UP")
        load.wait_for_everyone()
        f.replicas[0].signal(signal.SIGCONT)
        f.balancer.wait_for_states("UP", "UP")
        load.wait_for(16)
    check_only_begun_streams_were_cut(load)
    assert not balancer_repeats or f.balancer.total("wretr") > 0
    f.balanced_books()


def test_all_replicas_gone_is_an_error_and_then_over(fleet, answers):
    """With nobody left clients get 503, also from the balancer's own health page; then all is well."""
    f = fleet(1)
    with Load(f.url, answers, clients=4) as load:
        load.wait_for(4)
        f.replicas[0].server.kill()
        f.balancer.wait_for_states("DOWN")
        assert get(f.balancer.port, "/balancer/health")[0] == 503
        wait_until(lambda: load.count("failed"), lambda n: n > 0)
        f.replicas[0].start()
        f.balancer.wait_for_states("UP")
        assert get(f.balancer.port, "/balancer/health")[0] == 200
        load.wait_for(8)
    assert load.count("silent") == 0, load.summary()
    # the balancer answers, or closes a connection that it had kept: SDKs try again in both cases
    assert all(re.search("InternalServerError.*50[23]|APIConnectionError", text)
               for text in load.details("failed")), load.summary()


@pytest.mark.parametrize("harm, reason", [
    ("cut weights", r"model\.safetensors: .* 93704 bytes of data \(truncated\?\)"),
    ("no config", r"config\.json: cannot open: No such file or directory")])
def test_a_broken_checkpoint_in_one_replica(fleet, answers, tmp_path, harm, reason):
    """It ends with its reason each time an orchestrator starts it again; clients notice nothing."""
    f = fleet(2)
    broken = tmp_path / "broken"
    shutil.copytree(f.replicas[0].model, broken)
    if harm == "cut weights":
        with open(broken / "model.safetensors", "r+b") as file:
            file.truncate(100_000)
    else:
        (broken / "config.json").unlink()
    with Load(f.url, answers, clients=8) as load:
        load.wait_for(8)
        f.replicas[0].drain()
        for _ in range(3):
            ended = f.replicas[0].start(model=broken, wait=False)
            assert ended.wait() == 1
            assert re.search(f" error load_failed .*{reason}\n", ended.errors())
            assert re.fullmatch(f"unmask: .*{reason}", ended.errors().splitlines()[-1])
            load.wait_for(4)
        f.replicas[0].start()
        f.balancer.wait_for_states("UP", "UP")
        load.wait_for(8)
    check_nothing_was_lost(load)
