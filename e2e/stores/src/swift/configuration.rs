//! The files that Swift's servers are started with, as a pure function of their addresses and directory.

use std::net::SocketAddrV4;
use std::path::Path;

pub(super) const ACCOUNT: &str = "test";
pub(super) const USER: &str = "tester";
pub(super) const KEY: &str = "testing";

/// A server of the ring.
pub(super) struct Kind {
    name: &'static str,
    pub(super) program: &'static str,
}

/// The servers of the ring, in the order of their ports.
pub(super) const KINDS: [Kind; 3] = [
    Kind { name: "account", program: "swift-account-server" },
    Kind { name: "container", program: "swift-container-server" },
    Kind { name: "object", program: "swift-object-server" },
];

/// Who listens where.
pub(super) struct Ports {
    pub(super) proxy: SocketAddrV4,
    /// As [`KINDS`] says.
    pub(super) servers: [SocketAddrV4; 3],
    pub(super) memcached: SocketAddrV4,
}

/// The files of `etc` and their content, for a Swift whose directory is `root`.
pub(super) fn files(ports: &Ports, root: &Path) -> Vec<(String, String)> {
    let mut files = vec![
        ("swift.conf".to_owned(), SWIFT.to_owned()),
        ("proxy-server.conf".to_owned(), format!("{}{}", common(ports.proxy, root), proxy(ports.memcached))),
    ];
    for (kind, address) in KINDS.iter().zip(ports.servers) {
        files.push((format!("{}-server.conf", kind.name), format!("{}{}", common(address, root), server(kind, root))));
    }
    files
}

/// What placement is mixed with, which must be there; and the one policy.
const SWIFT: &str = "\
[swift-hash]
swift_hash_path_prefix = berth
swift_hash_path_suffix = tests

[storage-policy:0]
name = Policy-0
default = yes
";

/// Each server is one process that serves its requests itself.
fn common(address: SocketAddrV4, root: &Path) -> String {
    let (ip, port, root) = (address.ip(), address.port(), root.display());
    format!(
        "\
[DEFAULT]
bind_ip = {ip}
bind_port = {port}
workers = 0
swift_dir = {root}/etc
devices = {root}/srv
mount_check = false
disable_fallocate = true
log_address = /dev/null

"
    )
}

/// Where the servers of accounts and containers are slow for a moment, on a busy machine, Swift would answer without them
/// and leave it to its updater, which does not run here, to have listings show what is there.
fn server(kind: &Kind, root: &Path) -> String {
    let (name, root) = (kind.name, root.display());
    format!(
        "\
[pipeline:main]
pipeline = {name}-server

[app:{name}-server]
use = egg:swift#{name}
recon_cache_path = {root}/cache
conn_timeout = 20
node_timeout = 20
container_update_timeout = 20
"
    )
}

/// The middleware of an installation that keeps a registry: tokens, temporary URLs, large objects, copies, bulk deletes.
///
/// Where memcached is slow for a moment, on a busy machine, Swift would do without it for a minute, and believe no token;
/// and do without a server of the ring, of which there is one each.
fn proxy(memcached: SocketAddrV4) -> String {
    format!(
        "\
[pipeline:main]
pipeline = catch_errors healthcheck cache bulk tempurl tempauth copy slo dlo versioned_writes symlink proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
conn_timeout = 20
node_timeout = 60
error_suppression_limit = 1000000

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:healthcheck]
use = egg:swift#healthcheck

[filter:cache]
use = egg:swift#memcache
memcache_servers = {memcached}
memcache_max_connections = 64
connect_timeout = 20
pool_timeout = 20
io_timeout = 20
error_suppression_limit = 1000000

[filter:bulk]
use = egg:swift#bulk

[filter:tempurl]
use = egg:swift#tempurl
allowed_digests = sha1 sha256 sha512

[filter:tempauth]
use = egg:swift#tempauth
user_{ACCOUNT}_{USER} = {KEY} .admin

[filter:copy]
use = egg:swift#copy

[filter:slo]
use = egg:swift#slo

[filter:dlo]
use = egg:swift#dlo

[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true

[filter:symlink]
use = egg:swift#symlink
"
    )
}
