"""The tests' own child process: nothing that it says may be lost while its log is read."""
import child


def test_a_log_that_is_read_while_it_is_written_loses_nothing():
    lines = [f"line {number}" for number in range(200)]
    writer = child.Child(["sh", "-c", "for i in $(seq 0 199); do echo line $i >&2; done"])
    while writer.process.poll() is None:
        writer.errors()
    assert writer.errors().splitlines() == lines
