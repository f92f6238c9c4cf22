//! Who else has a UDP port that we need, as far as `/proc` lets us see.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

/// Why a port cannot be bound, as an operator wants to read it.
pub(super) fn refusal(address: SocketAddr, error: &io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::PermissionDenied {
        let port = address.port();
        return anyhow::anyhow!(
            "UDP {address} may not be bound: CAP_NET_BIND_SERVICE or CAP_NET_ADMIN is needed, or \
             `sysctl net.ipv4.ip_unprivileged_port_start={port}`"
        );
    }
    if error.kind() == io::ErrorKind::AddrNotAvailable {
        let ip = address.ip();
        return anyhow::anyhow!(
            "{ip} is no address of this machine: `ip addr add {ip}/32 dev lo`, or another listener \
             address"
        );
    }
    if error.kind() != io::ErrorKind::AddrInUse {
        return anyhow::anyhow!("cannot bind UDP {address}: {error}");
    }
    let port = address.port();
    match holder(address) {
        Some((name, process)) => anyhow::anyhow!(
            "UDP {address} is held by {name} (process {process}): stop it, or give the listener \
             another address"
        ),
        None => anyhow::anyhow!(
            "another program holds UDP {address}: `ss -lunp 'sport = :{port}'` names it; stop it \
             (strongswan, libreswan, xl2tpd, another adit)"
        ),
    }
}

/// The name and id of the process with a socket on `address`.
pub(crate) fn holder(address: SocketAddr) -> Option<(String, u32)> {
    let tables = ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"];
    let inode = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| inode_of(&table, address))?;
    let link = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let process = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|process| has_open(*process, &link))?;
    let name = fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
    Some((name.trim().to_owned(), process))
}

/// The socket that keeps `address` from us: bound to it, or to every address.
fn inode_of(table: &str, address: SocketAddr) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, inode) = (fields.next()?, fields.nth(7)?);
        let (host, port) = local.split_once(':')?;
        let is_it = u16::from_str_radix(port, 16).ok()? == address.port()
            && (host.bytes().all(|digit| digit == b'0') || is_host(host, address.ip()));
        is_it.then(|| inode.parse().ok())?
    })
}

/// Whether the eight digits are an IPv4 address, which the kernel prints as a number of its own
/// byte order.
fn is_host(digits: &str, address: IpAddr) -> bool {
    let number = u32::from_str_radix(digits, 16);
    number.is_ok_and(|number| IpAddr::from(Ipv4Addr::from(number.to_ne_bytes())) == address)
}

fn has_open(process: u32, link: &str) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{process}/fd")) else {
        return false;
    };
    open.flatten()
        .any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == Path::new(link)))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn this_test_holds_its_own_port() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (_, process) = holder(socket.local_addr().unwrap()).unwrap();
        assert_eq!(process, std::process::id());
    }

    #[test]
    fn a_port_that_nobody_has_has_no_holder() {
        // TEST-NET-1 is no address of any machine.
        assert_eq!(holder("192.0.2.1:1".parse().unwrap()), None);
    }

    #[test]
    fn whoever_serves_every_address_serves_this_one_too() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n  \
             7: 00000000:01F4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4242 2 0000000000000000 0\n";
        assert_eq!(inode_of(table, "10.9.0.2:500".parse().unwrap()), Some(4242));
        assert_eq!(inode_of(table, "10.9.0.2:4500".parse().unwrap()), None);
    }
}
