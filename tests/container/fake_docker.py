#!/usr/bin/env python3
"""As much of `docker` and Compose as docker/upgrade.sh asks for, over a state in a JSON file ($FAKE_DOCKER).
Every call is appended to "calls" with what runs after it. Compose's rules are those of its own code: `up`
counts stopped containers, too, and creates what is missing with the highest number; `ps` shows what runs.

The state: "containers": id -> {"name", "image", "status", "health", "restarts"}; "image": what new ones
get; "starts": how each new one turns out: "healthy", "slow" (healthy at the third look), "unhealthy", "ends",
"restarts", "refused". No test lives here."""
import json
import os
import sys

PATH = os.environ["FAKE_DOCKER"]


def running(state):
    return {key: box for key, box in state["containers"].items() if box["status"] in ("running", "restarting")}


def compose(state, words):
    while words and words[0] in ("-f", "-p"):
        words = words[2:]
    if words == ["ps", "--quiet", "unmask"]:
        print("\n".join(running(state)))
    elif words == ["rm", "--force", "unmask"]:
        state["containers"] = running(state)
    elif words[:-3] == ["up", "--detach", "--no-deps", "--no-recreate", "--no-build"] and words[-3] == "--scale":
        up(state, int(words[-2].removeprefix("unmask=")))
    else:
        sys.exit(f"fake docker: compose {words}")


def up(state, scale):
    for box in state["containers"].values():
        box["status"] = "running" if box["status"] == "exited" else box["status"]
    assert scale >= len(state["containers"]), "would scale down"
    while len(state["containers"]) < scale:
        state["number"] += 1
        how = state["starts"].pop(0)
        state["containers"][f"{state['number']:064x}"] = {
            "name": f"unmask-unmask-{state['number']}", "image": state["image"], "restarts": int(how == "restarts"),
            "status": {"ends": "exited", "refused": "created", "restarts": "restarting"}.get(how, "running"),
            "health": "healthy" if how == "healthy" else "starting", "how": how, "looks": 0}
        if how == "refused":
            raise SystemExit("no memory for it")


def inspect(box, form):
    if form == "{{.Name}}":
        return "/" + box["name"]
    assert form == "{{.RestartCount}} {{.State.Status}} {{with .State.Health}}{{.Status}}{{end}}"
    box["looks"] += 1
    if box["how"] == "slow" and box["looks"] == 3:
        box["health"] = "healthy"
    if box["how"] == "unhealthy":
        box["health"] = "unhealthy"
    return f"{box['restarts']} {box['status']} {box['health']}"


def single(state, words):
    """Commands about one container, the last word."""
    box = state["containers"].get(words[-1]) or sys.exit(f"Error: No such container: {words[-1]}")
    if words[0] == "inspect":
        print(inspect(box, words[2]))
    elif words[0] == "stop":
        box["status"] = "exited"
    elif words[0] == "rm":
        assert box["status"] == "exited", "cannot remove a running container"
        del state["containers"][words[-1]]
    elif words[0] == "logs":
        print(f"the last words of {box['name']}", file=sys.stderr)
    else:
        sys.exit(f"fake docker: {words}")


def main():
    with open(PATH) as file:
        state = json.load(file)
    words = sys.argv[1:]
    try:
        compose(state, words[1:]) if words[0] == "compose" else single(state, words)
    finally:
        state["calls"].append({"words": words, "file": os.environ.get("COMPOSE_FILE"),
                               "running": [[box["image"], box["health"]] for box in running(state).values()]})
        with open(PATH, "w") as file:
            json.dump(state, file)


main()
