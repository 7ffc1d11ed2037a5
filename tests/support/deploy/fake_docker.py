#!/usr/bin/env python3
"""A `docker` command over a file of containers, for the scripts of deploy/. DOCKER_CONFIG names the file.

It is JSON: `containers` by id, each with `service`, `state` and `health`, and `code`, `restarts`, `image`, `line` (its
last one) where they matter; `projects` with the lines that `docker ps` prints of each; `broken`: new containers do not
get healthy; `kill_caller`: `up` kills its caller when the new containers are up; `answers` with an output and an exit
status by a part of the arguments; `calls` with the arguments and the environment of each call.
"""

import json
import os
import signal
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

FILE = Path(os.environ["DOCKER_CONFIG"])
world: dict[str, Any] = json.loads(FILE.read_text())
containers: dict[str, dict[str, str]] = world["containers"]


def option(arguments: list[str], name: str) -> list[str]:
    """Return the values of an option that can be repeated."""
    return [value for flag, value in pairwise(arguments) if flag == name]


def listed(arguments: list[str]) -> list[str]:
    """Return the containers that `docker compose ps` lists."""
    present = ["running", "restarting"] + ["exited"] * ("--all" in arguments)
    states = option(arguments, "--status") or present
    return [name for name, one in containers.items() if one["service"] == arguments[-1] and one["state"] in states]


def shown(arguments: list[str]) -> list[str]:
    """Return the lines that `docker compose ps` or `docker inspect` prints."""
    match arguments:
        case ["compose", "ps", "--all", "--quiet"]:
            return list(containers)
        case ["compose", "ps", "--services"]:
            return sorted({one["service"] for one in containers.values() if one["state"] == "running"})
        case ["compose", "ps", "--format", _]:
            return [f"{one['service']} {one.get('image', 'postgres:18')}" for one in containers.values()]
        case ["inspect", "--format", _, *names]:
            return [f"/{name}|{state_of(containers[name])}" for name in names]
        case _:
            return listed(arguments)


def state_of(container: dict[str, str]) -> str:
    """Return state, health, exit status and number of restarts."""
    return "|".join(container.get(part, "0") for part in ("state", "health", "code", "restarts"))


def up(arguments: list[str]) -> int:
    """Bring a service to a number of containers, the old ones first."""
    [(service, number)] = [value.split("=") for value in option(arguments, "--scale")]
    present = listed(["--all", service])
    world["made"] += 1
    new = [f"new{world['made']}-{i}" for i in range(int(number) - len(present))]
    state, health = ("restarting", "unhealthy") if world["broken"] else ("running", "healthy")
    for name in new:
        containers[name] = {"service": service, "state": state, "health": health}
    for name in present[int(number) :]:
        del containers[name]
    if new and world["kill_caller"]:
        save()
        os.kill(os.getppid(), signal.SIGKILL)
    return int(any(containers[name]["health"] == "unhealthy" for name in listed([service])))


def save() -> None:
    """Write the file."""
    FILE.write_text(json.dumps(world))


def main(arguments: list[str]) -> int:
    """Do one command; return its exit status."""
    world["calls"].append({"arguments": arguments, "environment": dict(os.environ)})
    for part, (answer, ended) in world["answers"].items():
        if part in " ".join(arguments):
            sys.stdout.write(f"{answer}\n")
            return int(ended)
    match arguments:
        case ["ps", *_]:
            [label] = option(arguments, "--filter")
            sys.stdout.write("".join(f"{line}\n" for line in world["projects"].get(label.rpartition("=")[2], [])))
        case ["compose", "ps", _, *_] | ["inspect", *_]:
            sys.stdout.write("".join(f"{line}\n" for line in shown(arguments)))
        case ["compose", "up", *rest] if "--scale" in rest:
            return up(rest)
        case ["compose", "up", *_]:
            return int(world["broken"])
        case ["rm", name]:
            del containers[name]
        case ["logs", *_, name]:
            sys.stderr.write(containers[name].get("line", f"last line of {name}") + "\n")
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    save()
    sys.exit(status)
