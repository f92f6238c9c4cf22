//! What the captures do not hold: aggressive mode, fragments of IKE, hidden AVPs.

use crypto::Secret;
use crypto::hash::Hash;
use ike::message::{Chain, Envelope, Exchange, Padding, Payloads, kind};
use ike::{Cookie, Cookies};
use lab::decode::Secrets;
use lab::decode::keys::Keys;
use lab::decode::layer::Packet;

use super::bench::{NATT, PLAIN, Recorded, decode_all, faults, names, recorded};

/// Ethernet, IPv4, UDP.
const HEADERS: usize = 42;

fn with_psk(psk: &str) -> Secrets {
    Secrets {
        psks: vec![Secret::new(psk.as_bytes())],
        l2tp: None,
    }
}

/// The packet with another UDP payload, from the other side if it is an answer.
fn carrying(packet: &Recorded, payload: &[u8]) -> Recorded {
    let mut octets = packet.octets[..HEADERS].to_vec();
    octets[16..18].copy_from_slice(&(28 + payload.len() as u16).to_be_bytes());
    octets[38..40].copy_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    octets.extend_from_slice(payload);
    Recorded::new(octets)
}

/// Aggressive mode with strongSwan's offer and Adit's choice of the capture, HASHes as RFC 2409 §5
/// writes them.
fn aggressive_mode(psk: &[u8]) -> Vec<Recorded> {
    let capture = recorded(NATT);
    let sa = |packet: &Recorded| {
        let message = &packet.octets[HEADERS..];
        let chain = Chain::parse(message[16], &message[28..], Padding::None).unwrap();
        chain.single(kind::SA).unwrap().to_vec()
    };
    let (sa_i, sa_r) = (sa(&capture[0]), sa(&capture[1]));
    let (public_i, public_r) = ([1; 64], [2; 64]);
    let (nonce_i, nonce_r) = ([3; 16], [4; 16]);
    let (id_i, id_r) = (&b"\x0b\0\0\0group"[..], &b"\x02\0\0\0gw.example.net"[..]);
    let (cky_i, cky_r) = ([5; 8], [6; 8]);
    let skeyid = Hash::Sha256.hmac(psk, &[&nonce_i, &nonce_r]);
    let hash_r = Hash::Sha256.hmac(
        &skeyid,
        &[&public_r, &public_i, &cky_r, &cky_i, &sa_i, id_r],
    );
    let hash_i = Hash::Sha256.hmac(
        &skeyid,
        &[&public_i, &public_r, &cky_i, &cky_r, &sa_i, id_i],
    );
    let message = |responder: [u8; 8], payloads: Payloads| {
        let cookies = Cookies {
            initiator: Cookie(cky_i),
            responder: Cookie(responder),
        };
        let envelope = Envelope {
            cookies,
            exchange: Exchange::Aggressive,
            message_id: 0,
        };
        envelope.clear(&payloads)
    };
    let first = Payloads::new()
        .with(kind::SA, &sa_i)
        .with(kind::KEY_EXCHANGE, &public_i)
        .with(kind::NONCE, &nonce_i)
        .with(kind::IDENTIFICATION, id_i);
    let second = Payloads::new()
        .with(kind::SA, &sa_r)
        .with(kind::KEY_EXCHANGE, &public_r)
        .with(kind::NONCE, &nonce_r)
        .with(kind::IDENTIFICATION, id_r)
        .with(kind::HASH, &hash_r);
    let third = Payloads::new().with(kind::HASH, &hash_i);
    vec![
        carrying(&capture[0], &message([0; 8], first)),
        carrying(&capture[1], &message(cky_r, second)),
        carrying(&capture[0], &message(cky_r, third)),
    ]
}

#[test]
fn in_aggressive_mode_a_pre_shared_key_is_enough_to_check_both_ends() {
    let packets = aggressive_mode(b"open sesame");
    let read = decode_all(&packets, Keys::default(), with_psk("open sesame"));
    assert_eq!(faults(&read), []);
    assert!(
        read[1].to_string().contains("proof HASH_R good"),
        "{}",
        read[1]
    );
    assert!(
        read[2].to_string().contains("proof HASH_I good"),
        "{}",
        read[2]
    );
    assert!(
        read[0].to_string().contains("type KEY_ID, value #group"),
        "{}",
        read[0]
    );

    let read = decode_all(&packets, Keys::default(), with_psk("open barley"));
    let wrong =
        |name| format!("wrong HASH: {name} is not made with the pre-shared key that was given");
    assert_eq!(faults(&read), [(2, wrong("HASH_R")), (3, wrong("HASH_I"))]);
}

#[test]
fn a_message_in_fragments_is_read_when_the_last_is_there() {
    let capture = recorded(NATT);
    let whole = &capture[0].octets[HEADERS..];
    let mut cookies = Cookies {
        initiator: Cookie([0; 8]),
        responder: Cookie([0; 8]),
    };
    cookies.initiator.0.copy_from_slice(&whole[..8]);
    let envelope = Envelope {
        cookies,
        exchange: Exchange::MainMode,
        message_id: 0,
    };
    let pieces: Vec<&[u8]> = whole.chunks(80).collect();
    let fragment = |index: usize| {
        let is_last = u8::from(index + 1 == pieces.len());
        let body = [&[0, 1, index as u8 + 1, is_last][..], pieces[index]].concat();
        carrying(
            &capture[0],
            &envelope.clear(&Payloads::new().with(kind::FRAGMENT, &body)),
        )
    };
    let packets: Vec<Recorded> = (0..pieces.len()).rev().map(fragment).collect();
    let read = decode_all(&packets, Keys::default(), Secrets::default());
    assert_eq!(faults(&read), []);
    let (last, others) = read.split_last().unwrap();
    assert!(
        others
            .iter()
            .all(|packet| names(packet).last() == Some(&"ISAKMP fragment"))
    );
    let expected = decode_all(&capture[..1], Keys::default(), Secrets::default());
    assert_eq!(last.layers.last(), expected[0].layers.last());
}

/// An ICRQ whose Calling Number is hidden as RFC 2661 §4.3 says; 20 octets make two blocks.
fn hidden_number(secret: &[u8]) -> Recorded {
    let number = b"00491711234567890123";
    let vector = [7; 16];
    let mut clear = vec![0, number.len() as u8];
    clear.extend_from_slice(number);
    let (attribute, mut hidden) = (22u16, Vec::new());
    let mut pad = Hash::Md5.digest(&[&attribute.to_be_bytes(), secret, &vector]);
    for block in clear.chunks(16) {
        let start = hidden.len();
        hidden.extend(block.iter().zip(pad.iter()).map(|(clear, pad)| clear ^ pad));
        pad = Hash::Md5.digest(&[secret, &hidden[start..]]);
    }
    let avp = |flags: u16, attribute: u16, value: &[u8]| {
        let first = flags | (6 + value.len() as u16);
        [
            &first.to_be_bytes()[..],
            &[0, 0],
            &attribute.to_be_bytes(),
            value,
        ]
        .concat()
    };
    let body = [
        avp(0x8000, 0, &[0, 10]),
        avp(0x8000, 36, &vector),
        avp(0x8000, 14, &[0, 5]),
        avp(0x8000, 15, &[0, 0, 0, 1]),
        avp(0xc000, attribute, &hidden),
    ]
    .concat();
    let len = 12 + body.len() as u16;
    let header = [
        &[0xc8, 0x02][..],
        &len.to_be_bytes(),
        &[0, 1, 0, 0, 0, 2, 0, 1],
    ]
    .concat();
    carrying(&recorded(PLAIN)[0], &[header, body].concat())
}

#[test]
fn a_hidden_number_is_shown_to_who_has_the_secret() {
    let packets = [hidden_number(b"tunnel secret")];
    let with = |secret: Option<&str>| {
        let l2tp = secret.map(|secret| Secret::new(secret.as_bytes()));
        let secrets = Secrets {
            psks: Vec::new(),
            l2tp,
        };
        decode_all(&packets, Keys::default(), secrets)
    };
    let shown = |packets: &[Packet]| packets[0].to_string();

    let read = with(Some("tunnel secret"));
    assert_eq!(faults(&read), []);
    assert!(shown(&read).contains("Calling Number: M, hidden, value 00491711234567890123"));

    let read = with(None);
    assert!(
        shown(&read).contains("Calling Number: M, hidden octets 22"),
        "{}",
        read[0]
    );
    assert!(
        faults(&read)[0].1.starts_with("no key: "),
        "{:?}",
        faults(&read)
    );

    let read = with(Some("another secret"));
    assert!(!shown(&read).contains("0049171"), "{}", read[0]);
}
