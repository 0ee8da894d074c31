"""Checks the dashboard and its provisioning: every expression is Prometheus'
language and asks only for metrics and labels that the services export, as
infrastructure/prometheus/METRICS.md lists them (a test holds that list and the
sources together), or that the recording rules make."""

import json
import pathlib
import re
import sys

import promql_parser
import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# What Prometheus itself adds to every target, as prometheus.yml labels them.
TARGET = {"job", "instance", "service", "slot"}
HISTOGRAM = {"_bucket": {"le"}, "_sum": set(), "_count": set()}
# Grafana fills these in; any duration will do to read an expression.
VARIABLES = {"$__rate_interval": "1m", "$__interval": "1m", "$__range": "1h"}


def exported():
    """Labels of each metric, by its name in Prometheus."""
    text = (ROOT / "infrastructure/prometheus/METRICS.md").read_text()
    every, engine = [], []
    found = {"up": set()}
    for section in text.split("\n## "):
        if "`<agent>` is " in section:
            every = re.findall(r"`([a-z]+)`", section.split("`<agent>` is ")[1].split("\n\n")[0])
        if "common loop" in section:
            engine = [name.lower() for name in re.findall(r"\w+", section.split("\n\n")[1].split(";")[0]) if name.lower() in every]
        agents = engine if "common loop" in section else every
        for name, kind, labels in re.findall(r"^\| `([a-z_<>]+)` \| (\w+) \| ([^|]*)\|", section, re.M):
            names = [name.replace("<agent>", agent) for agent in agents] if "<agent>" in name else [name]
            labels = set(re.findall(r"`(\w+)`", labels))
            for one in names:
                parts = HISTOGRAM if kind == "histogram" else {"": set()}
                found.update({one + ending: labels | more for ending, more in parts.items()})
    for file in (ROOT / "infrastructure/prometheus/rules").glob("*.yml"):
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                if "record" in rule:
                    grouped = promql_parser.parse(rule["expr"])
                    found[rule["record"]] = set(getattr(getattr(grouped, "modifier", None), "labels", []) or [])
    return found


def parts(node):
    """The node and everything below it."""
    yield node
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        if (child := getattr(node, name, None)) is not None:
            yield from parts(child)
    for child in getattr(node, "args", None) or []:
        yield from parts(child)


def selected(selector, known):
    """Names of the metrics that a selector finds."""
    if selector.name:
        return [selector.name] if selector.name in known else []
    patterns = [str(item.value) for item in selector.matchers.matchers if item.name == "__name__"]
    return [name for name in known if all(re.fullmatch(pattern, name) for pattern in patterns)] if patterns else []


def problems_of(expression, known):
    """What is wrong with an expression of the dashboard."""
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    try:
        tree = promql_parser.parse(expression)
    except ValueError as error:
        return [f"{expression}: {error}"]
    problems, labels = [], set(TARGET)
    selectors = [node for node in parts(tree) if type(node).__name__ == "VectorSelector"]
    for selector in selectors:
        names = selected(selector, known)
        if not names:
            problems.append(f"{expression}: no service exports {selector.name or selector.matchers}")
        offered = set.union(set(), *(known[name] for name in names)) | TARGET
        labels |= offered
        for matcher in selector.matchers.matchers:
            if matcher.name != "__name__" and matcher.name not in offered:
                problems.append(f"{expression}: {selector.name} has no label {matcher.name}")
    for node in parts(tree):
        if type(node).__name__ == "AggregateExpr" and node.modifier is not None:
            problems += [f"{expression}: nothing in it has a label {label}" for label in node.modifier.labels if label not in labels]
    if not selectors:
        problems.append(f"{expression}: asks for no metric")
    return problems


def check(dashboard, known):
    problems = []
    boxes, numbers = [], []
    for panel in dashboard["panels"]:
        title = panel["title"]
        numbers.append(panel["id"])
        place = panel["gridPos"]
        boxes.append((title, place))
        if panel["type"] == "row":
            continue
        if not panel.get("description"):
            problems.append(f"{title}: says nothing about itself")
        for target in panel["targets"]:
            problems += [f"{title}: {line}" for line in problems_of(target["expr"], known)]
            if target["datasource"] != panel["datasource"]:
                problems.append(f"{title}: two sources of data")
            asked = {label for node in [target["expr"]] for label in re.findall(r"\w+", node)}
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                if label not in asked:
                    problems.append(f"{title}: the legend shows {label}, by which nothing is grouped")
    if len(numbers) != len(set(numbers)):
        problems.append("two panels have one id")
    for index, (title, one) in enumerate(boxes):
        if one["x"] + one["w"] > 24:
            problems.append(f"{title}: wider than the page")
        for other, two in boxes[:index]:
            if (one["x"] < two["x"] + two["w"] and two["x"] < one["x"] + one["w"]
                    and one["y"] < two["y"] + two["h"] and two["y"] < one["y"] + one["h"]):
                problems.append(f"{title} lies on {other}")
    for note in dashboard["annotations"]["list"]:
        problems += [f"{note['name']}: {line}" for line in problems_of(note["expr"], known)]
    return problems


def provisioning(dashboard):
    """The data source is the compose stack's Prometheus, the folder the mounted one."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    source, = yaml.safe_load((HERE / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    provider, = yaml.safe_load((HERE / "provisioning/dashboards/midwatch.yml").read_text())["providers"]
    uids = {panel["datasource"]["uid"] for panel in dashboard["panels"] if "datasource" in panel}
    if uids != {source["uid"]}:
        yield f"panels ask {uids}, provisioned is {source['uid']}"
    host, port = re.fullmatch(r"http://([\w-]+):(\d+)", source["url"]).groups()
    if not any(item.endswith(f":{port}") for item in services.get(host, {}).get("ports", [])):
        yield f"no service serves {source['url']}"
    mounts = {item.split(":")[1]: item.split(":")[0] for item in services["grafana"]["volumes"]}
    if not (ROOT / mounts[provider["options"]["path"]] / "midwatch.json").exists():
        yield "the provider's folder does not hold the dashboard"
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    if home != provider["options"]["path"] + "/midwatch.json":
        yield "the home dashboard is another"


def main():
    known = exported()
    dashboard = json.loads((HERE / "dashboards/midwatch.json").read_text())
    problems = check(dashboard, known) + list(provisioning(dashboard))
    # What is wrong must be found: a metric nobody exports, a label that it
    # does not have, and what is no expression.
    for broken in ("midwatch_detection_sample_total", "sum by (topik) (midwatch_detection_samples_total)",
                   'midwatch_detection_samples_total{partition="0"}', '{__name__=~"midwatch_x.*"}', "sum("):
        if not problems_of(broken, known):
            problems.append(f"nothing was found wrong with {broken}")
    for line in problems:
        print(f"dashboard: {line}", file=sys.stderr)
    if problems:
        return 1
    count = sum(len(panel.get("targets", [])) for panel in dashboard["panels"])
    print(f"dashboard: {len(dashboard['panels'])} panels, {count} expressions, {len(known)} metrics known; all exist")
    return 0


if __name__ == "__main__":
    sys.exit(main())
