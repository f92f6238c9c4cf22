//! What a peer has shown to prove who it is, and how that is compared with a secret.

use std::fmt;

use crypto::mschap::{self, NtHash};
use crypto::{Secret, chap, ct_eq};

use crate::Method;

/// A user name as it came. PPP says nothing about its encoding, and MS-CHAPv2 hashes its octets, so
/// they are kept beside the text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name {
    wire: Vec<u8>,
    text: String,
}

impl Name {
    /// Octets that aren't UTF-8 are read as Latin-1, the usual other choice of old clients.
    pub fn new(wire: &[u8]) -> Self {
        let text = match std::str::from_utf8(wire) {
            Ok(text) => text.to_owned(),
            Err(_) => wire.iter().map(|&byte| char::from(byte)).collect(),
        };
        Self {
            wire: wire.to_owned(),
            text,
        }
    }

    /// The octets of the wire.
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// To look up and to print.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What the peer has shown. Comparable with a secret here, or by a RADIUS server elsewhere.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// The settings demand nothing.
    None,
    /// RFC 1334 §2.2.1.
    Pap {
        /// Peer-ID.
        user: Name,
        /// Password.
        password: Secret,
    },
    /// RFC 1994 §4.1.
    ChapMd5 {
        /// Name.
        user: Name,
        /// Identifier of the challenge, part of the hash.
        id: u8,
        /// Our challenge.
        challenge: Vec<u8>,
        /// MD5 over identifier, secret, challenge.
        response: [u8; 16],
    },
    /// RFC 2759 §4.
    MsChapV2 {
        /// Name, possibly `DOMAIN\user`.
        user: Name,
        /// Identifier of the challenge.
        id: u8,
        /// Our challenge.
        challenge: [u8; 16],
        /// The peer's challenge to us.
        peer_challenge: [u8; 16],
        /// NT-Response.
        response: [u8; 24],
    },
}

/// What is known of a user.
#[derive(Clone, Debug)]
pub enum UserSecret {
    /// The password in clear: good for every method.
    Password(Secret),
    /// Its NT hash: good for MS-CHAPv2 and PAP.
    NtHash(NtHash),
}

/// Evidence that credentials and secret belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// For [`crate::Grant::authenticator_response`].
    pub authenticator_response: Option<String>,
}

impl Proof {
    /// Of methods that prove nothing to the peer.
    const SILENT: Self = Self {
        authenticator_response: None,
    };
}

impl Credentials {
    /// Who the peer claims to be; empty if it claims nothing.
    pub fn user(&self) -> &str {
        match self {
            Self::None => "",
            Self::Pap { user, .. } | Self::ChapMd5 { user, .. } | Self::MsChapV2 { user, .. } => {
                user.text()
            }
        }
    }

    /// Name and method, for the record.
    pub(crate) fn claimant(&self) -> Option<(Name, Method)> {
        match self {
            Self::None => None,
            Self::Pap { user, .. } => Some((user.clone(), Method::Pap)),
            Self::ChapMd5 { user, .. } => Some((user.clone(), Method::ChapMd5)),
            Self::MsChapV2 { user, .. } => Some((user.clone(), Method::MsChapV2)),
        }
    }

    /// Whether what is known of the user is enough for the method: CHAP-MD5 needs the password.
    pub fn is_comparable(&self, secret: &UserSecret) -> bool {
        !matches!(
            (self, secret),
            (Self::ChapMd5 { .. }, UserSecret::NtHash(_))
        )
    }

    /// Whether the peer knows `secret`. `None` also when the two are not
    /// [comparable](Self::is_comparable).
    pub fn check(&self, secret: &UserSecret) -> Option<Proof> {
        match self {
            Self::None => Some(Proof::SILENT),
            Self::Pap { password, .. } => check_password(password, secret),
            Self::ChapMd5 {
                id,
                challenge,
                response,
                ..
            } => {
                let UserSecret::Password(password) = secret else {
                    return None;
                };
                let expected = chap::response(*id, password.expose(), challenge);
                ct_eq(&expected, response).then_some(Proof::SILENT)
            }
            Self::MsChapV2 {
                user,
                challenge,
                peer_challenge,
                response,
                ..
            } => check_nt_response(user, challenge, peer_challenge, response, &nt_hash(secret)?),
        }
    }
}

fn check_password(password: &Secret, secret: &UserSecret) -> Option<Proof> {
    let is_known = match secret {
        UserSecret::Password(known) => password == known,
        UserSecret::NtHash(known) => {
            let text = std::str::from_utf8(password.expose()).ok()?;
            mschap::nt_password_hash(text) == *known
        }
    };
    is_known.then_some(Proof::SILENT)
}

fn check_nt_response(
    user: &Name,
    challenge: &[u8; 16],
    peer_challenge: &[u8; 16],
    response: &[u8; 24],
    hash: &NtHash,
) -> Option<Proof> {
    let expected = mschap::nt_response(challenge, peer_challenge, user.wire(), hash);
    let authenticator_response =
        mschap::authenticator_response(hash, response, peer_challenge, challenge, user.wire());
    ct_eq(&expected, response).then_some(Proof {
        authenticator_response: Some(authenticator_response),
    })
}

/// `None` for a password that isn't UTF-8, hence has no NT hash.
fn nt_hash(secret: &UserSecret) -> Option<NtHash> {
    match secret {
        UserSecret::Password(password) => std::str::from_utf8(password.expose())
            .ok()
            .map(mschap::nt_password_hash),
        UserSecret::NtHash(hash) => Some(hash.clone()),
    }
}
