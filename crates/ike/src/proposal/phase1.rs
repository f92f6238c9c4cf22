//! Phase 1: the attributes of RFC 2409 appendix A.

use crypto::dh::Group;

/// The group's name in a log.
#[must_use]
pub fn group_name(group: Group) -> &'static str {
    match group {
        Group::Modp1024 => "MODP1024",
        Group::Modp1536 => "MODP1536",
        Group::Modp2048 => "MODP2048",
        Group::Modp3072 => "MODP3072",
        Group::Modp4096 => "MODP4096",
        Group::Ecp256 => "ECP256",
        Group::Ecp384 => "ECP384",
        Group::Toy => "TOY",
    }
}
