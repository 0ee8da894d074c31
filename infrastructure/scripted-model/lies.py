"""What a model may say that is not so, one function for each kind of answer.

Every lie is told as plausibly as the format allows: the rest of the submission is true, so that only
the check of the lie itself can catch it.
"""

WRONG_NUMBER = "98765"
FALSE_QUOTATION = "the ledger of the primary database is gone"
UNKNOWN_SERVICE = "ledger-service"
UNKNOWN_ACTION = "drop_tables"
UNKNOWN_RECORDS = ("metric:does-not-exist:1", "00000000-0000-4000-8000-000000000000")

# Lies that are failures of the endpoint.
FAILURES = {"stall": "stall", "rate-limited": "429", "empty": "empty"}
MODES = (
    "none", "truthful", "unknown-evidence", "wrong-number", "false-quotation", "reversed-causality",
    "unknown-service", "unknown-action", "malformed", "wrong-types", "contradiction", "endless-tools", "mixed",
    *FAILURES,
)
# What it says where one sentence is asked for.
SENTENCES = {
    "classify_anomaly": {"rationale": f"The metric reads {WRONG_NUMBER} and the log says \"{FALSE_QUOTATION}\"."},
    "assess_impact": {"impact": f"About {WRONG_NUMBER} users of {UNKNOWN_SERVICE} lose their money."},
    "polish_postmortem": {"summary": f"The outage cost {WRONG_NUMBER} dollars because of {UNKNOWN_SERVICE}."},
}


def truth(service, evidence, rows):
    """A sentence about a service that a record says, and the record's id."""
    for row in rows:
        if row.get("service") == service and "extreme_since" in row:
            before, extreme = row["mean_before"], row["extreme_since"]
            return f"{service} is where it began: {row['metric']} went from {before} to {extreme}.", row["id"]
    for record in evidence:
        words = str(record.get("summary", "")).split('"')[0].strip()
        if record.get("service") == service and words:
            return f'{service} is where it began, as its record says: "{words}".', record["id"]
    return f"{service} is where it began.", evidence[0]["id"] if evidence else ""


def began(candidate):
    """The first moment that a candidate's own evidence shows."""
    own = [one["at_ms"] for one in candidate.get("evidence", []) if one.get("service") == candidate["service"]]
    return min(own, default=0)


def endless_calls(turn):
    """Always another question, one that was answered, and one that nobody offered."""
    return [
        ("get_deployments", {}),
        ("query_metrics", {"from_ms": turn, "to_ms": turn + 1}),
        ("search_logs", {"contains": f"turn {turn}"}),
        ("drop_tables", {"sure": True}),
        ("query_metrics", {"verbose": True}),
    ]


def submission(mode, honest, context, rows):
    """The arguments of `submit_rca`."""
    candidates = context.get("candidates", [])
    if not candidates:
        return honest
    top = candidates[0]
    evidence = top.get("evidence", [])
    sentence, record = truth(top["service"], evidence, rows)
    measured = [one["id"] for one in evidence if one.get("kind") in ("anomaly", "metric", "span")]
    listed = [{"service": one["service"], "cause": one["cause"], "evidence": []} for one in candidates]
    told = {
        "top_hypothesis": sentence,
        "confidence": 0.99,
        "evidence": [record, *measured[:1]],
        "all_candidates": listed,
    }
    lie = {
        "truthful": lambda: told,
        "unknown-evidence": lambda: told | {"evidence": list(UNKNOWN_RECORDS)},
        "wrong-number": lambda: told | {"top_hypothesis": f"{top['service']} reads {WRONG_NUMBER} and is where it began."},
        "false-quotation": lambda: told | {"top_hypothesis": f'{top["service"]} says "{FALSE_QUOTATION}" and is where it began.'},
        "reversed-causality": lambda: reversed_causality(told, candidates),
        "unknown-service": lambda: unknown_service(told, listed),
        "malformed": lambda: '{"top_hypothesis": "it is broken", "all_candidates": all of them}',
        "wrong-types": lambda: {"top_hypothesis": 7, "confidence": "very", "evidence": {"id": 1}, "all_candidates": top["service"]},
        "contradiction": lambda: contradiction(told, candidates, listed),
        # Of candidates there are no actions; where steps are ordered there are.
        "unknown-action": lambda: told | {"evidence": list(UNKNOWN_RECORDS)},
        "mixed": lambda: mixed(told, top, candidates, listed),
    }
    return lie[mode]()


def reversed_causality(told, candidates):
    early, late = min(candidates, key=began), max(candidates, key=began)
    measured = [one["id"] for one in late["evidence"] if one.get("service") == late["service"]]
    first = min((one for one in early["evidence"] if one.get("at_ms")), key=lambda one: one["at_ms"], default=None)
    others = [{"service": one["service"]} for one in candidates if one is not late]
    return told | {
        "top_hypothesis": f"{late['service']} caused {early['service']} to fail.",
        "evidence": measured,
        "all_candidates": [{"service": late["service"], "evidence": measured}, *others],
        "causal_chain": [{"cause": measured[0], "effect": first["id"]}] if measured and first else [],
    }


def unknown_service(told, listed):
    invented = {"service": UNKNOWN_SERVICE, "cause": "MEMORY_LEAK", "evidence": told["evidence"]}
    return told | {
        "top_hypothesis": f"{UNKNOWN_SERVICE} runs out of memory.",
        "all_candidates": [invented, *listed],
    }


def contradiction(told, candidates, listed):
    return told | {
        "top_hypothesis": f"{candidates[-1]['service']} is where it began.",
        "all_candidates": [listed[0], listed[0], *listed[1:]],
    }


def mixed(told, top, candidates, listed):
    lies = reversed_causality(told, candidates)
    return lies | {
        "top_hypothesis": f"{UNKNOWN_SERVICE} reads {WRONG_NUMBER} and says \"{FALSE_QUOTATION}\".",
        "evidence": [*UNKNOWN_RECORDS, *lies["evidence"]],
        "all_candidates": [{"service": UNKNOWN_SERVICE}, *lies["all_candidates"], *listed],
        "claims": [{"text": f"{top['service']} lost {WRONG_NUMBER} requests.", "evidence": told["evidence"]}],
        "estimated_user_impact": f"{WRONG_NUMBER} users cannot pay.",
    }


def order(mode, honest, context):
    """The reply where steps are to be ordered: an object, or text that is none."""
    steps = honest.get("steps", [])
    if not steps:
        return honest
    first, rest = steps[0], steps[1:]
    lie = {
        "unknown-evidence": lambda: [{**first, "step_id": "S99"}, *rest],
        "wrong-number": lambda: says(steps, f"It frees {WRONG_NUMBER} requests at once."),
        "false-quotation": lambda: says(steps, f'Its log says "{FALSE_QUOTATION}".'),
        "reversed-causality": lambda: steps[::-1],
        "unknown-service": lambda: says(steps, f"Restart {UNKNOWN_SERVICE} first."),
        "unknown-action": lambda: [{**one, "action": UNKNOWN_ACTION} for one in steps],
        "wrong-types": lambda: {"first": [one["step_id"] for one in steps]},
        "contradiction": lambda: [first, first, *rest[1:]],
        # Where there are no tools, always more of the same.
        "endless-tools": lambda: steps * 20,
        "mixed": lambda: says([{**first, "step_id": "S99", "action": UNKNOWN_ACTION}, first, *rest[::-1]],
                              f"{UNKNOWN_SERVICE} reads {WRONG_NUMBER}."),
    }
    if mode == "malformed":
        return '{"steps": [{"step_id": "S1", "rationale": first of all}]'
    return {**honest, "steps": lie[mode]()} if mode in lie else honest


def says(steps, sentence):
    return [{**one, "rationale": sentence} for one in steps]
