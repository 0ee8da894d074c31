#!/usr/bin/env python3
"""A scripted language model behind OpenAI's chat-completions protocol.

It stands in for a model where none can be had: same request, same reply, no judgement of its own.
What it answers depends on what is asked for:

- a reply schema named `classify_anomaly`, `assess_impact`, `order_steps` or `polish_postmortem`:
  an object made of the facts in the request's context;
- tools with `submit_rca` among them (or a conversation that used evidence tools): first two
  evidence tools in parallel, then `submit_rca` with the candidates of the context;
- a reply schema `tool_call` (tools expressed as a schema): the same, one tool per reply;
- any other schema: the smallest object that satisfies it; no schema: one sentence.

The context is the JSON object between the lines `<<<CONTEXT` and `CONTEXT>>>` of a user message, or
in its first block of data (`<<<DATA … mark`, lines behind `| `, `DATA mark>>>`).

With `--lie` it says what is not so, one kind of lie for each mode; `truthful` speaks of records that
tools returned, `mixed` tells several lies at once. See lies.py.

Usage: serve.py --bind 127.0.0.1:8090 [--fail-mode none|429|500|stall|malformed|empty] [--lie MODE]
"""

import argparse
import hashlib
import json
import re
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.dont_write_bytecode = True  # the folder may be read-only, and is not for such files

import lies  # noqa: E402
from reading import context_of, first, rows_in_results, text_of  # noqa: E402

MODEL = "scripted"
MAX_REQUEST_BYTES = 8 * 1024 * 1024
SOCKET_TIMEOUT_S = 30
STALL_S = 600
EVIDENCE_TOOLS = (
    "query_metrics",
    "search_logs",
    "search_similar_incidents",
    "get_runbooks",
    "get_deployments",
    "get_kubernetes_state",
    "compare_candidates",
)
EVIDENCE_TOOLS_PER_ROUND = 2
# The words in a metric's name that give an anomaly its type.
TYPES_BY_METRIC = (
    ("latency", "LATENCY_SPIKE"),
    ("error_rate", "ERROR_RATE_SPIKE"),
    ("cpu", "CPU_SATURATION"),
    ("memory", "MEMORY_LEAK"),
    ("db_connections", "DB_CONNECTION_EXHAUSTION"),
    ("lag", "KAFKA_CONSUMER_LAG"),
    ("request_rate", "TRAFFIC_DROP"),
)
SEVERITIES = ("MEDIUM", "HIGH", "CRITICAL")


def property_of(schema, name):
    found = schema.get("properties", {}).get(name, {}) if isinstance(schema, dict) else {}
    return found if isinstance(found, dict) else {}


def allowed(rule, wanted):
    """`wanted` where the schema permits it, else the nearest thing that it does permit."""
    options = rule.get("enum")
    if options and wanted not in options:
        return options[0]
    if isinstance(wanted, str) and isinstance(rule.get("maxLength"), int):
        return wanted[: rule["maxLength"]]
    return wanted


def sample(schema):
    """The smallest value that satisfies a schema, for what the script does not know."""
    if not isinstance(schema, dict):
        return {}
    for keyword in ("anyOf", "oneOf"):
        if schema.get(keyword):
            return sample(schema[keyword][0])
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "array":
        return [sample(schema.get("items", {})) for _ in range(schema.get("minItems", 0))]
    if kind in ("number", "integer"):
        return schema.get("minimum", schema.get("maximum", 0))
    if kind == "boolean":
        return False
    if kind == "null":
        return None
    if kind == "string":
        return "scripted".ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength", 200)]
    properties = schema.get("properties", {})
    return {name: sample(properties.get(name, {"type": "string"})) for name in schema.get("required", [])}


def complete_object(schema, known):
    """`known` bent to the schema: only its properties, all of its required ones."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not properties:
        return known
    chosen = {name: allowed(properties[name], value) for name, value in known.items() if name in properties}
    for name in schema.get("required", []):
        chosen.setdefault(name, sample(properties.get(name, {})))
    return chosen


def classify_anomaly(context, schema):
    metric = str(first(context, "trigger_metric", "metric_name", "metric"))
    by_metric = next((kind for word, kind in TYPES_BY_METRIC if word in metric), "UNKNOWN")
    kind = str(first(context, "anomaly_type", default=by_metric))
    sigma = first(context, "deviation_sigma", "sigma", default=0)
    sigma = abs(sigma) if isinstance(sigma, (int, float)) else 0
    by_sigma = SEVERITIES[(sigma >= 3) + (sigma >= 5)]
    observed = first(context, "observed_value", default="unknown")
    service = first(context, "service", default="an unnamed service")
    rationale = f"{metric or 'the metric'} of {service} reads {observed}, {sigma:g} standard deviations off its baseline."
    severity = first(context, "severity", default=by_sigma)
    return complete_object(schema, {"anomaly_type": kind, "severity": severity, "rationale": rationale})


def assess_impact(context, schema):
    services = first(context, "affected_services", "blast_radius", "service", default=[])
    services = services if isinstance(services, list) else [services]
    named = ", ".join(str(service) for service in services) or "no named service"
    kind = first(context, "anomaly_type", default="an anomaly")
    return complete_object(schema, {"impact": f"{kind} affects {named}; requests that pass through it may fail or be slow."})


def step_ids(context):
    steps = first(context, "steps", "action_steps", default=[])
    ids = [step.get("step_id", step.get("id")) if isinstance(step, dict) else step for step in steps]
    return [step for step in ids if step is not None]


def order_steps(context, schema):
    known = {"rationale": "The steps that stop the harm soonest come first, as given."}
    properties = schema.get("properties", {})
    lists = [name for name, rule in properties.items() if isinstance(rule, dict) and rule.get("type") == "array"]
    name = lists[0] if lists else "step_ids"
    items = property_of(schema, name).get("items", {})
    if items.get("type") == "object":
        reason = "It stays where the runbook puts it."
        known[name] = [
            complete_object(items, {"step_id": one, "id": one, "rationale": reason})
            for one in step_ids(context)
        ]
    else:
        known[name] = step_ids(context)
    return complete_object(schema, known)


def polish_postmortem(context, schema):
    summary = first(context, "summary", default="No summary was given.")
    return complete_object(schema, {"summary": str(summary)})


BY_SCHEMA = {
    "classify_anomaly": classify_anomaly,
    "assess_impact": assess_impact,
    "order_steps": order_steps,
    "polish_postmortem": polish_postmortem,
}


def evidence_ids(candidate):
    evidence = candidate.get("evidence", []) if isinstance(candidate, dict) else []
    return [str(item["id"]) if isinstance(item, dict) else str(item) for item in evidence if not isinstance(item, dict) or "id" in item]


def ids_in_results(messages):
    """Evidence ids that tool results name, in the order in which they come."""
    found = []
    for message in messages:
        text = text_of(message)
        if message.get("role") == "tool" or text.startswith("Result of "):
            found += re.findall(r'"(?:evidence_)?id"\s*:\s*"([^"]+)"', text)
    return list(dict.fromkeys(found))


def cited(ids, rule):
    """Evidence in the form that the schema wants: plain ids, or objects that hold one."""
    items = rule.get("items", {}) if isinstance(rule, dict) else {}
    if items.get("type") == "object":
        return [complete_object(items, {"id": one, "evidence_id": one, "claim": "as recorded"}) for one in ids]
    return ids


def submit_rca(context, schema, messages):
    candidates = [c for c in first(context, "candidates", default=[]) if isinstance(c, dict)]
    ranked = sorted(candidates, key=lambda c: -float(c.get("confidence") or 0))
    top = ranked[0] if ranked else {}
    top_ids = evidence_ids(top) or ids_in_results(messages)
    if top:
        hypothesis = str(top.get("hypothesis") or f"{top.get('cause', 'unknown')} in {top.get('service', 'unknown')}")
    else:
        hypothesis = "Inconclusive: no candidate was given."
    item_rule = property_of(schema, "all_candidates").get("items", {})
    listed = []
    for rank, candidate in enumerate(ranked, start=1):
        known = {"rank": rank, **candidate}
        known["evidence"] = cited(evidence_ids(candidate), property_of(item_rule, "evidence"))
        listed.append(complete_object(item_rule, known))
    return complete_object(schema, {
        "top_hypothesis": hypothesis,
        "confidence": float(top.get("confidence") or 0.0),
        "evidence": cited(top_ids, property_of(schema, "evidence")),
        "all_candidates": listed,
        "service": top.get("service", "unknown"),
        "cause": top.get("cause", "UNKNOWN"),
        "estimated_user_impact": "Requests to the affected services may be slow or fail.",
    })


def tool_arguments(name, schema, context):
    """Arguments of an evidence tool: names from the context where the schema asks for them."""
    top = next((c for c in first(context, "candidates", default=[]) if isinstance(c, dict)), {})
    service = top.get("service") or first(context, "service", default="")
    services = first(context, "affected_services", default=[service] if service else [])
    known = {
        "service": service or (services[0] if services else "unknown"),
        "services": services,
        "anomaly_type": first(context, "anomaly_type", default="UNKNOWN"),
        "query": str(top.get("cause") or first(context, "description", "anomaly_type", default="incident")),
        "metric_name": first(context, "trigger_metric", default="service_latency_p99_ms"),
        "candidates": [c.get("service") for c in first(context, "candidates", default=[]) if isinstance(c, dict)],
    }
    properties = schema.get("properties", {}) if isinstance(schema, dict) else {}
    fitting = {n: v for n, v in known.items() if n in properties and type_fits(properties[n], v)}
    return complete_object(schema, fitting) if properties else {}


def type_fits(rule, value):
    kind = rule.get("type") if isinstance(rule, dict) else None
    return kind is None or kind == {str: "string", list: "array"}.get(type(value))


def offered_tools(request):
    """Name and parameter schema of each tool, native or expressed as a reply schema."""
    offered = {}
    for tool in request.get("tools") or []:
        function = tool.get("function", {})
        offered[function.get("name")] = function.get("parameters") or {}
    for alternative in reply_schema(request)[1].get("anyOf", []):
        names = property_of(alternative, "tool").get("enum") or [None]
        offered[names[0]] = property_of(alternative, "arguments")
    return offered


def reply_schema(request):
    form = request.get("response_format") or {}
    wanted = form.get("json_schema") or {}
    return wanted.get("name"), wanted.get("schema") or {}


def tools_used(messages):
    """Names of the evidence tools that the conversation has results of, in either mode."""
    used = []
    for message in messages:
        if message.get("role") == "assistant":
            calls = message.get("tool_calls") or []
            used += [call.get("function", {}).get("name") for call in calls]
            used += re.findall(r'"tool"\s*:\s*"(\w+)"', text_of(message))
    return [name for name in used if name in EVIDENCE_TOOLS]


def next_calls(request, per_round, lie):
    """The tool calls of this round: evidence first, then the verdict."""
    messages = request.get("messages", [])
    offered, used, context = offered_tools(request), tools_used(messages), context_of(messages)
    if lie == "endless-tools":
        return lies.endless_calls(len(messages))
    wanted = [name for name in EVIDENCE_TOOLS if name in offered and name not in used]
    room = min(per_round, EVIDENCE_TOOLS_PER_ROUND - len(used))
    chosen = wanted[:room] if room > 0 else []
    if chosen:
        return [(name, tool_arguments(name, offered[name], context)) for name in chosen]
    if "submit_rca" in offered:
        honest = submit_rca(context, offered["submit_rca"], messages)
        if lie == "none":
            return [("submit_rca", honest)]
        return [("submit_rca", lies.submission(lie, honest, context, rows_in_results(messages)))]
    return []


def answer(request, lie="none"):
    """The assistant's message and the reason why it ended."""
    messages = request.get("messages", [])
    name, schema = reply_schema(request)
    if request.get("tools"):
        calls = next_calls(request, EVIDENCE_TOOLS_PER_ROUND, lie)
        if calls:
            digest = hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()[:12]
            wire = [
                {"id": f"call_{digest}_{index}", "type": "function",
                 "function": {"name": tool, "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments)}}
                for index, (tool, arguments) in enumerate(calls)
            ]
            return {"role": "assistant", "content": None, "tool_calls": wire}, "tool_calls"
        return {"role": "assistant", "content": "The evidence at hand says no more."}, "stop"
    if name == "tool_call":
        calls = next_calls(request, 1, lie)
        reply = {"tool": calls[0][0], "arguments": calls[0][1]} if calls else sample(schema)
    elif name in BY_SCHEMA:
        reply = BY_SCHEMA[name](context_of(messages), schema)
        if name == "order_steps":
            reply = lies.order(lie, reply, context_of(messages))
        elif lie not in ("none", "truthful"):
            reply = complete_object(schema, {**reply, **lies.SENTENCES.get(name, {})})
    elif name:
        reply = sample(schema)
    else:
        return {"role": "assistant", "content": "This is a scripted reply."}, "stop"
    content = reply if isinstance(reply, str) else json.dumps(reply, ensure_ascii=False)
    return {"role": "assistant", "content": content}, "stop"


def completion(request, lie="none"):
    message, reason = answer(request, lie)
    prompt_tokens = len(json.dumps(request.get("messages", []), ensure_ascii=False)) // 4 + 1
    completion_tokens = len(json.dumps(message, ensure_ascii=False)) // 4 + 1
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:16]
    return {
        "id": f"chatcmpl-{digest}",
        "object": "chat.completion",
        "created": 0,
        "model": request.get("model", MODEL),
        "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": None}],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = SOCKET_TIMEOUT_S

    def do_GET(self):
        if self.path in ("/healthz", "/readyz"):
            self.reply(200, b"ok\n", "text/plain")
        elif self.path == "/v1/models":
            self.reply_json(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        else:
            self.fail(404, f"there is nothing at {self.path}")

    def do_POST(self):
        request = self.read_request()
        if request is None:
            return
        if self.path != "/v1/chat/completions":
            self.fail(404, f"there is nothing at {self.path}; post to /v1/chat/completions")
            return
        mode = lies.FAILURES.get(self.server.lie, self.server.fail_mode)
        if mode in ("429", "500"):
            self.fail(int(mode), "scripted failure")
        elif mode == "stall":
            self.server.stopping.wait(self.server.stall_s)
            self.close_connection = True
        elif mode == "malformed":
            self.reply(200, b'{"choices": [{"mess', "application/json")
        elif mode == "empty":
            empty = completion(request)
            empty["choices"][0]["finish_reason"] = "stop"
            empty["choices"][0]["message"] = {"role": "assistant", "content": ""}
            self.reply_json(200, empty)
        else:
            self.reply_json(200, completion(request, self.server.lie))

    def read_request(self):
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            length = -1
        if not 0 <= length <= MAX_REQUEST_BYTES:
            self.close_connection = True
            self.fail(413, f"send Content-Length, at most {MAX_REQUEST_BYTES}")
            return None
        try:
            request = json.loads(self.rfile.read(length))
            if not isinstance(request, dict) or not isinstance(request.get("messages"), list):
                raise ValueError("it has no list of messages")
            if not all(isinstance(message, dict) for message in request["messages"]):
                raise ValueError("a message is no object")
        except ValueError as error:
            self.fail(400, f"the request is not a chat completion: {error}")
            return None
        return request

    def fail(self, status, message):
        self.reply_json(status, {"error": {"message": message, "type": "scripted", "code": None}})

    def reply_json(self, status, body):
        self.reply(status, json.dumps(body, ensure_ascii=False).encode(), "application/json")

    def reply(self, status, body, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *values):
        print(f"{self.address_string()} {form % values}", file=sys.stderr)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address, fail_mode, lie, stall_s):
        self.fail_mode, self.lie, self.stall_s = fail_mode, lie, stall_s
        self.stopping = threading.Event()
        super().__init__(address, Handler)


def address(text):
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, for example 127.0.0.1:8090")
    return host.strip("[]"), int(port)


def main():
    parser = argparse.ArgumentParser(description="A scripted OpenAI-compatible model endpoint.")
    parser.add_argument("--bind", type=address, default=("127.0.0.1", 8090), metavar="HOST:PORT")
    modes = ("none", "429", "500", "stall", "malformed", "empty")
    parser.add_argument("--fail-mode", choices=modes, default="none", help="how every completion fails")
    parser.add_argument("--lie", choices=lies.MODES, default="none", help="what it says that is not so")
    parser.add_argument("--stall-seconds", type=float, default=STALL_S, help="how long a stall lasts")
    options = parser.parse_args()
    try:
        server = Server(options.bind, options.fail_mode, options.lie, options.stall_seconds)
    except OSError as error:
        sys.exit(f"{options.bind[0]}:{options.bind[1]} cannot be bound ({error}); choose another with --bind")

    def stop(*_):
        server.stopping.set()
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    host, port = server.server_address[:2]
    print(f"listening http://{host}:{port}/v1", flush=True)
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    main()
