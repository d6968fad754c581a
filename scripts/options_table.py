#!/usr/bin/env python3
"""Writes the table of `unmask serve`'s options in docs/operations.md from config/options.def.

    scripts/options_table.py           rewrites the table
    scripts/options_table.py --check   fails where the page and the code have parted
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/operations.md"
BEGIN, END = "<!-- options: made by scripts/options_table.py -->\n", "<!-- end of options -->\n"
ROW = re.compile(r'^UM_OPTION_(INT|NUMBER|BOOL|STRING|STRINGS)\((\w+), ([^,]+), (.*)"([^"]*)"\)$', re.M)
SERVE = {"UM_COMMAND_SERVE", "UM_ALL", "UM_RUN", "UM_ANY"}


def default_of(kind, fields):
    """What stands in the column of defaults; fields are those between commands and help."""
    first = fields.split(", ")[0]
    if kind == "STRINGS" or first == "NULL":
        return ""
    if first == "UM_DEFAULT_MODEL":
        return "`models/pocket`"
    if kind == "BOOL":
        return "on" if first == "true" else "off"
    return f"`{first.strip(chr(34))}`"


def table():
    lines = ["| option | variable | default | |\n", "|---|---|---|---|\n"]
    for kind, name, commands, fields, text in ROW.findall((ROOT / "config/options.def").read_text()):
        if SERVE & set(commands.split(" | ")):
            flag = name.replace("_", "-")
            flag = f"`--[no-]{flag}`" if kind == "BOOL" else f"`--{flag}`"
            lines.append(f"| {flag} | `UNMASK_{name.upper()}` | {default_of(kind, fields)} | {text} |\n")
    return "".join(lines)


def main():
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    made = before + BEGIN + table() + END + rest.split(END)[1]
    if "--check" in sys.argv[1:]:
        sys.exit("docs/operations.md: run scripts/options_table.py" if made != page else 0)
    PAGE.write_text(made)


if __name__ == "__main__":
    main()
