//! Free ports of an address, and whose process listens on one.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// Addresses that nobody listens on at this moment. They are held together until all are known, so they differ.
pub(crate) fn free<const N: usize>(host: Ipv4Addr) -> Result<[SocketAddrV4; N]> {
    let mut held = Vec::with_capacity(N);
    let mut addresses = [SocketAddrV4::new(host, 0); N];
    for address in &mut addresses {
        let listener = TcpListener::bind(*address).with_context(|| format!("bind a free port of {host}"))?;
        let SocketAddr::V4(bound) = listener.local_addr().context("read which port is free")? else {
            bail!("a socket of IPv4 has no address of IPv4");
        };
        *address = bound;
        held.push(listener);
    }
    Ok(addresses)
}

/// Whether it is this process that listens there.
///
/// A port that was free may be somebody else's by the time that a server binds it. That one would answer as well, so an
/// answer alone does not tell that the server has started.
pub(crate) fn listens(process: u32, address: SocketAddrV4) -> bool {
    // The thread's own: it may be in another network than the process began in.
    let Ok(table) = std::fs::read_to_string("/proc/thread-self/net/tcp") else { return false };
    let Some(socket) = listening_socket(&table, address) else { return false };
    let Ok(files) = std::fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == Path::new(&socket)))
}

/// What the socket that listens on an address is called among the open files of its process.
fn listening_socket(table: &str, address: SocketAddrV4) -> Option<String> {
    /// The state of a listening socket in the kernel's table.
    const LISTENING: &str = "0A";
    let wanted = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let (local, state) = (fields.nth(1)?, fields.nth(1)?);
        let inode = fields.nth(5)?;
        (local == wanted && state == LISTENING).then(|| format!("socket:[{inode}]"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000 100 0 0 10 0
   1: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000 20 4 0 10 -1
";

    #[test]
    #[cfg(target_endian = "little")]
    fn a_listening_socket_is_found_in_the_kernels_table() {
        let of = |port| listening_socket(TABLE, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
        assert_eq!(of(8080).as_deref(), Some("socket:[4711]"));
        assert_eq!(of(8081), None, "it is connected and does not listen");
        assert_eq!(of(8082), None);
    }

    #[test]
    fn only_the_process_that_listens_is_said_to() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let SocketAddr::V4(address) = listener.local_addr().expect("it is bound") else { unreachable!() };
        assert!(listens(std::process::id(), address));
        assert!(!listens(1, address));
        drop(listener);
        assert!(!listens(std::process::id(), address));
    }

    #[test]
    fn ports_that_are_asked_for_together_differ() {
        let mut ports: Vec<u16> =
            free::<8>(Ipv4Addr::LOCALHOST).expect("free ports").iter().map(SocketAddrV4::port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
    }
}
