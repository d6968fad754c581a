#!/usr/bin/env python3
"""Draws what `unmask eval --curve FILE.csv` measured: accuracy against tokens per second.

    scripts/plot_curve.py curve.csv curve.png [--title "pocket on 2 cores"]

matplotlib is installed into a virtual environment of its own, from scripts/plot_requirements.txt.
"""
import argparse
import csv
import hashlib
import os
import pathlib
import subprocess
import sys

REQUIREMENTS = pathlib.Path(__file__).resolve().parent / "plot_requirements.txt"
# algorithm -> (legend, the column that tells its points apart)
POLICIES = {
    "low_confidence": ("surest first, tokens per step", "per_step"),
    "random": ("random order, tokens per step", "per_step"),
    "threshold": ("all above a threshold", "threshold"),
    "factor": ("factor rule", "factor"),
}


def enter_environment():
    """Makes the virtual environment once, and runs this script again inside it."""
    key = hashlib.sha256(sys.version.encode() + REQUIREMENTS.read_bytes()).hexdigest()[:16]
    cache = os.environ.get("UNMASK_CACHE") or pathlib.Path(
        os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache", "unmask")
    directory = pathlib.Path(cache, f"plot-{key}")
    python = directory / "bin" / "python"
    if pathlib.Path(sys.prefix).resolve() == directory.resolve():
        return
    if not (directory / ".complete").exists():
        print(f"plot_curve: installing matplotlib into {directory}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:",
                        "-r", REQUIREMENTS], check=True)
        (directory / ".complete").touch()
    os.execv(python, [python, __file__, *sys.argv[1:]])


def read(path):
    """{algorithm: [(setting, tokens per second, accuracy in percent)]}, in the order of the file."""
    curves = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            setting = row[POLICIES[row["algorithm"]][1]]
            point = (setting, float(row["tokens_per_second"]), 100 * float(row["accuracy"]))
            curves.setdefault(row["algorithm"], []).append(point)
    return curves


def draw(curves, title, path):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), dpi=120)
    for algorithm, points in curves.items():
        settings, speeds, accuracies = zip(*points)
        axes.plot(speeds, accuracies, marker="o", label=POLICIES[algorithm][0])
        for setting, speed, accuracy in points:
            axes.annotate(setting, (speed, accuracy), textcoords="offset points", xytext=(4, 4),
                          fontsize=8)
    axes.set_xlabel("tokens per second")
    axes.set_ylabel("right answers, %")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, format="png", metadata={"Software": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv")
    parser.add_argument("png")
    parser.add_argument("--title", default="accuracy against speed")
    options = parser.parse_args()
    enter_environment()
    draw(read(options.csv), options.title, options.png)


if __name__ == "__main__":
    main()
