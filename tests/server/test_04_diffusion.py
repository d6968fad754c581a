"""The diffusion object: cases 4, 70-73, 76, and the other settings of this build."""
import concurrent.futures

import pytest


def settings(server, **fields):
    diffusion = {"echo": True, **fields.pop("diffusion", {})}
    answer = server.chat(diffusion=diffusion, **fields)
    assert answer.status == 200, answer.body
    return answer.json


@pytest.mark.case(74)
def test_echo_without_settings_is_the_models_recommendation(shared):
    recommended = shared.get("/v1/models/tiny").json["diffusion"]["recommended"]
    echoed = settings(shared)["diffusion"]
    assert {name: echoed[name] for name in recommended} == recommended


@pytest.mark.case(70)
def test_steps_bound_the_work(shared):
    assert settings(shared, diffusion={"steps": 4})["usage"]["diffusion"]["steps"] <= 4
    body = settings(shared, max_tokens=16, diffusion={"block_length": 8, "steps_per_block": 2})
    assert body["usage"]["diffusion"]["steps"] <= 4 and body["diffusion"]["steps_per_block"] == 2
    shared.chat(diffusion={"steps": 4, "steps_per_block": 4}).error(
        400, "conflicting_parameters", "diffusion.steps_per_block")


@pytest.mark.case(71, 72)
def test_aliases_of_peers_mean_the_same(shared):
    plain = settings(shared, diffusion={"steps": 4})
    for alias in ("steps", "num_denoising_steps", "diffusion_steps"):
        other = settings(shared, **{alias: 4})
        assert (other["choices"], other["diffusion"]) == (plain["choices"], plain["diffusion"])
    answer = shared.chat(num_denoising_steps=4)
    assert "x-unmask-ignored" not in answer.headers
    assert shared.chat(steps=4, diffusion={"steps": 4}).status == 200
    shared.chat(steps=4, diffusion={"steps": 8}).error(400, "conflicting_parameters", "steps")
    assert settings(shared, alg="MaskGIT_plus")["diffusion"]["algorithm"] == "low_confidence"


@pytest.mark.case(72)
def test_unknown_algorithm_is_told_the_known_ones(shared):
    message = shared.chat(diffusion={"algorithm": "nope"}).error(
        400, "unsupported_value", "diffusion.algorithm")
    assert all(name in message for name in ("low_confidence", "random", "threshold", "factor"))


@pytest.mark.case(73)
def test_a_threshold_implies_its_algorithm(shared):
    echoed = settings(shared, diffusion={"threshold": 0.5})["diffusion"]
    assert echoed["algorithm"] == "threshold" and echoed["threshold"] == 0.5
    assert settings(shared, diffusion={"factor": 0.5})["diffusion"]["algorithm"] == "factor"
    shared.chat(diffusion={"threshold": 0.5, "algorithm": "random"}).error(
        400, "conflicting_parameters", "diffusion.threshold")


def test_a_threshold_of_zero_fills_a_block_in_one_step(shared):
    usage = settings(shared, max_tokens=32, diffusion={"threshold": 0, "block_length": 32})["usage"]
    assert usage["diffusion"]["steps"] == 1


@pytest.mark.case(65, 76)
@pytest.mark.parametrize("diffusion, code, key", [
    ({"block_length": 0}, "integer_below_min_value", "block_length"),
    ({"block_length": 1025}, "integer_above_max_value", "block_length"),
    ({"foo": 1}, "unknown_parameter", "foo"),
    ({"stream": "draft"}, "invalid_value", "stream"),
    ({"cache": "dual"}, "unsupported_value", "cache"),
    ({"cache": "fast"}, "invalid_value", "cache"),
    ({"preset": "quick"}, "invalid_value", "preset"),
    ({"deadline_ms": 0}, "integer_below_min_value", "deadline_ms"),
    ({"eos_rule": "maybe"}, "invalid_value", "eos_rule"),
    ({"cfg_scale": 21}, "decimal_above_max_value", "cfg_scale"),
    ({"factor": 0}, "decimal_below_min_value", "factor"),
])
def test_bad_setting_is_named(shared, diffusion, code, key):
    shared.chat(diffusion=diffusion).error(400, code, f"diffusion.{key}")


def test_every_setting_runs(shared):
    for diffusion in ({"algorithm": "random"}, {"cfg_scale": 1.5}, {"eos_rule": "confidence"},
                      {"eos_rule": "logits"}, {"early_stop": False}, {"reference_quirks": True},
                      {"cache": "none"}, {"factor": 2}):
        echoed = settings(shared, diffusion=diffusion)["diffusion"]
        for key, value in diffusion.items():
            assert echoed[key] == ("exact" if key == "cache" else value)


def test_a_block_is_never_longer_than_the_free_context(shared):
    """Prompt + canvas would pass the context: the last block is cut there."""
    answer = shared.text(prompt=[5] * 1000, max_tokens=20, diffusion={"block_length": 32})
    assert answer.json["usage"]["diffusion"]["canvas_tokens"] == 24


@pytest.mark.case(4)
def test_neighbours_do_not_change_an_answer(shared):
    """Case 4: the same request alone and while others of many shapes run."""
    request = {"temperature": 0.8, "max_tokens": 48}
    alone = shared.chat(**request).content
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        others = [pool.submit(shared.text, prompt=["x", "word " * (3 * i)], max_tokens=20 + 9 * i,
                              temperature=i % 2, seed=i) for i in range(1, 8)]
        together = [pool.submit(shared.chat, **request) for _ in range(4)]
        assert [answer.result().content for answer in together] == [alone] * 4
        assert all(other.result().status == 200 for other in others)
    assert shared.metrics()["step_batch_size_sum"] > shared.metrics()["step_batch_size_count"]
