"""Train pocket on the CPU.

    python scripts/pocket/train.py                     # from nothing, or on from the last checkpoint
    python scripts/pocket/train.py --tokens 20e6 --decay-at 12e6   # change the plan of a cut run

The plan is counted in tokens, so the same seed gives the same model however busy the machine is.
Work files lie in ~/.cache/unmask/pocket, outside the repository.
"""

import argparse
import os
import pathlib
import signal
import sys
import time

import torch
import torch.nn.functional as F

import batches
import vocabulary
from model import Llada
from muon import Muon

WORK = pathlib.Path("~/.cache/unmask/pocket").expanduser()
WARM_UP_STEPS = 100
LR_MUON, LR_ADAMW = 0.005, 3e-3
LAST_LR = 0.02               # of the full rate, at the end
TOKENS_PER_BATCH = 2400
POOL_STRIDE = 1_000_000      # pools of the decay phase are numbered from here

# How often a kind is drawn: more for what is slow to learn (arithmetic, sorting, copying).
WEIGHTS = {"capital": 2.5, "country": 2, "continent": 0.8, "currency": 1.2, "language": 0.8,
           "add": 4, "subtract": 4, "multiply": 2, "sort": 4, "sudoku": 2, "json": 1.5,
           "copy": 1.5, "reverse": 1.5, "upper": 1.2, "story": 1.2, "python": 1.5,
           "chat": 0.4, "unknown": 1}
# While the rate falls: capitals and grids are known, what still fails gets the time; the canvases that
# are served become common.
DECAY_WEIGHTS = WEIGHTS | {"capital": 1.2, "country": 1.5, "currency": 1.2, "add": 5, "subtract": 4.5,
                           "sort": 5, "sudoku": 1.5, "json": 2, "copy": 2, "upper": 2, "story": 1.2,
                           "chat": 1.5}
LONG_SHARE, DECAY_LONG_SHARE = 0.10, 0.25


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tokens", type=float, default=20.5e6, help="in all (default %(default).0f)")
    parser.add_argument("--decay-at", type=float, default=10.5e6, help="where the rate begins to fall")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2,
                        help="1 beside other work: two threads nearly stop there")
    parser.add_argument("--work", type=pathlib.Path, default=WORK, help="tokenizer and checkpoints")
    parser.add_argument("--kinds", help="only these, by comma: for quick checks of the recipe")
    parser.add_argument("--save-seconds", type=float, default=120)
    return parser.parse_args()


class Trainer:
    """Everything that a checkpoint holds: model, optimisers and how far they have come."""

    def __init__(self, seed):
        torch.manual_seed(seed)
        self.model = Llada()
        stacked = [(p, count) for block in self.model.blocks for p, count in
                   ((block.qkv, 3), (block.attn_out, 1), (block.gate_up, 2), (block.down, 1))]
        inside = {id(p) for p, _ in stacked}
        rest = [p for p in self.model.parameters() if id(p) not in inside]
        self.muon = Muon(stacked, LR_MUON)
        self.adamw = torch.optim.AdamW(rest, LR_ADAMW, betas=(0.9, 0.95), weight_decay=0.0)
        self.rest = rest
        self.done = {"step": 0, "tokens": 0, "pool": 0, "batch": 0, "seconds": 0.0,
                     "decay_from": None}   # tokens at which the rate began to fall

    def save(self, path):
        part = path.with_suffix(".part")
        torch.save({"model": self.model.state_dict(), "muon": self.muon.state_dict(),
                    "adamw": self.adamw.state_dict(), "done": self.done}, part)
        os.replace(part, path)

    def load(self, path):
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
        self.done = state["done"]

    def step(self, batch, rate):
        ids, index, target, weight = batch
        logits = self.model(ids, torch.bfloat16, index).float()
        loss = (F.cross_entropy(logits, target, reduction="none") * weight).sum() / weight.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.rest, 1.0)
        for optimizer, full in ((self.muon, LR_MUON), (self.adamw, LR_ADAMW)):
            optimizer.param_groups[0]["lr"] = full * rate
            optimizer.step()
            optimizer.zero_grad()
        self.done["step"] += 1
        self.done["tokens"] += ids.numel()
        return loss.item()


def rate_at(done, tokens):
    """Share of the full learning rate: a short rise, level, then a straight line down."""
    if done["decay_from"] is None:
        return min(1.0, (done["step"] + 1) / WARM_UP_STEPS)
    fall = (done["tokens"] - done["decay_from"]) / (tokens - done["decay_from"])
    return 1 - (1 - LAST_LR) * min(1.0, fall)


def batches_of(source, done):
    """The batches of the pool that `done` points at, then of the next, for ever."""
    while True:
        for batch in source.pool(done["pool"])[done["batch"]:]:
            done["batch"] += 1
            yield batch
        done["pool"], done["batch"] = done["pool"] + 1, 0


def source_for(args, decay):
    encoder = vocabulary.Encoder(vocabulary.load(args.work / "tokenizer.json"))
    weights = DECAY_WEIGHTS if decay else WEIGHTS
    if args.kinds:
        weights = {kind: 1 for kind in args.kinds.split(",")}
    return batches.Source(encoder, args.seed, TOKENS_PER_BATCH, weights,
                          DECAY_LONG_SHARE if decay else LONG_SHARE)


def report(done, losses, speed, rate, tokens):
    left = (tokens - done["tokens"]) / speed / 60
    loss = sum(losses) / len(losses)
    print(f"step {done['step']:6d}  tokens {done['tokens'] / 1e6:7.3f} M  loss {loss:.4f}"
          f"  rate {rate:.3f}  {speed:5.0f} tokens/s  {left:5.1f} min left", flush=True)


def run_phase(trainer, args, checkpoint):
    """Trains to the end of the plan, or to where the decay begins and the mixture changes.
    SIGTERM saves and ends, so that a cut run loses nothing."""
    cut = []
    signal.signal(signal.SIGTERM, lambda *_: cut.append(True))
    done = trainer.done
    decay = done["decay_from"] is not None
    end = args.tokens if decay else args.decay_at
    stream = batches_of(source_for(args, decay), done)
    losses, shown, saved, seen = [], time.monotonic(), time.monotonic(), done["tokens"]
    while done["tokens"] < end:
        rate = rate_at(done, args.tokens)
        losses.append(trainer.step(next(stream), rate))
        now = time.monotonic()
        if len(losses) == 50:
            report(done, losses, (done["tokens"] - seen) / (now - shown), rate, args.tokens)
            done["seconds"] += now - shown
            losses, shown, seen = [], now, done["tokens"]
        if now - saved > args.save_seconds or cut:
            trainer.save(checkpoint)
            saved = now
        if cut:
            sys.exit("cut: the same command goes on from here")
    done["seconds"] += time.monotonic() - shown
    trainer.save(checkpoint)


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    if not (args.work / "tokenizer.json").exists():
        vocabulary.train().save(str(args.work / "tokenizer.json"))
    trainer, checkpoint = Trainer(args.seed), args.work / "checkpoint.pt"
    if checkpoint.exists():
        trainer.load(checkpoint)
        print("resuming", trainer.done, flush=True)
    if trainer.done["decay_from"] is None:
        run_phase(trainer, args, checkpoint)
        trainer.done.update(decay_from=trainer.done["tokens"], pool=POOL_STRIDE, batch=0)
    run_phase(trainer, args, checkpoint)
    print(f"finished: {trainer.done}", flush=True)


if __name__ == "__main__":
    main()
