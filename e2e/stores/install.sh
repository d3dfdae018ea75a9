#!/usr/bin/env bash
# Installs the servers that are tested with, each once for all that goes into it.
#
#   install.sh [SERVER…]                 prints a line for the shell that says where each lies
#   install.sh [SERVER…] -- COMMAND…     runs a command that is told where each lies
#
# Without names it is every server. What is installed lies below ~/.cache/berth/tools; an interrupted installation leaves
# nothing half.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/berth
servers=(versitygw fake-gcs-server azurite swift moto docker-registry keycloak)

# For each server: what goes into it, and how it is installed into the current directory.

inputs_versitygw() { go_inputs versitygw; }
install_versitygw() { go_program versitygw github.com/versity/versitygw/cmd/versitygw "-X main.Version=v1.8.0"; }

inputs_fake_gcs_server() { go_inputs fake-gcs-server; }
install_fake_gcs_server() { go_program fake-gcs-server github.com/fsouza/fake-gcs-server; }

inputs_azurite() { cat "$here"/../tools/azurite/package{,-lock}.json; }
install_azurite() {
  cp "$here"/../tools/azurite/package{,-lock}.json .
  # The packages only unpack: none of them runs a program of its own here.
  npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund --loglevel=error
}

# What is compiled is of one version of Python.
inputs_moto() { cat "$here/../tools/moto/requirements.txt"; python3 --version; }
install_moto() {
  python3 -m pip install --quiet --root-user-action ignore --disable-pip-version-check --no-deps --only-binary :all: \
    --target . --requirement "$here/../tools/moto/requirements.txt"
}

# Swift is not installed but unpacked, with the Python modules that it stands on and the libraries that Python itself
# does not bring.
inputs_swift() { cat /etc/debian_version; declare -f packages_of_swift; }
install_swift() {
  local packages
  take_turns_with_apt
  packages=$(packages_of_swift) || { apt-get update -qq; packages=$(packages_of_swift); }
  # They are several words. A user of apt's own, who would download for root, may not write here.
  local download="apt-get download -qq -o APT::Sandbox::User=root $packages"
  $download || { apt-get update -qq; $download; }
  for package in *.deb; do dpkg-deb --extract "$package" .; done
  rm -- *.deb
  PYTHONPATH=$PWD/usr/lib/python3/dist-packages /usr/bin/python3 -m compileall -q usr/lib/python3/dist-packages
}
packages_of_swift() {
  apt-cache depends --recurse --no-pre-depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
    --no-enhances python3-swift | grep -x 'python3-[a-z0-9.-]*' | sort -u &&
    echo swift swift-{proxy,account,container,object} memcached libevent-2.1-7 libsasl2-2 liberasurecode1 libyaml-0-2
}

# Not a store, but what takes turns with us on one.
inputs_docker_registry() { cat /etc/debian_version; }
install_docker_registry() {
  take_turns_with_apt
  local download="apt-get download -qq -o APT::Sandbox::User=root docker-registry"
  $download || { apt-get update -qq; $download; }
  dpkg-deb --extract ./*.deb .
  rm -- *.deb
}

# Keycloak is built for its kind of database and then started twice, so that a server need not do again what is the same
# for all: the first time leaves the database that each begins with, the second one the classes as Java has them in memory,
# which are of one build of Java.
inputs_keycloak() { cat "$here"/../tools/keycloak/*; declare -f home_of_keycloak; java -version 2>&1; }
install_keycloak() {
  local process url
  cp "$here"/../tools/keycloak/* .
  # It fetches into a directory that goes away: what is there is large, and unpacked beside it.
  mvn --batch-mode --quiet -Dmaven.repo.local="$PWD/maven" dependency:unpack
  sha256sum --quiet --check sha256sums
  mv target/dependency/keycloak-*/{lib,providers} .
  java @java.args build --db=dev-file

  home_of_keycloak first
  (cd first && java @../java.args export --optimized --realm master --file /dev/null --log-level=warn)
  mv first/data/h2/keycloakdb.mv.db .

  home_of_keycloak second
  mkdir -p second/data/{h2,import}
  cp keycloakdb.mv.db second/data/h2
  cp rehearsal.json second/data/import
  cd second
  # Of the classes that cannot be kept, which are thousands, it says each.
  java -XX:ArchiveClassesAtExit=../classes.jsa -Xlog:cds=off @../java.args start --optimized --cache=local --import-realm \
    --http-enabled=true --hostname-strict=false --http-host=127.0.0.1 --http-port=0 >log 2>&1 &
  process=$!
  # Nobody else ends it when something fails here.
  trap "kill $process" EXIT
  until url=$(grep -o 'http://127[0-9.:]*' log); do
    kill -0 "$process" || { cat log; return 1; }
    sleep 0.1
  done
  curl --silent --show-error --fail --output /dev/null "$url/realms/rehearsal/protocol/openid-connect/token" \
    --data grant_type=password --data client_id=client --data username=user --data password=password --data scope=openid
  trap - EXIT
  kill "$process"
  # Who is ended by a signal fails with it; what counts is what that one has left.
  wait "$process" || test -f ../classes.jsa
  cd ..
  rm -r maven target providers first second pom.xml sha256sums rehearsal.json
}
# Where one server writes.
home_of_keycloak() { # DIRECTORY
  mkdir -p "$1/providers"
  ln -s ../lib "$1/lib"
}

# A second apt fails at once instead of waiting. The lock, which the end-to-end tests take as well, ends with the subshell
# that the installation runs in.
take_turns_with_apt() {
  local apt
  exec {apt}>"$cache/locks/apt.lock"
  flock "$apt"
}

go_inputs() { cat "$here/../tools/$1"/go.{mod,sum}; declare -f go_program; }
go_program() { # MODULE PACKAGE [LDFLAGS]
  local place=$PWD
  cd "$here/../tools/$1"
  # Without C, so that the program runs in an image with nothing else.
  CGO_ENABLED=0 GOWORK=off go build -mod=readonly -trimpath -buildvcs=false -ldflags "-s -w ${3:-}" -o "$place/" "$2"
}

ensure() { # SERVER
  local server=$1 name=${1//-/_} key place part lock variable
  key=$({ "inputs_$name"; declare -f "install_$name"; } | sha256sum)
  place=$cache/tools/$server-${key:0:12}
  part=$cache/tools/.installing-$server
  # Who finds it there waits for nobody who is installing another version.
  if [[ ! -d $place ]]; then
    mkdir -p "$cache/tools" "$cache/locks"
    exec {lock}>"$cache/locks/store-$server.lock"
    flock "$lock"
    if [[ ! -d $place ]]; then
      echo "installing $server, once" >&2
      rm -rf "$part" && mkdir "$part"
      (cd "$part"; "install_$name") >&2
      mv "$part" "$place"
    fi
    exec {lock}>&-
  fi
  variable=BERTH_${name^^}
  export "$variable=$place"
  variables+=("$variable")
}

variables=()
chosen=()
while (($#)) && [[ $1 != -- ]]; do chosen+=("$1"); shift; done
((${#chosen[@]})) || chosen=("${servers[@]}")
for server in "${chosen[@]}"; do
  [[ " ${servers[*]} " == *" $server "* ]] || { echo "$server is none of: ${servers[*]}" >&2; exit 2; }
  ensure "$server"
done
if (($#)); then
  shift
  exec "$@"
fi
for variable in "${variables[@]}"; do printf 'export %s=%q\n' "$variable" "${!variable}"; done
