"""Reads docker-compose.yml the way compose does, as far as it is used here."""

import pathlib
import re

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "infrastructure/containers/Dockerfile"

# $$, ${NAME}, ${NAME:-default} and ${NAME-default}; whatever else begins with
# a dollar sign is refused rather than guessed at.
VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<how>:?-)(?P<default>[^${}]*))?\}|(?P<other>.?))"
)


def interpolate(value, environment, asked):
    """`value` with its variables replaced; notes (name, default) in `asked`."""
    if isinstance(value, dict):
        return {key: interpolate(item, environment, asked) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, environment, asked) for item in value]
    if not isinstance(value, str):
        return value

    def one(match):
        if match["dollar"]:
            return "$"
        if match["other"] is not None:
            raise ValueError(f"not understood: {value!r}")
        asked.append((match["name"], match["default"]))
        found = environment.get(match["name"])
        if found is None or (found == "" and match["how"] == ":-"):
            return match["default"] or ""
        return found

    return VARIABLE.sub(one, value)


def load(environment, text=None):
    """The file with variables replaced from `environment`, and what it asked for."""
    asked = []
    plain = yaml.safe_load(FILE.read_text() if text is None else text)
    return interpolate(plain, environment, asked), asked


def is_ours(service):
    return service["image"].partition(":")[0] == "midwatch"


def ours(document):
    """The services of this project's own image."""
    return {name: item for name, item in document["services"].items() if is_ours(item)}


def in_order(services, document):
    """`services` so that each comes after those that it depends on."""
    order, visiting = [], []

    def visit(name):
        if name in visiting:
            raise ValueError(f"depends on itself: {' -> '.join([*visiting, name])}")
        visiting.append(name)
        for other in document["services"][name].get("depends_on", {}):
            visit(other)
        visiting.pop()
        if name not in order:
            order.append(name)

    for name in services:
        visit(name)
    return [name for name in order if name in services]


def is_one_shot(name, document):
    """Whether others wait for this service's end."""
    return any(
        item.get("depends_on", {}).get(name, {}).get("condition")
        == "service_completed_successfully"
        for item in document["services"].values()
    )


def seconds(text):
    """A duration such as 1m30s."""
    parts = re.findall(r"(\d+)(h|ms|m|s)", text)
    if "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"not a duration: {text!r}")
    size = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    return sum(int(number) * size[unit] for number, unit in parts)


def image_environment():
    """The variables that the last stage of the Dockerfile sets."""
    lines = DOCKERFILE.read_text().replace("\\\n", " ").splitlines()
    found = {}
    for line in lines:
        if line.startswith("FROM "):
            found = {}
        if line.startswith("ENV "):
            found.update(item.split("=", 1) for item in line.split()[1:])
    return found


def image_programs():
    """Names of the programs that the Dockerfile copies out of the builder."""
    text = DOCKERFILE.read_text()
    listed = re.search(r"for name in ([\w\s\\-]+?); do \\\n\s*cp \"target/release/midwatch-\$name\"", text)
    if listed is None or "cp target/release/midwatch /out/" not in text:
        raise ValueError("the Dockerfile's list of programs is not where it was")
    names = listed[1].replace("\\", " ").split()
    return {"midwatch", *(f"midwatch-{name}" for name in names)}
