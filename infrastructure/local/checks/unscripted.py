"""Faults that nobody scripted, on a running stack.

    midwatch-stack run --quiet -- python3 unscripted.py host
    midwatch-stack run --quiet -- python3 unscripted.py paused

host    Debian's stress-ng takes the CPUs of this machine: one incident on
        host/<hostname> with its mails, which resolves when the load is gone.
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
import time
import urllib.request

API = os.environ["MIDWATCH_API_URL"]
INBOX = os.environ["MIDWATCH_INBOX_URL"]
SIMULATOR = os.environ["MIDWATCH_SIMULATOR_URL"]
# Twelve readings in a row above 90 % start the anomaly of a host's CPU.
INTERVAL_S = int(os.environ.get("COLLECT_INTERVAL_MS", "10000")) / 1000
STRESS_S = 12 * INTERVAL_S + 60
PAUSED_AGENT = os.environ.get("PAUSED_AGENT", "investigation")


class Missing(Exception):
    """Something that should have been seen and was not."""


def fetch(address, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data=data)
    if data is not None:
        request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def wait_for(what, limit_s, look):
    """The first truthy answer of `look`; asks twice a second."""
    begun = time.monotonic()
    while time.monotonic() - begun < limit_s:
        found = look()
        if found:
            print(f"  {time.monotonic() - begun:6.1f} s  {what}", flush=True)
            return found
        time.sleep(0.5)
    raise Missing(f"{what}: not within {limit_s:.0f} s")


def incidents(environment):
    return fetch(f"{API}/api/incidents?environment={environment}&limit=100")["items"]


def on(service):
    return [
        one for one in incidents("local") if service in one["affected_services"]
    ]


def mails(short_id):
    return [mail for mail in fetch(f"{INBOX}/email") if short_id in mail["subject"]]


def stages(short_id):
    return {mail["subject"].split()[0].rstrip("\ufe0f") for mail in mails(short_id)}


def watch_to_the_end(incident, limit_s):
    """Follows an incident to its postmortem; the five mails in the end."""
    short_id = incident["short_id"]
    address = f"{API}/api/incidents/{incident['id']}"
    wait_for(
        f"{short_id} is resolved",
        limit_s,
        lambda: fetch(address)["status"] == "RESOLVED",
    )
    wait_for(
        "all five mails of it are in the inbox",
        60,
        lambda: stages(short_id) >= set("🚨🔍🛠✅📋"),
    )
    for mail in mails(short_id):
        print(f"            {mail['subject']}")


def only_one(service):
    found = on(service)
    if len(found) != 1:
        names = [(one["short_id"], one["anomaly_type"]) for one in found]
        raise Missing(f"one incident on {service}, not {len(found)}: {names}")


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
        print(f"            {incident['short_id']} {incident['title']}")
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
        print(f"            {incident['short_id']} {incident['title']}")
        if incident["anomaly_type"] != "KAFKA_CONSUMER_LAG":
            raise Missing(f"consumer lag as its type, not {incident['anomaly_type']}")
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
