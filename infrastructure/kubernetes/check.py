"""Renders base and overlays with `kubectl kustomize` and checks what
comes out, without a cluster: against Kubernetes' published schemas, KEDA's
fields, and what the manifests promise to each other and to the services.

Each rule is also shown manifests in which just that is broken.
"""

import base64
import copy
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import jsonschema
import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "infrastructure/containers"))
import compose  # noqa: E402  (a neighbour folder, known only after the line above)

CACHE = pathlib.Path(os.environ.get("MIDWATCH_CACHE", ROOT / ".midwatch/cache"))
# The oldest that has all we use, and the newest with a schema.
VERSIONS = ("1.30", "1.37")
AGENTS = ["detection", "correlation", "investigation", "remediation", "communication", "postmortem"]
# Links to pages and endpoints that a cluster may do without.
OPTIONAL = {"LLM_BASE_URL", "TOPICS_URL", "INBOX_URL"}
WORKLOADS = ("Deployment", "StatefulSet", "Job")
LABELS = ("name", "part-of", "component", "managed-by")


def kubectl():
    """A kubectl whose kustomize reads these files (1.27 or newer)."""
    tried = []
    for program in (shutil.which("kubectl"), CACHE / "kubectl/kubectl"):
        if program is None or not pathlib.Path(program).exists():
            continue
        done = subprocess.run([program, "version", "--client"], capture_output=True, text=True, timeout=60)
        version = re.search(r"v1\.(\d+)", done.stdout)
        if version and int(version[1]) >= 27:
            return str(program)
        tried.append(f"{program} is {done.stdout.strip() or done.stderr.strip()}")
    raise SystemExit(f"kubernetes: no kubectl 1.27 or newer; run infrastructure/local/setup.sh test {tried}")


def render(program, folder):
    done = subprocess.run([program, "kustomize", str(HERE / folder)], capture_output=True, text=True, timeout=60)
    if done.returncode or done.stderr.strip():
        raise SystemExit(f"kubernetes: {folder}: {done.stderr}")
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def name_of(item):
    return f"{item['kind']} {item['metadata']['name']}"


def of_kind(items, *kinds):
    return [item for item in items if item["kind"] in kinds]


def pod(item):
    return item["spec"]["template"]["spec"]


def pod_labels(item):
    return item["spec"]["template"]["metadata"]["labels"]


def is_ours(item):
    return pod(item)["containers"][0]["image"].partition(":")[0] == "midwatch"


def ours(items):
    return [item for item in of_kind(items, *WORKLOADS) if is_ours(item)]


def service_name(item):
    return item["metadata"]["labels"]["app.kubernetes.io/name"]


def config(items):
    """The ConfigMap and the Secret that our processes read."""
    found = {}
    for item in of_kind(items, "ConfigMap", "Secret"):
        if item["metadata"]["namespace"] != "midwatch":
            continue
        decode = (lambda text: base64.b64decode(text).decode()) if item["kind"] == "Secret" else str
        found[item["metadata"]["name"]] = {key: decode(value) for key, value in item["data"].items()}
    return found


def environment(item, items):
    """Variables of a workload's first container; None for what is not there."""
    container, sources = pod(item)["containers"][0], config(items)
    found = {}
    for source in container.get("envFrom", []):
        found.update(sources.get(source["configMapRef"]["name"], {"": None}))
    for variable in container.get("env", []):
        value = variable.get("value")
        if "valueFrom" in variable:
            reference = variable["valueFrom"].get("secretKeyRef")
            if reference is None:
                value = "<field>"
            else:
                value = sources.get(reference["name"], {}).get(reference["key"])
                if value is None and reference.get("optional"):
                    value = ""
        found[variable["name"]] = value
    return found


def schemas(items):
    """Everything is what Kubernetes' or KEDA's schema says."""
    keda = json.loads((HERE / "scaled-object.schema.json").read_text())
    for item in items:
        if item["kind"] == "ScaledObject":
            for error in jsonschema.Draft202012Validator(keda).iter_errors(item):
                yield f"{name_of(item)}: {error.json_path}: {error.message}"
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(item, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{name_of(item)} ({version}): {'.'.join(map(str, error.path))}: {error.message[:200]}"


def completeness(items):
    """Every process has what belongs to it."""
    names = {service_name(item) for item in ours(items)}
    wanted = {*AGENTS, "api", "collector", "embedder", "init", "seeder"}
    if not wanted <= names:
        yield f"missing: {sorted(wanted - names)}"
    accounts = {item["metadata"]["name"]: item for item in of_kind(items, "ServiceAccount")}
    budgets = [item["spec"]["selector"]["matchLabels"] for item in of_kind(items, "PodDisruptionBudget")]
    for item in ours(items):
        account = accounts.get(pod(item).get("serviceAccountName"))
        if account is None or account.get("automountServiceAccountToken") is not False:
            yield f"{name_of(item)}: no account of its own without a token"
        if item["kind"] == "Deployment":
            own = [budget for budget in budgets if budget.items() <= pod_labels(item).items()]
            if len(own) != 1:
                yield f"{name_of(item)}: {len(own)} disruption budgets"
            if item["spec"]["selector"]["matchLabels"].get("app.kubernetes.io/name") != service_name(item):
                yield f"{name_of(item)}: its selector fits others"
            spread, = pod(item)["topologySpreadConstraints"]
            if spread["labelSelector"]["matchLabels"].get("app.kubernetes.io/name") != service_name(item):
                yield f"{name_of(item)}: is spread among others"


def hardening(items):
    """No process has rights or room that it does not need."""
    for item in of_kind(items, *WORKLOADS):
        spec = pod(item)
        # Only what acts on the cluster talks to it, under an account with rights of its own.
        acts = is_ours(item) and service_name(item) == "remediation" and of_kind(items, "RoleBinding")
        if spec.get("automountServiceAccountToken") is not bool(acts):
            yield f"{name_of(item)}: a token is mounted, or missing"
        for container in spec["containers"]:
            bounds = container.get("resources", {})
            if not (bounds.get("requests", {}).keys() >= {"cpu", "memory"} and "memory" in bounds.get("limits", {})):
                yield f"{name_of(item)}: no requests or limits"
            if not re.search(r":v?\d+\.\d+", container["image"]):
                yield f"{name_of(item)}: {container['image']} names no version"
            if not is_ours(item):
                continue
            whole, own = spec.get("securityContext", {}), container.get("securityContext", {})
            if not (whole.get("runAsNonRoot") and whole.get("runAsUser", 0) > 0
                    and whole.get("seccompProfile") == {"type": "RuntimeDefault"}
                    and own.get("readOnlyRootFilesystem") and own.get("allowPrivilegeEscalation") is False
                    and own.get("capabilities") == {"drop": ["ALL"]}):
                yield f"{name_of(item)}: not confined"


def labels(items):
    """Whoever lists things finds out what they are."""
    for item in of_kind(items, *WORKLOADS):
        for place in (item["metadata"]["labels"], pod_labels(item)):
            missing = [label for label in LABELS if f"app.kubernetes.io/{label}" not in place]
            if missing:
                yield f"{name_of(item)}: no label {missing}"


def probes(items):
    """Probes ask real endpoints at the port that the process listens on."""
    for item in of_kind(ours(items), "Deployment"):
        container = pod(item)["containers"][0]
        numbers = {port["name"]: port["containerPort"] for port in container["ports"]}
        bind = environment(item, items).get("HTTP_BIND")
        if bind != f"0.0.0.0:{numbers.get('health')}":
            yield f"{name_of(item)}: HTTP_BIND is {bind}, the port health is {numbers.get('health')}"
        for probe, path in (("startupProbe", "/healthz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
            found = container.get(probe, {}).get("httpGet")
            if found != {"path": path, "port": "health"}:
                yield f"{name_of(item)}: {probe} asks {found}"
        for service in of_kind(items, "Service"):
            selector = service["spec"]["selector"]
            if service["metadata"]["namespace"] == "midwatch" and selector.items() <= pod_labels(item).items():
                for port in service["spec"]["ports"]:
                    if numbers.get(port["targetPort"]) != port["port"]:
                        yield f"{name_of(service)}: {port} is not a port of {name_of(item)}"


def programs(items):
    """The commands are programs of the image, the variables are documented and there."""
    known = {found[1] for line in (ROOT / ".env.example").read_text().splitlines()
             if (found := re.match(r"#?([A-Z][A-Z0-9_]+)=", line))}
    document, _ = compose.load({})
    for item in ours(items):
        container, name = pod(item)["containers"][0], service_name(item)
        if container.get("command") != [f"midwatch-{name}"] or container["command"][0] not in compose.image_programs():
            yield f"{name_of(item)}: runs {container.get('command')}"
        given = environment(item, items)
        for variable, value in given.items():
            if value is None:
                yield f"{name_of(item)}: {variable or 'its configuration'} comes from something that is not there"
            elif variable not in known:
                yield f"{name_of(item)}: {variable} is not in .env.example"
        # What compose must say for this process to find its servers, a cluster must, too.
        for variable, value in document["services"][name]["environment"].items():
            if variable.endswith(("_URL", "_SERVERS")) and variable not in OPTIONAL and value and not given.get(variable):
                yield f"{name_of(item)}: {variable} is not given"


def slots(items):
    """Replicas of one agent have slots of their own."""
    for item in of_kind(ours(items), "Deployment"):
        variables = {one["name"]: one for one in pod(item)["containers"][0]["env"]}
        field = variables.get("MIDWATCH_SLOT", {}).get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        if field != "metadata.name":
            yield f"{name_of(item)}: its replicas would share a slot"


def matches(selector, target):
    return all(target.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def allowed(policies, direction, here, there, port, numbers):
    """Whether a policy of `here` lets it reach (Egress) or be reached by `there`.
    Both are (namespace, labels)."""
    key = {"Egress": "to", "Ingress": "from"}[direction]
    for policy in policies:
        spec = policy["spec"]
        if policy["metadata"]["namespace"] != here[0] or not matches(spec["podSelector"], here[1]):
            continue
        for rule in spec.get(direction.lower(), []):
            if port not in [numbers.get(one["port"], one["port"]) for one in rule["ports"]]:
                continue
            for peer in rule[key]:
                if "ipBlock" in peer:
                    continue
                space = {"kubernetes.io/metadata.name": there[0]}
                right_space = matches(peer["namespaceSelector"], space) if "namespaceSelector" in peer else there[0] == here[0]
                if right_space and matches(peer.get("podSelector", {}), there[1]):
                    return True
    return False


def network(items):
    """All is denied, except the connections that the configuration names."""
    policies = of_kind(items, "NetworkPolicy")
    spaces = {item["metadata"]["namespace"] for item in of_kind(items, *WORKLOADS)}
    for space in spaces:
        closed = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        if not any(item["spec"] == closed and item["metadata"]["namespace"] == space for item in policies):
            yield f"{space}: nothing denies what is not allowed"
    reached = set()
    for item in ours(items):
        here = ("midwatch", pod_labels(item))
        for variable, value in environment(item, items).items():
            address = re.search(r"(?:^|//|@)([a-z][\w.-]*):(\d+)", value or "")
            if not address or variable == "DASHBOARD_URL":
                continue
            host, port = address[1].split("."), int(address[2])
            there = (host[1] if len(host) > 1 else "midwatch", {"app.kubernetes.io/name": host[0].removeprefix("midwatch-")})
            need = {"KAFKA_BOOTSTRAP_SERVERS": "kafka", "QDRANT_URL": "qdrant", "EMBEDDINGS_URL": "embedder",
                    "DATABASE_URL": "postgres", "REDIS_URL": "redis", "SMTP_URL": "mail"}[variable]
            # The shared configuration names servers that not every process uses.
            document, _ = compose.load({})
            wanted = variable in document["services"][service_name(item)]["environment"]
            open_ = allowed(policies, "Egress", here, there, port, {})
            if wanted != open_ or wanted != (here[1].get(f"midwatch/uses-{need}") == "true"):
                yield f"{name_of(item)}: {variable} is {'' if wanted else 'not '}used, and {'' if open_ else 'not '}allowed"
            if not wanted:
                continue
            reached.add(there[0])
            # Where the other end is here, it must let us in and answer there.
            for other in of_kind(items, *WORKLOADS):
                if other["metadata"]["namespace"] != there[0] or pod_labels(other).get("app.kubernetes.io/name") != there[1]["app.kubernetes.io/name"]:
                    continue
                numbers = {one["name"]: one["containerPort"] for one in pod(other)["containers"][0]["ports"]}
                if not allowed(policies, "Ingress", (there[0], pod_labels(other)), here, port, numbers):
                    yield f"{name_of(other)} does not let {name_of(item)} in on {port}"
                if port not in numbers.values():
                    yield f"{name_of(other)} does not listen on {port}"
    if not reached:
        yield "no connection was found to check"


def consumers():
    """Topics of each agent, from the reference in DESIGN.md (a test holds it
    and the code together)."""
    text = (ROOT / "DESIGN.md").read_text()
    found = {}
    for topic, readers in re.findall(r"^\| `([a-z.-]+)` \|[^|]*\|[^|]*\| [^|]*→ ([^|]*) \|", text, re.M):
        for reader in readers.split(", "):
            found.setdefault(reader.strip(), set()).add(topic)
    return found


def scaling(items):
    """What scales does so by its own groups and topics, up to their partitions."""
    scaled = of_kind(items, "ScaledObject")
    by_cpu = of_kind(items, "HorizontalPodAutoscaler")
    deployments = {item["metadata"]["name"]: item for item in of_kind(items, "Deployment")}
    if not scaled and not by_cpu:
        # The laptop has neither KEDA nor a metrics server.
        return
    shared = next(value for name, value in config(items).items() if name.startswith("midwatch-config"))
    if shared.get("KAFKA_TOPIC_PREFIX"):
        yield "with KAFKA_TOPIC_PREFIX, the groups and topics have other names"
    partitions = int(shared["KAFKA_PARTITIONS"])
    topics = consumers()
    for item in scaled:
        agent = service_name(item)
        target = deployments.get(item["spec"]["scaleTargetRef"]["name"])
        if target is None or service_name(target) != agent:
            yield f"{name_of(item)}: scales another"
            continue
        triggers = [one["metadata"] for one in item["spec"]["triggers"]]
        if {one["consumerGroup"] for one in triggers} != {f"midwatch.{agent}"}:
            yield f"{name_of(item)}: another consumer group"
        if {one["topic"] for one in triggers} != topics[agent]:
            yield f"{name_of(item)}: {sorted(one['topic'] for one in triggers)}, but it reads {sorted(topics[agent])}"
        if any(one.get("bootstrapServersFromEnv") not in environment(target, items) for one in triggers):
            yield f"{name_of(item)}: no broker"
    for item in by_cpu:
        if service_name(item) != "detection" or item["spec"]["scaleTargetRef"]["name"] not in deployments:
            yield f"{name_of(item)}: only detection is bound by CPU"
    names = sorted(service_name(item) for item in [*scaled, *by_cpu])
    if names != sorted(set(AGENTS) - {"correlation"}):
        yield f"scaled are {names}"
    for item in scaled:
        if item["spec"]["maxReplicaCount"] != partitions:
            yield f"{name_of(item)}: up to {item['spec']['maxReplicaCount']} for {partitions} partitions"
    for item in by_cpu:
        if item["spec"]["maxReplicas"] != partitions:
            yield f"{name_of(item)}: up to {item['spec']['maxReplicas']} for {partitions} partitions"
    for item in of_kind(ours(items), "Deployment"):
        if service_name(item) in names and "replicas" in item["spec"]:
            yield f"{name_of(item)}: an apply would undo what the autoscaler did"


def secrets(items):
    """Only examples stand in here, and what they open is opened by them."""
    for item in of_kind(items, "Secret"):
        for key, value in item["data"].items():
            text = base64.b64decode(value).decode()
            word = re.search(r"://[^:/@]*:([^@]*)@", text)
            if key.endswith("PASSWORD") and text != "change-me" or word and word[1] != "change-me":
                yield f"{name_of(item)}: {key} is no example value"
            if key.endswith("_KEY"):
                yield f"{name_of(item)}: {key} has no business here"


def needed():
    """Rights of the executor, on workloads and on nodes, as sets of group,
    resource and verb: a test holds rights.json to what it asks of a cluster."""
    table = json.loads((HERE / "acting/rights.json").read_text())
    found = {"workloads": set(), "nodes": set()}
    for action, rights in table.items():
        of_nodes = any(right["scope"] == "cluster" for right in rights)
        for right in rights:
            for verb in right["verbs"]:
                found["nodes" if of_nodes else "workloads"].add((right["group"], right["resource"], verb))
    return found


def granted(role):
    if any(rule.keys() != {"apiGroups", "resources", "verbs"} for rule in role["rules"]):
        return None
    return {(group, resource, verb) for rule in role["rules"] for group in rule["apiGroups"]
            for resource in rule["resources"] for verb in rule["verbs"]}


def rights(items):
    """Who acts has the rights that the executor uses, and nobody has others."""
    expected = {("Role", "midwatch-acting"): "workloads", ("ClusterRole", "midwatch-acting-nodes"): "nodes"}
    account = {"kind": "ServiceAccount", "name": "midwatch-remediation", "namespace": "midwatch"}
    roles = of_kind(items, "Role", "ClusterRole")
    for role in roles:
        metadata = role["metadata"]
        part = expected.get((role["kind"], metadata["name"]))
        if part is None:
            yield f"{name_of(role)}: grants rights that nothing here uses"
            continue
        has, needs = granted(role), needed()[part]
        if has is None or has != needs:
            yield f"{name_of(role)}: too many {sorted((has or set()) - needs)}, too few {sorted(needs - (has or set()))}"
        if role["kind"] == "Role":
            for name, values in config(items).items():
                if values.get("K8S_NAMESPACE", metadata["namespace"]) != metadata["namespace"]:
                    yield f"{name_of(role)}: is for another namespace than {name} names"
    for binding in of_kind(items, "RoleBinding", "ClusterRoleBinding"):
        metadata, role = binding["metadata"], binding["roleRef"]
        if (role["kind"], role["name"]) not in [(one["kind"], one["metadata"]["name"]) for one in roles
                                                if one["metadata"].get("namespace") == metadata.get("namespace")]:
            yield f"{name_of(binding)}: binds {role['kind']} {role['name']}, which is not there"
        if binding["subjects"] != [account]:
            yield f"{name_of(binding)}: is for {binding['subjects']}"
    bound = len(of_kind(items, "RoleBinding", "ClusterRoleBinding"))
    if bound != len(roles):
        yield f"{len(roles)} roles and {bound} bindings"
    if roles and not any(item["metadata"]["name"] == account["name"] for item in of_kind(items, "ServiceAccount")):
        yield f"there is no account {account['name']}"
    for item in of_kind(ours(items), "Deployment"):
        acts = roles and service_name(item) == "remediation"
        if environment(item, items).get("REMEDIATION_KUBECONFIG", "") != ("infer" if acts else ""):
            yield f"{name_of(item)}: has rights that it does not use, or uses what it has not"
        if acts and environment(item, items).get("REMEDIATION_MODE") != "dry-run":
            yield f"{name_of(item)}: would carry out what nobody switched on"


RULES = [schemas, completeness, hardening, labels, probes, programs, slots, network, scaling, secrets, rights]


def find(items, kind, name):
    return next(item for item in items if item["kind"] == kind and item["metadata"]["name"].startswith(name))


def container(items, name):
    return pod(find(items, "Deployment", f"midwatch-{name}"))["containers"][0]


# A change a rule must notice, in the base.
BREAKS = {
    schemas: lambda items: find(items, "ScaledObject", "midwatch-inv")["spec"].update(maxReplicas=3),
    completeness: lambda items: items.remove(find(items, "PodDisruptionBudget", "midwatch-api")),
    hardening: lambda items: container(items, "api")["securityContext"].update(readOnlyRootFilesystem=False),
    labels: lambda items: pod_labels(find(items, "Deployment", "midwatch-api")).pop("app.kubernetes.io/component"),
    probes: lambda items: container(items, "embedder")["ports"][0].update(containerPort=9100),
    programs: lambda items: container(items, "api").update(command=["midwatch-web"]),
    slots: lambda items: container(items, "detection")["env"].pop(0),
    network: lambda items: items.remove(find(items, "NetworkPolicy", "to-redis")),
    scaling: lambda items: find(items, "ScaledObject", "midwatch-post")["spec"]["triggers"].pop(),
    secrets: lambda items: find(items, "Secret", "midwatch-secrets")["data"].update(OPENAI_API_KEY="eA=="),
}


def change_rights(kind, change):
    return lambda items: change(of_kind(items, kind)[0])


# The same for the rights, in the overlay that has them.
RIGHTS_BREAKS = [
    change_rights("Role", lambda role: role["rules"][0]["verbs"].append("delete")),
    change_rights("Role", lambda role: role["rules"][0]["verbs"].remove("patch")),
    change_rights("Role", lambda role: role["rules"].append({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]})),
    change_rights("Role", lambda role: role["metadata"].update(namespace="kube-system")),
    change_rights("ClusterRole", lambda role: role["rules"].pop()),
    change_rights("ClusterRole", lambda role: role["metadata"].update(name="cluster-admin")),
    change_rights("RoleBinding", lambda binding: binding["subjects"][0].update(name="midwatch-api")),
    change_rights("ClusterRoleBinding", lambda binding: binding["roleRef"].update(name="cluster-admin")),
    lambda items: items.remove(of_kind(items, "ClusterRoleBinding")[0]),
    lambda items: [items.remove(role) for role in of_kind(items, "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")],
]


def main():
    program, problems, count = kubectl(), [], 0
    folders = {"base": RULES, "overlays/laptop": RULES, "overlays/acting": RULES, "overlays/acted-on": [schemas, rights]}
    rendered = {folder: render(program, folder) for folder in folders}
    for folder, rules in folders.items():
        count += len(rendered[folder])
        for rule in rules:
            problems += [f"{folder}: {rule.__name__}: {line}" for line in rule(rendered[folder])]
    breaks = [(rule, "base", change) for rule, change in BREAKS.items()]
    breaks += [(rights, "overlays/acting", change) for change in RIGHTS_BREAKS]
    for rule, folder, change in breaks:
        broken = copy.deepcopy(rendered[folder])
        change(broken)
        if len(list(rule(broken))) <= len(list(rule(rendered[folder]))):
            problems.append(f"{rule.__name__}: does not notice what it is for")
    if of_kind(rendered["base"], "Role", "ClusterRole"):
        problems.append("base: acting is for whoever asks for it")
    for line in dict.fromkeys(problems):
        print(f"kubernetes: {line}", file=sys.stderr)
    if problems:
        return 1
    print(f"kubernetes: {count} objects of base and overlays, {len(RULES)} rules hold, each shown to notice a break")
    return 0


if __name__ == "__main__":
    sys.exit(main())
