#!/usr/bin/env bash
# Keeps the layers: the server knows nothing of Kubernetes, and the operator nothing of the server.
# What a crate may not have anywhere in its dependency tree, tests included unless EDGES says otherwise.
set -euo pipefail
cd "$(dirname "$0")"

forbid() { # CRATE FORBIDDEN…
  local crate=$1 edges=${EDGES:-normal,build,dev} tree; shift
  tree=$(cargo tree --locked --package "$crate" --edges "$edges" --prefix none --format '{p}' | awk '{print $1}' | sort -u)
  for forbidden in "$@"; do
    if grep -qx "$forbidden" <<<"$tree"; then
      echo "layers: $crate depends on $forbidden" >&2
      cargo tree --locked --package "$crate" --edges "$edges" --invert "$forbidden" >&2
      exit 1
    fi
  done
}

kubernetes=(kube kube-client kube-core kube-runtime k8s-openapi berth-crds berth-operator)
for crate in berth-oci berth-config berth-storage berth-registry; do forbid "$crate" "${kubernetes[@]}"; done
forbid berth-oci berth-config berth-storage berth-registry
forbid berth-config berth-storage berth-registry
forbid berth-storage berth-config berth-registry
forbid berth-crds berth-storage berth-registry berth-operator
forbid berth-operator berth-storage berth-registry
# Servers for tests are in no program, and know none.
forbid berth-stores "${kubernetes[@]}" berth-oci berth-config berth-storage berth-registry berth-e2e
for crate in berth-storage berth-registry berth-operator berth-e2e; do EDGES=normal,build forbid "$crate" berth-stores; done
echo "layers: kept"
