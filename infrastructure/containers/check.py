"""Checks of docker-compose.yml, the Dockerfile and Prometheus' configuration
that need no container engine. Prints what is wrong and exits 1, or how much
was checked.

Each rule is also shown a compose file in which just that is broken, so that a
rule which cannot fail is itself a failure.
"""

import copy
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import yaml

import compose

ROOT = compose.ROOT
PAGE_PORTS = {"8000", "8025", "8080", "8100", "9090", "3000"}
# What a health check may run in each image, and where that is known from.
PROGRAMS = {
    "apache/kafka": {
        "/opt/kafka/bin/kafka-broker-api-versions.sh": "docker/jvm/Dockerfile of Apache Kafka unpacks the distribution there",
    },
    "postgres": {"pg_isready": "a program of PostgreSQL itself, in every server package"},
    "redis": {"redis-cli": "built and installed with the server from the same sources"},
    "qdrant/qdrant": {"bash": "tools/entrypoint.sh, which the image starts, begins with /usr/bin/env bash"},
    "axllent/mailpit": {"/mailpit": "the entry point; the Dockerfile's own HEALTHCHECK runs /mailpit readyz"},
    "kafbat/kafka-ui": {"wget": "BusyBox, as the Dockerfile's base is an Alpine image"},
    "prom/prometheus": {"wget": "BusyBox, as the Dockerfile's base is the Prometheus project's busybox image"},
    "grafana/grafana": {"wget": "BusyBox, as the image is built on Alpine"},
    "midwatch": {"midwatch-probe": "copied in by infrastructure/containers/Dockerfile"},
}
# Variables that a process reads and compose leaves alone on purpose.
LEFT_OUT = {
    "BASELINE_MIN_SAMPLES": "a number of the detector's own, for tests",
    "SMTP_CA_FILE": "mailpit speaks no TLS; a real server comes with an override file",
    "QDRANT_API_KEY": "the store in this network has none",
    "EMBEDDINGS_API_KEY": "the embedder has none",
    "OPERATOR_TOKENS_FILE": "a file of people's credentials; an override file mounts it and names it",
    "NOTIFY_FILE": "a file that names files of secrets; an override file mounts them and names it",
    "OPERATOR_PROXY_HEADER": "of the user's own proxy; an override file names it",
    "OPERATOR_PROXY_ADDRESSES": "of the user's own proxy; an override file names it",
    "APPROVAL_LINK_KEY_FILE": "a secret; an override file mounts it and names it",
    "SLACK_SIGNING_SECRET_FILE": "a secret; an override file mounts it and names it",
    "SLACK_RESPONSE_URL": "Slack's own address, but for tests",
    "PAGERDUTY_WEBHOOK_SECRET_FILE": "a secret; an override file mounts it and names it",
    "TELEGRAM_WEBHOOK_SECRET_FILE": "a secret; an override file mounts it and names it",
    "REMEDIATION_KUBECONFIG": "this stack has no cluster; an override file mounts a kubeconfig and names it",
    "REMEDIATION_ALLOWED_FILE": "it names hosts and programs of the user's; an override file mounts it and names it",
    "REMEDIATION_LOCAL": "commands would run in the container and not on its host",
    "REMEDIATION_SCRIPTS_DIR": "as REMEDIATION_LOCAL",
    "REMEDIATION_DISK_ROOTS": "as REMEDIATION_LOCAL",
    "REMEDIATION_STATE_DIR": "as REMEDIATION_LOCAL",
    "REMEDIATION_WEBHOOK_URL": "the user's own program; an override file names it",
    "REMEDIATION_WEBHOOK_SECRET_FILE": "a secret of the user's; an override file mounts it and names it",
    "REMEDIATION_ALERTMANAGER_URL": "this stack has none",
    "BACKSTAGE_CATALOG": "a file of the user's; an override file mounts it and names it",
    "SIM_PLAN": "for scored runs",
    "SIM_TRIALS": "for scored runs",
    "SIM_VARIED": "for scored runs",
}
SECRET = re.compile(r"KEY|PASSWORD|SECRET|TOKEN")
READS = re.compile(r'\bsettings\s*\.(?:get|text|number|flag)\(\s*"([A-Z][A-Z0-9_]+)"|\benv = "([A-Z][A-Z0-9_]+)"')
FOLDERS = {
    "embedder": ["knowledge/src/bin/midwatch-embedder.rs"],
    "seeder": ["knowledge/src/bin/midwatch-seeder.rs"],
    "simulator": ["simulator/src"],
    "init": [],
}


def known_variables():
    lines = (ROOT / ".env.example").read_text().splitlines()
    return {found[1] for line in lines if (found := re.match(r"#?([A-Z][A-Z0-9_]+)=", line))}


def schema(document):
    """The file is what the compose specification's schema says."""
    import jsonschema
    from check_jsonschema.builtin_schemas import get_builtin_schema

    published = get_builtin_schema("vendor.compose-spec")
    validator = jsonschema.validators.validator_for(published)
    for error in validator(published).iter_errors(document):
        yield f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"


def images(document):
    """Every image has a tag that says which version it is."""
    for name, item in document["services"].items():
        image, _, tag = item["image"].partition(":")
        if not re.search(r"\d+\.\d+", tag):
            yield f"{name}: {item['image']} names no version"
        if image not in PROGRAMS:
            yield f"{name}: nothing is known here about the image {image}"


def health_checks(document):
    """A health check runs only what its image is known to contain."""
    for name, item in document["services"].items():
        check = item.get("healthcheck", {})
        if compose.is_one_shot(name, document):
            if not check.get("disable"):
                yield f"{name}: ends by itself and needs no health check"
            continue
        how, *command = check.get("test", ["none"])
        known = PROGRAMS[item["image"].partition(":")[0]]
        if how != "CMD" or not command:
            yield f"{name}: no health check of the form [CMD, program, ...]"
        elif command[0] not in known:
            yield f"{name}: {command[0]} is not known to be in {item['image']}"
        elif any(compose.seconds(check[key]) <= 0 for key in ("interval", "timeout", "start_period")):
            yield f"{name}: a health check without limits"
    if "midwatch-probe" not in compose.image_programs():
        yield "midwatch-probe is not in the image"


def ports(document):
    """Only pages are published, and only on this machine."""
    published = set()
    for name, item in document["services"].items():
        for port in item.get("ports", []):
            address, _, rest = str(port).partition(":")
            host, _, container = rest.partition(":")
            published.add(host)
            if address != "127.0.0.1":
                yield f"{name}: {port} is open to other machines"
            if host not in PAGE_PORTS or host != container:
                yield f"{name}: {port} is not the port of a page"
            binds = [value for value in item.get("environment", {}).values() if value == f"0.0.0.0:{container}"]
            if compose.is_ours(item) and not binds:
                yield f"{name}: nothing in the container listens on {container}"
    if published != PAGE_PORTS:
        yield f"published are {sorted(published)}, the pages are {sorted(PAGE_PORTS)}"


def network(document):
    """One private network holds everything."""
    if len(document["networks"]) != 1:
        yield f"more than one network: {sorted(document['networks'])}"
    for name, item in document["services"].items():
        if item.get("networks") != ["midwatch"] or "network_mode" in item:
            yield f"{name}: not on the one network"


def variables(document):
    """What our processes are given is documented, and what they read is given."""
    known = known_variables()
    for name, item in compose.ours(document).items():
        given = set(item.get("environment", {}))
        for variable in sorted(given - known):
            yield f"{name}: {variable} is not in .env.example"
        read = set()
        for folder in FOLDERS.get(name, [f"services/{name}/src"]):
            path = ROOT / folder
            for file in [path] if path.is_file() else sorted(path.rglob("*.rs")):
                code = file.read_text().split("#[cfg(test)]")[0]
                read.update(a or b for a, b in READS.findall(code))
        for variable in sorted(read - given - set(LEFT_OUT)):
            yield f"{name}: reads {variable}, which compose does not give it"


def asked_variables(document):
    """What the file asks the environment for is documented, and has a default."""
    known = known_variables()
    for name, default in document["asked"]:
        if name not in known:
            yield f"${{{name}}} is not in .env.example"
        if default is None:
            yield f"${{{name}}} has no default"


def secrets(document):
    """No secret stands in the file: what is one comes from the environment."""
    for name, item in document["raw"]["services"].items():
        for variable, value in item.get("environment", {}).items():
            literal = re.sub(r"\$\{[^}]*\}", "", str(value or ""))
            if SECRET.search(variable) and literal or re.search(r"//[^/@]*:[^/@]+@", literal):
                yield f"{name}: {variable} holds a secret"


def dependencies(document):
    """What others wait for can come to pass."""
    services = document["services"]
    for name, item in services.items():
        for other, wish in item.get("depends_on", {}).items():
            target = services.get(other)
            if target is None:
                yield f"{name}: depends on {other}, which does not exist"
            elif wish["condition"] == "service_healthy" and "test" not in target.get("healthcheck", {}):
                yield f"{name}: waits for the health of {other}, which has no health check"
            elif wish["condition"] == "service_completed_successfully" and target["restart"] != "no":
                yield f"{name}: waits for the end of {other}, which is started again and again"
        for variable, value in item.get("environment", {}).items():
            if not compose.is_ours(item):
                continue
            for host in re.findall(r"(?:^|//|@)([a-z][a-z-]*):\d+", str(value)):
                if host not in services:
                    yield f"{name}: {variable} names {host}, which does not exist"
                elif host not in item.get("depends_on", {}) and host in ("kafka", "postgres"):
                    yield f"{name}: uses {host} and does not wait for it"
    compose.in_order(services, document)


def limits(document):
    """Everything is bounded, started again after a crash, and unprivileged."""
    for name, item in document["services"].items():
        bounds = item.get("deploy", {}).get("resources", {}).get("limits", {})
        if set(bounds) != {"cpus", "memory", "pids"}:
            yield f"{name}: no limits for cpus, memory and pids"
        if item.get("restart") != ("no" if compose.is_one_shot(name, document) else "unless-stopped"):
            yield f"{name}: the restart policy is {item.get('restart')}"
        if item.get("security_opt") != ["no-new-privileges:true"]:
            yield f"{name}: may gain privileges"
        if "privileged" in item or "cap_add" in item:
            yield f"{name}: has privileges"
        if item.get("logging", {}).get("options", {}).get("max-size") is None:
            yield f"{name}: its log has no bound"
        if compose.is_ours(item):
            if not (item.get("read_only") and item.get("init") and item.get("cap_drop") == ["ALL"]):
                yield f"{name}: needs read_only, init and cap_drop: [ALL]"
            if "user" in item:
                yield f"{name}: the user is the image's to say"


def files(document):
    """What is mounted exists, and cannot be written; our programs are in the image."""
    programs = compose.image_programs()
    for name, item in document["services"].items():
        for volume in item.get("volumes", []):
            source, _, target = volume.partition(":")
            if source.startswith("."):
                if not (ROOT / source).exists():
                    yield f"{name}: {source} does not exist"
                if not target.endswith(":ro"):
                    yield f"{name}: {source} could be written"
            elif source not in document["volumes"]:
                yield f"{name}: the volume {source} is not declared"
        if compose.is_ours(item) and item["command"][0] not in programs:
            yield f"{name}: {item['command'][0]} is not in the image"


def prometheus(document):
    """Prometheus scrapes each of our processes where it listens."""
    config = yaml.safe_load((ROOT / "infrastructure/containers/prometheus.yml").read_text())
    scraped = {}
    for job in config["scrape_configs"]:
        for found in job["dns_sd_configs"]:
            scraped.update({name: found["port"] for name in found["names"]})
    for name, port in scraped.items():
        if name not in document["services"]:
            yield f"{name} is scraped and does not exist"
    for name, item in compose.ours(document).items():
        bind = item["environment"].get("HTTP_BIND", "")
        if not compose.is_one_shot(name, document) and bind != f"0.0.0.0:{scraped.get(name)}":
            yield f"{name} listens on {bind or 'nothing'} and is scraped at {scraped.get(name)}"


RULES = [schema, images, health_checks, ports, network, variables, asked_variables, secrets,
         dependencies, limits, files, prometheus]


def put(document, path, value):
    *folders, last = path.split("/")
    for folder in folders:
        document = document[folder]
    document[last] = value


# One change a rule must notice.
BREAKS = {
    schema: ("services/redis/restarts", "always"),
    images: ("services/qdrant/image", "qdrant/qdrant:latest"),
    health_checks: ("services/qdrant/healthcheck/test", ["CMD", "curl", "-f", "http://localhost:6333/readyz"]),
    ports: ("services/postgres/ports", ["5432:5432"]),
    network: ("services/api/networks", ["midwatch", "outside"]),
    variables: ("services/api/environment/TELEMETRY_URL", "x"),
    asked_variables: ("asked", [("UNHEARD_OF", None)] * 9),
    secrets: ("raw/services/detection/environment/OPENAI_API_KEY", "sk-1234"),
    dependencies: ("services/mailpit/healthcheck", {}),
    limits: ("services/detection/deploy", {}),
    files: ("services/detection/command", ["midwatch-detector"]),
    prometheus: ("services/api/environment/HTTP_BIND", "127.0.0.1:9100"),
}


def dockerfile():
    """The Dockerfile is sound, pinned, and ends as a numbered user."""
    # The linter is installed beside this Python; elsewhere it is found on the path.
    beside = pathlib.Path(sys.executable).parent / "hadolint"
    linter = str(beside) if beside.exists() else shutil.which("hadolint")
    done = subprocess.run([linter, "--no-color", str(compose.DOCKERFILE)], capture_output=True, text=True, timeout=60)
    if done.returncode:
        yield done.stdout + done.stderr
    text = compose.DOCKERFILE.read_text().replace("\\\n", " ")
    for line in re.findall(r"^FROM (\S+)", text, re.M):
        if not re.search(r":.*\d", line):
            yield f"{line} names no version"
    users = re.findall(r"^USER (\S+)", text, re.M)
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        yield "the last USER is not a number above 0"
    code = [line for line in text.splitlines() if not line.startswith("#")]
    for line in code[1:]:
        if re.search(r"https?://\w", line):
            yield f"an address is written into it: {line.strip()}"
    for line in re.findall(r"^COPY (?!--from)(.*)", text, re.M):
        for source in line.split()[:-1]:
            if not (ROOT / source).exists():
                yield f"COPY {source}: it does not exist"


def built():
    """What the Dockerfile builds are packages here, and they make what it copies."""
    done = subprocess.run(["cargo", "metadata", "--no-deps", "--offline", "--format-version", "1"],
                          cwd=ROOT, capture_output=True, text=True, timeout=120)
    if done.returncode:
        yield done.stderr
        return
    made = {package["name"]: {target["name"] for target in package["targets"] if "bin" in target["kind"]}
            for package in json.loads(done.stdout)["packages"]}
    packages = re.findall(r" -p (midwatch-[\w-]+)", compose.DOCKERFILE.read_text())
    for name in packages:
        if name not in made:
            yield f"{name} is not a package of the workspace"
    programs = set().union(*(made.get(name, set()) for name in packages))
    for name in sorted(compose.image_programs() - programs):
        yield f"{name} is copied, and no package built makes it"


def promtool():
    """Prometheus itself can read its configuration and the rules."""
    program = shutil.which("promtool")
    if program is None:
        print("  promtool (Debian package prometheus) is not here: its own check of prometheus.yml is left out")
        return
    done = subprocess.run([program, "check", "config", "infrastructure/containers/prometheus.yml"],
                          cwd=ROOT, capture_output=True, text=True, timeout=60)
    if done.returncode:
        yield done.stdout + done.stderr


def document(environment):
    found, asked = compose.load(environment)
    return found | {"asked": asked, "raw": yaml.safe_load(compose.FILE.read_text())}


def main():
    problems = []
    # Once as it stands, once with every variable of the template set.
    example = dict(re.findall(r"^([A-Z][A-Z0-9_]*)=(.*)$", (ROOT / ".env.example").read_text(), re.M))
    for environment in ({}, example):
        found = document(environment)
        for rule in RULES:
            shown = {key: value for key, value in found.items() if rule is not schema or key not in ("asked", "raw")}
            problems += [f"{rule.__name__}: {line}" for line in rule(shown)]
    found = document({})
    for rule in RULES:
        broken = copy.deepcopy(found)
        before = len(list(rule({key: value for key, value in broken.items() if rule is not schema or key not in ("asked", "raw")})))
        put(broken, *BREAKS[rule])
        if rule is schema:
            del broken["asked"], broken["raw"]
        if len(list(rule(broken))) <= before:
            problems.append(f"{rule.__name__}: does not notice {BREAKS[rule][0]} = {BREAKS[rule][1]}")
    for rule in (dockerfile, built, promtool):
        problems += [f"{rule.__name__}: {line}" for line in rule()]
    for line in dict.fromkeys(problems):
        print(f"containers: {line}", file=sys.stderr)
    if problems:
        return 1
    print(f"containers: {len(found['services'])} services, {len(RULES) + 3} rules hold, "
          f"{len(BREAKS)} of them shown to notice a break")
    return 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
