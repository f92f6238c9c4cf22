//! What MS-CHAPv2 (RFC 2759) puts into CHAP's values and messages.

use crypto::mschap;

use crate::{Credentials, Name, Refusal, Settings};

/// ERROR_AUTHENTICATION_FAILURE, RFC 2759 §6.
const AUTHENTICATION_FAILURE: u32 = 691;

/// RFC 2759 §4: peer challenge, 8 reserved octets, NT-Response, flags.
const RESPONSE_OCTETS: usize = 16 + 8 + 24 + 1;

/// Octets of `S=` and 40 hexadecimal digits, RFC 2759 §5.
const PROOF_OCTETS: usize = 42;

/// Takes the peer's response apart; `None` when it has the wrong length. The reserved octets and
/// flags must be zero, but nothing hangs on them.
pub(super) fn credentials(
    user: Name,
    id: u8,
    challenge: [u8; 16],
    value: &[u8],
) -> Option<Credentials> {
    let value: &[u8; RESPONSE_OCTETS] = value.try_into().ok()?;
    Some(Credentials::MsChapV2 {
        user,
        id,
        challenge,
        peer_challenge: value[..16].try_into().ok()?,
        response: value[24..48].try_into().ok()?,
    })
}

/// Our response, and the proof that the server will have to give.
pub(super) fn respond(
    challenge: &[u8; 16],
    peer_challenge: [u8; 16],
    settings: &Settings,
) -> Result<(Vec<u8>, String), Refusal> {
    let password = std::str::from_utf8(settings.password.expose()).unwrap_or_default();
    let hash = mschap::nt_password_hash(password);
    let user = settings.user.as_str();
    let response = mschap::nt_response(challenge, &peer_challenge, user, &hash);
    let expected =
        mschap::authenticator_response(&hash, &response, &peer_challenge, challenge, user);
    let value = [&peer_challenge[..], &[0; 8], &response, &[0]].concat();
    Ok((value, expected))
}

/// RFC 2759 §5: the proof, and a text that nobody reads. Without a proof (somebody accepted what
/// he could not check) the peer will hang up, as it should.
pub(super) fn success_text(proof: Option<&str>) -> String {
    match proof {
        Some(proof) if proof.contains(" M=") => proof.to_owned(),
        Some(proof) => format!("{proof} M=Access granted"),
        None => "M=Access granted".to_owned(),
    }
}

/// RFC 2759 §6. `message` is text, or already of that form as a RADIUS server gives it; then error
/// code and text are taken from it, while retry and challenge remain our own.
pub(super) fn failure_text(message: &str, may_retry: bool, challenge: &[u8; 16]) -> String {
    let (error, text) = match message.strip_prefix("E=") {
        Some(fields) => {
            let error = fields.split_whitespace().next();
            (
                error
                    .and_then(|error| error.parse().ok())
                    .unwrap_or(AUTHENTICATION_FAILURE),
                fields.split_once("M=").map_or("", |(_, text)| text),
            )
        }
        None => (AUTHENTICATION_FAILURE, message),
    };
    let retry = u8::from(may_retry);
    let challenge = u128::from_be_bytes(*challenge);
    format!("E={error} R={retry} C={challenge:032X} V=3 M={text}")
}

/// The `S=…` of a Success message. RFC 2759 §5 puts it first.
pub(super) fn proof(message: &[u8]) -> Option<&[u8]> {
    let at = message.windows(2).position(|two| two == b"S=")?;
    message.get(at..at + PROOF_OCTETS)
}
