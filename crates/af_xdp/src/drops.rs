//! What a socket of any kind lost because nobody read it in time.

use std::io;
use std::os::fd::BorrowedFd;

use crate::syscall;

/// `SO_MEMINFO` of `asm-generic/socket.h`, since Linux 4.12.
const SO_MEMINFO: libc::c_int = 55;
/// `SK_MEMINFO_VARS` and `SK_MEMINFO_DROPS` of `linux/sock_diag.h`.
const SK_MEMINFO_VARS: usize = 9;
const SK_MEMINFO_DROPS: usize = 8;

/// Messages that the kernel dropped since the socket was made: its receive buffer was full, or the
/// checksum was wrong.
pub fn drops(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let numbers: [u32; SK_MEMINFO_VARS] = syscall::option(socket, libc::SOL_SOCKET, SO_MEMINFO)?;
    Ok(numbers[SK_MEMINFO_DROPS].into())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_finds_the_buffer_full_is_counted() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        syscall::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, 1).unwrap();
        let to = socket.local_addr().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(drops(socket.as_fd()).unwrap(), 0);
        for _ in 0..100 {
            sender.send_to(&[0; 1000], to).unwrap();
        }
        socket.set_nonblocking(true).unwrap();
        let read = std::iter::from_fn(|| socket.recv(&mut [0; 1000]).ok()).count() as u64;
        assert!(read < 100);
        assert_eq!(drops(socket.as_fd()).unwrap(), 100 - read);
    }
}
