"""Starts each of our services from exactly the environment and command that
docker-compose.yml gives it, against real servers of the local stack, waits
until compose's own health check finds it well, and stops it.

    run_services.py            as ordinary user or root; needs the built
                               binaries and what setup.sh brings

The names of the compose network resolve as they do there: everything happens
in a private network and mount namespace with an /etc/hosts of its own, and the
servers answer on their usual ports. Where namespaces are forbidden, addresses
are replaced by those of the servers instead; which of the two was done is
printed.

Two tables say how this differs from a container: PATHS and SERVERS.
"""

import contextlib
import ctypes
import fcntl
import http.server
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import compose

ROOT = compose.ROOT
CACHE = pathlib.Path(os.environ.get("MIDWATCH_CACHE", ROOT / ".midwatch/cache"))
BINARIES = ROOT / "target/debug"
STACK = BINARIES / "midwatch-stack"

# Folders of the image, and what stands for them here.
PATHS = {"/opt/midwatch/knowledge": ROOT / "knowledge", "/opt/midwatch/model": CACHE / "model"}
# Addresses in the compose network, and the variable with the real one's.
SERVERS = {
    ("kafka", 9092): "MIDWATCH_TEST_KAFKA",
    ("postgres", 5432): "MIDWATCH_TEST_DATABASE_URL",
    ("redis", 6379): "MIDWATCH_TEST_REDIS_URL",
    ("qdrant", 6334): "MIDWATCH_TEST_QDRANT_URL",
    ("mailpit", 1025): "MIDWATCH_TEST_SMTP_URL",
}
# A process waits a minute for what it depends on; a busy machine takes longer.
READY_LIMIT_S = 90
# Libraries that only people who build the project need are not set here.
PATH = f"{BINARIES}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def say(text):
    print(f"compose services: {text}", flush=True)


def namespace_command():
    """What starts a command in namespaces of its own, or None."""
    base = ["unshare", "--net", "--mount", "--propagation", "private"]
    if os.geteuid() != 0:
        base += ["--user", "--map-current-user", "--keep-caps"]
    trial = [*base, "--", sys.executable, __file__, "trial", namespaces()]
    try:
        done = subprocess.run(trial, capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return base if done.returncode == 0 else None


def namespaces():
    return ",".join(os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "mnt"))


def furnish(names, outside):
    """Raises the loopback interface and lays an /etc/hosts with `names`.
    `outside` are the machine's own namespaces, which are to stay as they are."""
    if set(namespaces().split(",")) & set(outside.split(",")):
        raise RuntimeError("this step belongs into namespaces of its own")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        flags = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(handle, 0x8914, flags)  # SIOCSIFFLAGS
        # A container has an address of its own. Without one, the C library
        # (AI_ADDRCONFIG) resolves no name to IPv4 for librdkafka.
        own = struct.pack("16sHH4s8x", b"lo:0", socket.AF_INET, 0, socket.inet_aton("172.31.255.1"))
        fcntl.ioctl(handle, 0x8916, own)  # SIOCSIFADDR
    # Java asks for the name of its machine and waits long where nobody answers.
    names = [*names, socket.gethostname()]
    with tempfile.NamedTemporaryFile("w", prefix="midwatch-hosts-") as hosts:
        os.chmod(hosts.name, 0o644)
        hosts.write("127.0.0.1 localhost\n" + "".join(f"127.0.0.1 {name}\n" for name in names))
        hosts.flush()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(hosts.name.encode(), b"/etc/hosts", None, 4096, None):  # MS_BIND
            raise OSError(ctypes.get_errno(), "cannot lay an /etc/hosts")
        # The mount keeps the file; its name in the temporary folder goes.
    assert all(socket.gethostbyname(name) == "127.0.0.1" for name in names)


def pump(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def forward(port, target):
    """Serves 127.0.0.1:`port` from `target`. Brokers answer with an address of
    their own, which is why this stands only at the first connection of some."""
    listener = socket.create_server(("127.0.0.1", port))

    def accept():
        while True:
            client, _ = listener.accept()
            try:
                server = socket.create_connection(target, timeout=5)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            for ends in ((client, server), (server, client)):
                threading.Thread(target=pump, args=ends, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def address_of(url):
    parts = urllib.parse.urlsplit(url if "//" in url else f"//{url}")
    return parts.hostname, parts.port


def prepare_database(url, document):
    """The user and the database that the PostgreSQL image makes at first start."""
    settings = document["services"]["postgres"]["environment"]
    folders = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    psql = next((str(folder / "psql") for folder in folders if (folder / "psql").exists()), shutil.which("psql"))
    statements = [
        f"CREATE ROLE {settings['POSTGRES_USER']} SUPERUSER LOGIN PASSWORD '{settings['POSTGRES_PASSWORD']}'",
        f"CREATE DATABASE {settings['POSTGRES_DB']} OWNER {settings['POSTGRES_USER']}",
    ]
    for statement in statements:
        subprocess.run([psql, url, "-qc", statement], check=True, timeout=30)


class Address:
    """How names and ports of the compose network become reachable here."""

    def __init__(self, private):
        self.private = private
        self.replaced = {}
        self.lock = set()

    def place(self, name, port, target):
        if self.private:
            forward(port, target)
        else:
            self.replaced[f"{name}:{port}"] = "{}:{}".format(*target)

    def own(self, name, port):
        """An address that one of our processes listens on."""
        if self.private:
            return
        with socket.create_server(("127.0.0.1", 0)) as free:
            number = free.getsockname()[1]
        for host in (name, "0.0.0.0", "127.0.0.1"):
            self.replaced[f"{host}:{port}"] = f"127.0.0.1:{number}"

    def text(self, value):
        for old, new in self.replaced.items():
            value = value.replace(old, new)
        for old, new in PATHS.items():
            value = value.replace(old, str(new))
        return value


class Service:
    """One of our services, started as compose would."""

    def __init__(self, name, item, address, folder):
        self.name, self.item, self.address = name, item, address
        for variable, value in item["environment"].items():
            if variable.endswith("_BIND") and ":" in value:
                address.own(name, int(value.rpartition(":")[2]))
        environment = {"PATH": PATH, **compose.image_environment(), **item["environment"]}
        environment = {key: address.text(str(value)) for key, value in environment.items()}
        self.environment = environment
        self.log = pathlib.Path(folder) / f"{name}.log"
        program, *arguments = item["command"]
        with open(self.log, "wb") as sink:
            self.process = subprocess.Popen(
                [BINARIES / program, *arguments], env=environment, cwd=folder, stdin=subprocess.DEVNULL,
                stdout=sink, stderr=sink, start_new_session=True)

    def failed(self, why):
        tail = self.log.read_text(errors="replace").splitlines()[-15:]
        return RuntimeError("\n  ".join([f"{self.name} {why}; its last lines:", *tail]))

    def probe(self, command):
        program, *arguments = [self.address.text(word) for word in command]
        done = subprocess.run([program, *arguments], env={"PATH": PATH}, timeout=10, capture_output=True, text=True)
        return done.returncode, done.stderr.strip()

    def wait_healthy(self):
        """Until compose's health check succeeds."""
        how, *command = self.item["healthcheck"]["test"]
        if how != "CMD":
            raise RuntimeError(f"{self.name}: the health check is not of the form [CMD, ...]")
        deadline = time.monotonic() + READY_LIMIT_S
        said = ""
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise self.failed(f"ended with {self.process.returncode}")
            code, said = self.probe(command)
            if code == 0:
                return
            time.sleep(0.2)
        raise self.failed(f"was not healthy after {READY_LIMIT_S} s ({said})")

    def wait_end(self):
        try:
            code = self.process.wait(READY_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise self.failed(f"did not end within {READY_LIMIT_S} s") from None
        if code:
            raise self.failed(f"ended with {code}")

    def stop(self):
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        limit = compose.seconds(self.item["stop_grace_period"])
        try:
            code = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise self.failed(f"did not stop within {limit:.0f} s") from None
        if code:
            raise self.failed(f"ended with {code} after SIGTERM")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


def check_page(service, port):
    """A published port serves a page."""
    code, said = service.probe(["midwatch-probe", f"http://127.0.0.1:{port}/"])
    if code:
        raise service.failed(f"serves no page on {port} ({said})")


def check_servers(document):
    """The health checks of servers whose programs are on this machine."""
    checked = []
    known = {"postgres": "pg_isready", "redis": "redis-cli"}
    for name, program in known.items():
        folders = [str(folder) for folder in pathlib.Path("/usr/lib/postgresql").glob("*/bin")]
        path = os.pathsep.join([*folders, PATH])
        if shutil.which(program, path=path) is None:
            continue
        command = document["services"][name]["healthcheck"]["test"][1:]
        done = subprocess.run(command, env={"PATH": path}, timeout=15, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{name}: {command} fails: {done.stdout}{done.stderr}")
        checked.append(name)
    check_qdrant(document)
    return [*checked, "qdrant"]


def check_qdrant(document):
    """Qdrant's health check believes /readyz, and nothing but a 200."""
    status = [200]

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status[0] if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 6333), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = document["services"]["qdrant"]["healthcheck"]["test"][1:]
        for status[0], wanted in ((200, True), (503, False)):
            code = subprocess.run(command, env={"PATH": PATH}, timeout=10, capture_output=True).returncode
            if (code == 0) != wanted:
                raise RuntimeError(f"qdrant: the health check ends with {code} where /readyz answers {status[0]}")
        server.shutdown()
    code = subprocess.run(command, env={"PATH": PATH}, timeout=10, capture_output=True).returncode
    if code == 0:
        raise RuntimeError("qdrant: the health check succeeds where nothing listens")


def run(private):
    """Everything, with the servers running."""
    # Only the stack's own variables are looked at: what the user's shell or
    # `.env` sets must not make the file look better than it is.
    document, _ = compose.load({})
    address = Address(private)
    for (name, port), variable in SERVERS.items():
        url = os.environ.get(variable) or (os.environ.get("MIDWATCH_TEST_TANSU") if name == "kafka" else None)
        if not url:
            raise RuntimeError(f"{variable} is not set")
        address.place(name, port, address_of(url))
    prepare_database(os.environ["MIDWATCH_TEST_DATABASE_URL"], document)
    broker = "Apache Kafka" if os.environ.get("MIDWATCH_TEST_KAFKA") else "the fallback broker"
    checked = check_servers(document) if private else []
    if checked:
        say(f"health checks of {', '.join(checked)} hold")
    own = compose.ours(document)
    started = []
    with tempfile.TemporaryDirectory(prefix="midwatch-compose-") as folder:
        try:
            for name in compose.in_order(own, document):
                begun = time.monotonic()
                service = Service(name, own[name], address, folder)
                started.append(service)
                if compose.is_one_shot(name, document):
                    service.wait_end()
                    say(f"{name} done in {time.monotonic() - begun:.1f} s")
                    continue
                service.wait_healthy()
                took = time.monotonic() - begun
                for port in own[name].get("ports", []):
                    check_page(service, int(str(port).rpartition(":")[2]))
                # Others need the embedder; the rest share one port.
                if name != "embedder":
                    service.stop()
                say(f"{name} healthy after {took:.1f} s")
            for service in started:
                service.stop()
        finally:
            for service in started:
                service.kill()
    say(f"all {len(own)} services of docker-compose.yml run, on {broker}; nothing failed")


def main():
    step = sys.argv[1] if len(sys.argv) > 1 else "start"
    names = list(compose.load({})[0]["services"])
    if step in ("trial", "private"):
        furnish(names, outside=sys.argv[2])
    if step == "trial":
        return 0
    if step in ("private", "replaced"):
        servers = "kafka,tansu" if (CACHE / "tansu").is_dir() and not (CACHE / "kafka").is_dir() else "kafka"
        inner = [str(STACK), "exec", "--with", f"{servers},postgres,redis,vectors,mail", "--",
                 sys.executable, __file__, f"with-servers-{step}"]
        return subprocess.run(inner, cwd=ROOT).returncode
    if step.startswith("with-servers-"):
        run(private=step.endswith("private"))
        return 0
    prefix = namespace_command()
    if prefix is None:
        say("namespaces are not permitted here: addresses are replaced by those of the servers")
        command = [sys.executable, __file__, "replaced"]
    else:
        say("in a private network, with the host names and ports of the compose network")
        command = [*prefix, "--", sys.executable, __file__, "private", namespaces()]
    return subprocess.run(command, cwd=ROOT).returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        print(f"compose services: {error}", file=sys.stderr)
        sys.exit(1)
