"""Accuracy per kind of task, with our own sampler.

    python scripts/pocket/evaluate.py                          # the last checkpoint
    python scripts/pocket/evaluate.py --model models/pocket    # an exported model
    python scripts/pocket/evaluate.py --policies 0,1,2,3,4,5,6 # those of the model card
"""

import argparse
import collections
import dataclasses
import json
import pathlib
import sys
import time

import torch

import checkers
import export
import make_eval
import sampler
import vocabulary
from model import Llada
from train import WORK

POLICIES = [sampler.Policy(order=order, per_step=count)
            for count in (1, 2, 4) for order in ("low_confidence", "random")]
POLICIES.append(sampler.Policy(threshold=0.9))


def load_checkpoint(path):
    """A checkpoint as it would be exported: rounded to bf16, used in f32."""
    model = Llada()
    state = torch.load(path, weights_only=True)
    model.load_state_dict({name: w.bfloat16().float() for name, w in state["model"].items()})
    return model, state["done"]


def accuracy(model, encoder, samples, policy):
    """{kind: (right, all)}, wrong answers, committed tokens per network pass."""
    prompts = [encoder.chat([("user", sample["prompt"])]) for sample in samples]
    canvases, counts = sampler.generate(model, prompts, policy)
    score, wrong = collections.defaultdict(lambda: [0, 0]), []
    for sample, canvas in zip(samples, canvases):
        answer = encoder.decode(sampler.cut(canvas))
        good = checkers.right(sample["checker"], answer)
        score[sample["kind"]][0] += good
        score[sample["kind"]][1] += 1
        if not good:
            wrong.append((sample["prompt"], answer, sample["checker"]))
    return score, wrong, counts["tokens"] / counts["row steps"]


def name_of(policy):
    how = f"threshold {policy.threshold}" if policy.threshold else f"{policy.per_step} per step"
    return f"{policy.order.replace('_', ' ')}, {how}"


def table_head(samples):
    """The head of a Markdown table: kinds and how many prompts each has."""
    counts = collections.Counter(sample["kind"] for sample in samples)
    names = ["policy", "all", "tokens/pass", *(f"{kind} ({n})" for kind, n in counts.items())]
    return f"| {' | '.join(names)} |\n|{'---|' * len(names)}"


def table_row(policy, score, per_pass):
    """One row of it, in per cent."""
    good, total = (sum(column) for column in zip(*score.values()))
    cells = [name_of(policy), f"{100 * good / total:.1f}", f"{per_pass:.2f}",
             *(f"{100 * a / b:.0f}" for a, b in score.values())]
    return f"| {' | '.join(cells)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, help="exported directory; else the checkpoint")
    parser.add_argument("--work", type=pathlib.Path, default=WORK)
    parser.add_argument("--eval", type=pathlib.Path, help="task file; else drawn as make_eval.py does")
    parser.add_argument("--few", type=int, help="at most so many prompts of each kind")
    parser.add_argument("--kinds", help="only these, by comma")
    parser.add_argument("--canvas", type=int, default=64)
    parser.add_argument("--policies", default="0", help="indices into POLICIES, by comma")
    parser.add_argument("--wrong", type=int, default=0, help="show so many wrong answers")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.model:
        model, encoder = export.load(args.model)
    else:
        model, done = load_checkpoint(args.work / "checkpoint.pt")
        encoder = vocabulary.Encoder(vocabulary.load(args.work / "tokenizer.json"))
        print(done)
    samples = chosen(args)
    print(table_head(samples), flush=True)
    for index in map(int, args.policies.split(",")):
        policy = dataclasses.replace(POLICIES[index], canvas=args.canvas)
        started = time.monotonic()
        score, wrong, per_pass = accuracy(model, encoder, samples, policy)
        print(table_row(policy, score, per_pass), flush=True)
        print(f"{time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        for line in wrong[:args.wrong]:
            print("   ", *map(repr, line))


def chosen(args):
    """The prompts to ask, as dictionaries like the lines of eval.jsonl."""
    if args.eval:
        samples = [json.loads(line) for line in args.eval.read_text().splitlines()]
    else:
        samples = [vars(sample) for sample in make_eval.samples()]
    if args.kinds:
        samples = [sample for sample in samples if sample["kind"] in args.kinds.split(",")]
    seen, out = collections.Counter(), []
    for sample in samples:
        seen[sample["kind"]] += 1
        if not args.few or seen[sample["kind"]] <= args.few:
            out.append(sample)
    return out


if __name__ == "__main__":
    main()
