#!/usr/bin/env python3
"""Holds memory accesses of the kernels, as the fake device counted them over whole test programs,
to a checked-in table.

    tests/cuda/traffic_check.py STATISTICS
    tests/cuda/traffic_check.py --update STATISTICS

STATISTICS is what test programs run with FAKECUDA_STATS=FILE appended. For each kernel of
kernels.tsv: it ran; passes over shared memory against those without bank conflicts, and 32-byte
sectors of global memory against the fewest that would do, are at most as in traffic.tsv. The ratios
are over all shapes of the tests, ragged ones included; exact bytes for given shapes are in the
tests themselves.
"""
import argparse
import collections
import csv
import math
import pathlib
import re
import sys

from sass_check import MARKS, Results, read_table

TABLE = pathlib.Path(__file__).resolve().parent / "traffic.tsv"
LINE = re.compile(r"^fakecuda: kernel (.+?)((?: \w+=\d+)+)$", re.M)
COUNT = re.compile(r"(\w+)=(\d+)")


def read_statistics(path):
    """{kernel: counts}, summed over the processes that wrote."""
    sums = collections.defaultdict(collections.Counter)
    for name, counts in LINE.findall(pathlib.Path(path).read_text()):
        for count, value in COUNT.findall(counts):
            sums[name][count] += int(value)
    return sums


def ratio(counts, actual, ideal):
    return counts[actual] / counts[ideal] if counts[ideal] else 1.0


# Column of traffic.tsv -> what is counted and the least that would do.
RATIOS = {
    "shared": ("shared_waves", "shared_ideal"),
    "sectors": ("global_sectors", "global_ideal"),
}


def write_table(statistics):
    with open(TABLE, "w", newline="") as file:
        rows = csv.writer(file, delimiter="\t", lineterminator="\n")
        rows.writerow(["kernel", *RATIOS])
        for name, counts in sorted(statistics.items()):
            limits = [math.ceil(ratio(counts, *pair) * 100 - 1e-9) / 100 for pair in RATIOS.values()]
            rows.writerow([name, *(f"{limit:.2f}" for limit in limits)])


def coverage_faults(statistics):
    known = {row["kernel"] for row in read_table(MARKS)}
    for name in sorted(known - statistics.keys()):
        yield f"{name}: no test ran it"
    for name in sorted(statistics.keys() - known):
        yield f"{name}: not in kernels.tsv"


def ratio_faults(statistics, column):
    table = {row["kernel"]: float(row[column]) for row in read_table(TABLE)}
    for name, counts in sorted(statistics.items()):
        now = ratio(counts, *RATIOS[column])
        if name not in table:
            yield f"{name}: not in traffic.tsv (--update)"
        elif not now <= table[name]:
            yield f"{name}: {now:.4f}, at most {table[name]} in traffic.tsv"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write traffic.tsv")
    parser.add_argument("statistics")
    options = parser.parse_args()
    statistics, results = read_statistics(options.statistics), Results()
    if options.update:
        write_table(statistics)
    results.check("every kernel ran", coverage_faults(statistics))
    for column in RATIOS:
        results.check(f"{column} at most as in traffic.tsv", ratio_faults(statistics, column))
    print(f"{results.passed} passed, {results.failed} failed, 0 skipped")
    return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())
