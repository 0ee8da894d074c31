"""Faults that nobody scripted, on a running stack.

    HOST_MOUNTS_EXCLUDE=/ midwatch-stack run --quiet -- python3 unscripted.py host
    midwatch-stack run --quiet -- python3 unscripted.py paused

host    Debian's stress-ng takes the CPUs of this machine: one incident on
        host/<hostname> with its mails, which resolves when the load is gone.
        Without the machine's disks: one that is full would rightly be an
        incident of the same host, and would not end with the load.
paused  An agent is stopped with SIGSTOP while a fault gives it work: its own
        consumer lag, read from the broker, becomes an incident that names it.

Ends with 0 when everything was seen, with 1 and a sentence otherwise. Only the
API, the inbox and the simulator are asked, as any outside reader would.
"""

import json
import os
import signal
import socket
import subprocess
import sys

from asking import SIMULATOR, Missing, fetch, incidents, stages, wait_for, watch_to_the_end

# Twelve readings in a row above 90 % start the anomaly of a host's CPU.
INTERVAL_S = int(os.environ.get("COLLECT_INTERVAL_MS", "10000")) / 1000
STRESS_S = 12 * INTERVAL_S + 60
PAUSED_AGENT = os.environ.get("PAUSED_AGENT", "investigation")


def on(service):
    return [
        one for one in incidents("local") if service in one["affected_services"]
    ]


def only_one(service):
    found = on(service)
    if len(found) != 1:
        names = [(one["short_id"], one["anomaly_type"]) for one in found]
        raise Missing(f"one incident on {service}, not {len(found)}: {names}")


def expect_kind(incident, kind):
    print(f"            {incident['short_id']} {incident['title']}")
    if incident["anomaly_type"] != kind:
        raise Missing(f"{kind} as its type, not {incident['anomaly_type']}")


def host():
    service = f"host/{os.environ.get('HOST_NAME') or socket.gethostname()}"
    print(f"stress-ng takes all CPUs for {STRESS_S:.0f} s; watching {service}")
    load = subprocess.Popen(
        ["stress-ng", "--cpu", "0", "--timeout", f"{STRESS_S:.0f}s", "--quiet"]
    )
    try:
        incident = wait_for(
            f"an incident on {service}", STRESS_S + 30, lambda: on(service)
        )[0]
        expect_kind(incident, "CPU_SATURATION")
        wait_for("its alert mail", 30, lambda: "🚨" in stages(incident["short_id"]))
    finally:
        load.terminate()
        load.wait(20)
    watch_to_the_end(incident, 60 + 10 * INTERVAL_S)
    only_one(service)


def pid_of(name):
    """The process of an agent, as the stack's own table tells it."""
    root = os.environ.get("MIDWATCH_ROOT", ".")
    with open(os.path.join(root, ".midwatch/run/stack.json"), encoding="utf-8") as book:
        for listed in json.load(book)["processes"]:
            if listed["name"] == name and listed["identity"]:
                return listed["identity"]["pid"]
    raise Missing(f"a running process of {name}")


def paused():
    service = f"midwatch-{PAUSED_AGENT}"
    pid = pid_of(PAUSED_AGENT)
    print(f"SIGSTOP to {PAUSED_AGENT} (process {pid}); a fault gives it work")
    os.kill(pid, signal.SIGSTOP)
    try:
        fetch(f"{SIMULATOR}/inject", {"scenario": "LATENCY_SPIKE"})
        incident = wait_for(f"an incident on {service}", 240, lambda: on(service))[0]
        expect_kind(incident, "KAFKA_CONSUMER_LAG")
        wait_for("its alert mail", 30, lambda: "🚨" in stages(incident["short_id"]))
    finally:
        os.kill(pid, signal.SIGCONT)
    print(f"SIGCONT to {PAUSED_AGENT}")
    watch_to_the_end(incident, 240)
    only_one(service)


def main():
    scenes = {"host": host, "paused": paused}
    names = sys.argv[1:] or list(scenes)
    unknown = [name for name in names if name not in scenes]
    if unknown:
        sys.exit(f"unknown scene {unknown[0]}; known are {', '.join(scenes)}")
    for name in names:
        try:
            scenes[name]()
        except Missing as missing:
            sys.exit(f"FAILED {name}: missing {missing}")
        print(f"PASSED {name}\n")


if __name__ == "__main__":
    main()
