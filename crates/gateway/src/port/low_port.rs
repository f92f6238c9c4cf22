//! Binding port 500 without CAP_NET_BIND_SERVICE.
//!
//! Whoever has CAP_NET_ADMIN may set where the reserved ports of its network namespace end. A
//! service user of Adit has it anyway, so the limit is lowered while one socket is bound, and put
//! back at once: the four capabilities that everything else needs are enough.

use std::fs;
use std::io;

/// The first port that anybody may bind.
const LIMIT: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// Binds `port` by `bind`; where that is forbidden, once more with the limit below it.
pub(super) fn allowed(port: u16, bind: impl Fn() -> io::Result<()>) -> io::Result<()> {
    match bind() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let Some(_lowered) = Lowered::to(port) else {
                return Err(error);
            };
            bind()
        }
        other => other,
    }
}

/// The limit while it is lower.
struct Lowered {
    before: String,
}

impl Lowered {
    fn to(port: u16) -> Option<Self> {
        let before = fs::read_to_string(LIMIT).ok()?;
        fs::write(LIMIT, port.to_string()).ok()?;
        Some(Self { before })
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        if let Err(error) = fs::write(LIMIT, self.before.trim()) {
            let limit = self.before.trim();
            tracing::error!("the reserved ports do not end at {limit} again: {error} ({LIMIT})");
        }
    }
}
