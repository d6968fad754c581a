"""Write the sampler's tokens for 200 prompts: what any engine must reproduce in f32 at temperature 0.

    python scripts/pocket/make_fixture.py models/pocket tests/golden/pocket_tokens.jsonl

A line is {"prompt": text of the user, "prompt_ids": the rendered chat, "canvas", "block", "per_step",
"threshold", "tokens": the ids in front of the first end token}.  Policies alternate.  Kept are only
prompts whose tokens are the same when everything is computed in f64, so that a line never hangs on
the rounding of one sum.
"""

import json
import pathlib
import sys

import export
import make_eval
import sampler

LINES = 200
POLICIES = [sampler.Policy(), sampler.Policy(per_step=2), sampler.Policy(per_step=4),
            sampler.Policy(threshold=0.9), sampler.Policy(canvas=32)]


def tokens_of(model, prompts, policy):
    canvases, _ = sampler.generate(model, prompts, policy)
    return [sampler.cut(canvas) for canvas in canvases]


def lines_for(model, encoder, policy, samples):
    prompts = [encoder.chat([("user", sample.prompt)]) for sample in samples]
    single = tokens_of(model.float(), prompts, policy)
    double = tokens_of(model.double(), prompts, policy)
    for sample, ids, tokens, same in zip(samples, prompts, single, double):
        if tokens == same:
            yield {"prompt": sample.prompt, "prompt_ids": ids, "canvas": policy.canvas,
                   "block": policy.block, "per_step": policy.per_step,
                   "threshold": policy.threshold, "tokens": tokens}


def main():
    model, encoder = export.load(pathlib.Path(sys.argv[1]))
    samples = list(make_eval.samples())[::2]
    share = LINES // len(POLICIES)
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        for number, policy in enumerate(POLICIES):
            asked = samples[number::len(POLICIES)]
            lines = list(lines_for(model, encoder, policy, asked))
            print(f"{policy}: {len(lines)} of {len(asked)} do not hang on rounding", flush=True)
            assert len(lines) >= share
            for line in lines[:share]:
                out.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
