"""What a check of a running stack asks it: only the API, the inbox and the
simulator, as any outside reader would."""

import json
import os
import time
import urllib.error
import urllib.request

API = os.environ["MIDWATCH_API_URL"]
INBOX = os.environ["MIDWATCH_INBOX_URL"]
SIMULATOR = os.environ["MIDWATCH_SIMULATOR_URL"]


class Missing(Exception):
    """Something that should have been seen and was not."""


def fetch(address, body=None):
    """JSON of an address; a body is posted, in the operator's name."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data=data)
    if data is not None:
        request.add_header("content-type", "application/json")
        token = os.environ.get("OPERATOR_TOKEN")
        if token and address.startswith(API):
            request.add_header("authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def fetch_if_there(address):
    """None where there is nothing at the address yet."""
    try:
        return fetch(address)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


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
