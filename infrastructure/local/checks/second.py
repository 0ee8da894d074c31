"""The second occurrence of a fault, on a running stack that learns.

    REOPEN_WINDOW_MINUTES=1 DUPLICATE_WINDOW_MINUTES=1 \
        REMEDIATION_POLICY_FILE=second-policy.json \
        midwatch-stack run --quiet --speed 4 -- python3 second.py

A fault is injected, the plan's first executable step is approved, verified as
an improvement, and the postmortem is reviewed and published by a person. When
the same fault comes again, its cause cites the first incident as the nearest
one, and its plan says by name that the step worked then, which is approved and helps
again. The windows are short, so that the second one is no relapse of the first.

Ends with 0 when everything was seen, with 1 and a sentence otherwise.
"""

import email
import email.policy
import os
import sys
import urllib.request

from asking import (
    API,
    INBOX,
    SIMULATOR,
    Missing,
    fetch,
    fetch_if_there,
    incidents,
    mails,
    wait_for,
    watch_to_the_end,
)

SCENARIO = os.environ.get("SCENARIO", "MEMORY_LEAK")


def address(incident, part=""):
    return f"{API}/api/incidents/{incident['id']}{part}"


def command(incident, **request):
    fetch(address(incident, "/commands"), request)


def is_of_fault(incident):
    """Whether it is named after the fault, or its cause is: a burst of log lines may come first,
    and a name stays."""
    if incident["anomaly_type"] == SCENARIO:
        return True
    candidates = fetch(address(incident))["rca_candidates"] or [{}]
    return candidates[0].get("cause") == SCENARIO


def opened(known):
    """The incident of the next fault; none of those that are `known`."""
    found = (one for one in incidents("simulation") if one["id"] not in known)
    return next((one for one in found if is_of_fault(one)), None)


def step_of(plan):
    """The first step that anything would execute and that changes something."""
    return next(
        (
            step
            for step in plan["steps"]
            if step.get("typed", {}).get("risk", "read-only") != "read-only"
        ),
        None,
    )


def plan(incident):
    """The plan against the cause as it stands, once it has such a step."""
    found = fetch_if_there(address(incident, "/plan"))
    if not found or not step_of(found):
        return None
    # In brackets stand figures, which a later look may see otherwise.
    cause = fetch(address(incident))["top_root_cause"].split(" (")[0]
    return found if found["root_cause"].split(" (")[0] == cause else None


def verdict(incident, step_id):
    steps = fetch(address(incident, "/plan"))["steps"]
    happened = [
        one
        for step in steps
        if step["step_id"] == step_id
        for one in step["happened"]
    ]
    for one in happened:
        if one["phase"] == "refused":
            raise Missing(f"consent to {step_id}: {one}")
    return next(
        (one["verification"] for one in happened if one["phase"] == "verified"), None
    )


def audited(incident, event_type):
    lines = fetch(address(incident))["timeline"]
    return [line for line in lines if line["event_type"] == event_type]


def body(mail):
    """The mail's plain text."""
    address = f"{INBOX}/email/{mail['id']}/source"
    with urllib.request.urlopen(address, timeout=10) as answer:
        source = email.message_from_bytes(answer.read(), policy=email.policy.default)
    return source.get_body(preferencelist=("plain",)).get_content()


def cited(incident, name):
    """What a mail about its cause says of another incident."""
    for mail in mails(incident["short_id"]):
        if mail["subject"].startswith("🔍"):
            for line in body(mail).splitlines():
                if name in line:
                    return line.strip()
    return None


def fault(known):
    fetch(f"{SIMULATOR}/inject", {"scenario": SCENARIO})
    try:
        incident = wait_for(f"an incident of {SCENARIO}", 180, lambda: opened(known))
    except Missing as missing:
        there = [
            f"{one['short_id']} {one['anomaly_type']} {one['status']}"
            for one in incidents("simulation")
        ]
        raise Missing(f"{missing}; there are {', '.join(there) or 'none'}") from missing
    print(f"            {incident['short_id']} {incident['title']}")
    return incident


def mend(incident):
    """Approves the first step that changes something; it must help."""
    approved = wait_for("a plan with a step to approve", 120, lambda: plan(incident))
    step = step_of(approved)
    command(
        incident,
        command="approve",
        target=step["step_id"],
        plan_hash=approved["plan_hash"],
        reason="the runbook's first step",
    )
    found = wait_for(
        f"{step['step_id']} ({step['typed']['kind']}) is verified",
        240,
        lambda: verdict(incident, step["step_id"]),
    )
    if found["verdict"] != "improved":
        raise Missing(f"an improvement: {found['summary']}")
    return step


def first():
    incident = fault(set())
    step = mend(incident)
    watch_to_the_end(incident, 240)
    command(incident, command="review", reason="read by both teams")
    wait_for(
        "the incident is in the knowledge store",
        60,
        lambda: audited(incident, "INCIDENT_LEARNT"),
    )
    command(incident, command="publish", reason="agreed")
    wait_for(
        "its postmortem is published",
        30,
        lambda: audited(incident, "POSTMORTEM_PUBLISHED"),
    )
    return incident, step["typed"]["kind"]


def second(before, kind):
    name = before["short_id"]
    incident = fault({before["id"]})
    what = f"a mail of its cause that cites {name}"
    line = wait_for(what, 60, lambda: cited(incident, name))
    print(f"            the mail says: {line}")
    step = mend(incident)
    if step["typed"]["kind"] != kind:
        raise Missing(f"{kind}, which worked before, as the first step to approve")
    words = step["rationale"]
    if "It worked before" not in words or name not in words:
        raise Missing(f"that {kind} worked in {name}, in the step's reason: {words}")
    print(f"            {step['step_id']}: {words}")
    watch_to_the_end(incident, 240)


def main():
    try:
        second(*first())
    except Missing as missing:
        sys.exit(f"FAILED: missing {missing}")
    print("PASSED: the second occurrence cites the first one and what worked")


if __name__ == "__main__":
    main()
