//! Codecs: golden bytes from RFC figures and from strongSwan, round trips, and mutated input.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crypto::Random;
use crypto::hash::Hash;
use ike::message::{
    Chain, Envelope, Exchange, HEADER_LEN, Header, PAYLOADS_MAX, Padding, Payloads, kind,
};
use ike::nat::nat_d;
use ike::payload::attribute::{self, Attribute, Value};
use ike::payload::delete::Delete;
use ike::payload::identification::{Identification, Identity};
use ike::payload::nat_address;
use ike::payload::notification::Notification;
use ike::payload::security_association::{Proposal, SecurityAssociation, Transform};
use ike::{Cookie, Cookies, Refusal, Spi, peek};
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    let bytes = (0..text.len()).step_by(2);
    bytes
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// What strongSwan sent in one recorded exchange.
fn strongswan() -> Vec<Vec<u8>> {
    let text = include_str!("wire/aes256-sha1-ecp384-natt.txt");
    text.lines()
        .filter_map(|line| line.strip_prefix("received "))
        .map(hex)
        .collect()
}

fn chain(message: &[u8]) -> Result<Chain<'_>, Refusal> {
    let header = peek(message)?;
    Chain::parse(header.next_payload, &message[HEADER_LEN..], Padding::None)
}

#[test]
fn a_first_message_of_strongswan_is_read() {
    let message = &strongswan()[0];
    let header = peek(message).unwrap();
    assert!(header.is_first() && !header.is_encrypted());
    assert_eq!(
        (header.exchange, header.message_id),
        (Exchange::MainMode, 0)
    );
    let chain = chain(message).unwrap();
    let kinds: Vec<u8> = chain
        .payloads()
        .iter()
        .map(|payload| payload.kind)
        .collect();
    assert_eq!(kinds, [kind::SA, 13, 13, 13, 13, 13]);
    let body = chain.leading(kind::SA).unwrap();
    let sa = SecurityAssociation::parse(body).unwrap();
    assert_eq!(
        (sa.proposals.len(), sa.proposals[0].transforms.len()),
        (1, 5)
    );
    assert_eq!(sa.to_bytes(), body, "written as strongSwan writes it");
}

// conformance: 3947-07
#[test]
fn nat_d_is_the_hash_that_strongswan_sends() {
    let messages = strongswan();
    let cookies = peek(&messages[1]).unwrap().cookies;
    let chain = chain(&messages[1]).unwrap();
    let received: Vec<&[u8]> = chain.all(kind::NAT_D).collect();
    let ours: SocketAddr = "10.99.1.2:500".parse().unwrap();
    let theirs: SocketAddr = "10.99.1.1:500".parse().unwrap();
    assert_eq!(
        received[0],
        &nat_d(Hash::Sha1, &cookies, ours)[..],
        "first the remote end"
    );
    assert_eq!(
        received[1],
        &nat_d(Hash::Sha1, &cookies, theirs)[..],
        "then the local end"
    );
}

// conformance: 2408-22 2408-04 2408-05 2408-26
#[test]
fn headers_are_checked_field_by_field() {
    let good = strongswan()[1].clone();
    let edit = |at: usize, value: u8| {
        let mut bad = good.clone();
        bad[at] = value;
        peek(&bad).err()
    };
    assert_eq!(edit(17, 0x10), None);
    assert_eq!(edit(17, 0x20), Some(Refusal::UnknownVersion), "IKEv2");
    assert_eq!(
        edit(17, 0x11),
        Some(Refusal::UnknownVersion),
        "higher minor"
    );
    assert_eq!(edit(18, 1), Some(Refusal::UnknownExchange));
    assert_eq!(edit(19, 0x08), Some(Refusal::UndefinedFlags));
    assert_eq!(
        edit(27, good[27] + 1),
        Some(Refusal::LengthMismatch),
        "longer than it is"
    );
    assert_eq!(
        edit(27, good[27] - 1),
        Some(Refusal::LengthMismatch),
        "shorter than it is"
    );
    assert_eq!(peek(&good[..27]).err(), Some(Refusal::Truncated));
    let mut bad = good.clone();
    bad[..8].fill(0);
    assert_eq!(peek(&bad).err(), Some(Refusal::CookieMissing));
}

// conformance: 2408-28 2408-29
#[test]
fn payload_chains_are_checked_at_their_borders() {
    let parse = |first: u8, bytes: &[u8]| Chain::parse(first, bytes, Padding::None).err();
    assert_eq!(parse(kind::NONCE, &[0, 0, 0, 4]), None);
    assert_eq!(
        parse(kind::NONCE, &[0, 0, 0, 3]),
        Some(Refusal::PayloadTooShort)
    );
    assert_eq!(
        parse(kind::NONCE, &[0, 0, 0, 5]),
        Some(Refusal::PayloadOverrun)
    );
    assert_eq!(
        parse(kind::NONCE, &[0, 0, 0]),
        Some(Refusal::PayloadOverrun)
    );
    assert_eq!(
        parse(kind::NONCE, &[0, 1, 0, 4]),
        Some(Refusal::ReservedNotZero)
    );
    assert_eq!(
        parse(kind::NONCE, &[0, 0, 0, 4, 0]),
        Some(Refusal::LengthMismatch)
    );
    assert_eq!(parse(99, &[0, 0, 0, 4]), Some(Refusal::UnknownPayload));
    assert_eq!(
        parse(kind::PROPOSAL, &[0, 0, 0, 4]),
        Some(Refusal::UnknownPayload)
    );
    let padded = Chain::parse(kind::NONCE, &[0, 0, 0, 4, 9, 9, 9], Padding::Allowed);
    assert_eq!(padded.unwrap().payloads().len(), 1);
    let vids = |count: usize| {
        let mut payloads = Payloads::new();
        (0..count).for_each(|_| payloads.add(kind::VENDOR_ID, &[]));
        payloads
    };
    assert_eq!(parse(kind::VENDOR_ID, vids(PAYLOADS_MAX).bytes()), None);
    let refusal = Some(Refusal::TooManyPayloads);
    assert_eq!(
        parse(kind::VENDOR_ID, vids(PAYLOADS_MAX + 1).bytes()),
        refusal
    );
}

/// RFC 2408 §3.4, §3.5 and §3.6 drawn by hand: one proposal with one transform.
const SA: &str = concat!(
    "00000001", "00000001", // DOI, situation
    "00000018", "01010001", // proposal: last, 24 bytes; 1, ISAKMP, no SPI, one transform
    "00000010", "01010000", // transform: last, 16 bytes; 1, KEY_IKE
    "80010007", "800e0080", // AES, 128 bits
);

// conformance: 2408-09 2408-10 2408-30
#[test]
fn sa_payloads_are_checked_field_by_field() {
    let good = hex(SA);
    let edit = |at: usize, value: u8| {
        let mut bad = good.clone();
        bad[at] = value;
        SecurityAssociation::parse(&bad).err()
    };
    assert_eq!(edit(3, 1), None);
    assert_eq!(edit(3, 0), Some(Refusal::UnknownDoi));
    assert_eq!(edit(7, 2), Some(Refusal::UnknownSituation));
    assert_eq!(
        edit(8, 2),
        Some(Refusal::BadProposal),
        "another one is announced"
    );
    assert_eq!(
        edit(8, 3),
        Some(Refusal::BadProposal),
        "a transform after a proposal"
    );
    assert_eq!(edit(9, 1), Some(Refusal::ReservedNotZero));
    assert_eq!(edit(11, 23), Some(Refusal::BadProposal));
    assert_eq!(
        edit(14, 255),
        Some(Refusal::BadProposal),
        "an SPI longer than the payload"
    );
    assert_eq!(
        edit(15, 2),
        Some(Refusal::BadProposal),
        "fewer transforms than announced"
    );
    assert_eq!(
        edit(16, 2),
        Some(Refusal::BadProposal),
        "a proposal after a transform"
    );
    assert_eq!(edit(22, 1), Some(Refusal::ReservedNotZero));
    assert_eq!(edit(27, 9), None, "any value of an attribute");
    assert_eq!(
        edit(24, 0),
        Some(Refusal::BadTransform),
        "a long attribute without its value"
    );
}

#[test]
fn attributes_come_in_two_forms() {
    let bytes = hex("800b0001000c000400007080");
    let read = attribute::parse(&bytes).unwrap();
    let expected = [
        Attribute {
            kind: 11,
            value: Value::Short(1),
        },
        Attribute {
            kind: 12,
            value: Value::Long(&[0, 0, 0x70, 0x80]),
        },
    ];
    assert_eq!(read, expected);
    assert_eq!(read[1].value.number(), 28_800);
    assert_eq!(
        Value::Long(&[1; 9]).number(),
        u64::MAX,
        "larger than any lifetime"
    );
    assert_eq!(Value::Long(&[]).number(), 0);
}

// conformance: 2407-16
#[test]
fn identification_types_have_their_exact_lengths() {
    for (number, lengths) in [
        (1, vec![4]),
        (4, vec![8]),
        (5, vec![16]),
        (6, vec![32]),
        (7, vec![8]),
        (8, vec![32]),
    ] {
        for len in 0..40 {
            let body = [&[number, 17, 6, 0xA5][..], &vec![1; len]].concat();
            let read = Identification::parse(&body);
            assert_eq!(
                read.is_ok(),
                lengths.contains(&len),
                "type {number}, {len} bytes"
            );
        }
    }
    for number in [2, 3, 9, 10, 11] {
        let body = [&[number, 0, 0, 0][..], b"name"].concat();
        assert_eq!(Identification::parse(&body).unwrap().to_bytes(), body);
    }
    for number in [0, 12, 255] {
        let refusal = Identification::parse(&[number, 0, 0, 0]).err();
        assert_eq!(refusal, Some(Refusal::BadIdentification));
    }
    assert_eq!(
        Identification::parse(&[1, 0, 0]).err(),
        Some(Refusal::BadIdentification)
    );
}

#[test]
fn identities_are_written_as_an_operator_says_them() {
    for (text, expected) in [
        ("192.0.2.1", Identity::Ipv4(Ipv4Addr::new(192, 0, 2, 1))),
        (
            "2001:db8::1",
            Identity::Ipv6("2001:db8::1".parse().unwrap()),
        ),
        ("gw.example.net", Identity::Fqdn(b"gw.example.net".to_vec())),
        ("@gw", Identity::Fqdn(b"gw".to_vec())),
        (
            "a@example.net",
            Identity::UserFqdn(b"a@example.net".to_vec()),
        ),
        ("#group", Identity::KeyId(b"group".to_vec())),
    ] {
        assert_eq!(text.parse::<Identity>().unwrap(), expected);
    }
    assert!("".parse::<Identity>().is_err() && "#".parse::<Identity>().is_err());
    assert_eq!(Identity::Fqdn(b"a\n\xFF".to_vec()).to_string(), "a\\n\\xff");
}

// conformance: 2408-13
#[test]
fn delete_payloads_are_checked() {
    let good = hex("000000010304000201020304f1f2f3f4");
    let read = Delete::parse(&good).unwrap();
    assert_eq!(read, Delete::Esp(vec![Spi(0x0102_0304), Spi(0xF1F2_F3F4)]));
    assert_eq!(read.to_bytes(), good);
    let edit = |at: usize, value: u8| {
        let mut bad = good.clone();
        bad[at] = value;
        Delete::parse(&bad)
    };
    assert_eq!(edit(3, 2), Err(Refusal::UnknownDoi));
    assert_eq!(
        edit(7, 3),
        Err(Refusal::BadDelete),
        "more SPIs than there are"
    );
    assert_eq!(
        edit(5, 16),
        Err(Refusal::BadDelete),
        "SPIs of ISAKMP's length"
    );
    assert_eq!(
        edit(4, 1),
        Err(Refusal::BadSpiSize),
        "SPIs of ESP's length for ISAKMP"
    );
    assert_eq!(edit(4, 2), Ok(Delete::Other(2)), "AH");
}

// conformance: 3706-04
#[test]
fn a_dpd_query_looks_as_rfc_3706_draws_it() {
    let spi = hex("0102030405060708f1f2f3f4f5f6f7f8");
    let query = Notification {
        protocol: 1,
        kind: 36136,
        spi: &spi,
        content: &7u32.to_be_bytes(),
    };
    let bytes = hex("0000000101108d280102030405060708f1f2f3f4f5f6f7f800000007");
    assert_eq!(query.to_bytes(), bytes);
    assert_eq!(Notification::parse(&bytes).unwrap(), query);
}

#[test]
fn nat_oa_is_an_address_and_nothing_else() {
    for address in [
        IpAddr::from(Ipv4Addr::new(10, 0, 0, 1)),
        Ipv6Addr::LOCALHOST.into(),
    ] {
        assert_eq!(
            nat_address::parse(&nat_address::to_bytes(address)),
            Ok(address)
        );
    }
    for body in [
        "0100000001020304ff",
        "01010000c0a80101",
        "0200000061",
        "05000000c0a80101",
        "01",
    ] {
        assert_eq!(
            nat_address::parse(&hex(body)),
            Err(Refusal::BadNatAddress),
            "{body}"
        );
    }
}

fn identity() -> impl Strategy<Value = Identity> {
    let v4 = || any::<Ipv4Addr>();
    let v6 = || any::<Ipv6Addr>();
    let bytes = || prop::collection::vec(any::<u8>(), 0..100);
    prop_oneof![
        v4().prop_map(Identity::Ipv4),
        v6().prop_map(Identity::Ipv6),
        (v4(), v4()).prop_map(|(a, b)| Identity::Ipv4Subnet(a, b)),
        (v6(), v6()).prop_map(|(a, b)| Identity::Ipv6Subnet(a, b)),
        (v4(), v4()).prop_map(|(a, b)| Identity::Ipv4Range(a, b)),
        (v6(), v6()).prop_map(|(a, b)| Identity::Ipv6Range(a, b)),
        bytes().prop_map(Identity::Fqdn),
        bytes().prop_map(Identity::UserFqdn),
        bytes().prop_map(Identity::DerAsn1Dn),
        bytes().prop_map(Identity::DerAsn1Gn),
        bytes().prop_map(Identity::KeyId),
    ]
}

const KINDS: [u8; 12] = [1, 4, 5, 8, 10, 11, 12, 13, 20, 21, 130, 131];

proptest! {
    #[test]
    fn identifications_come_back(identity in identity(), protocol: u8, port: u16) {
        let id = Identification { identity, protocol, port };
        prop_assert_eq!(Identification::parse(&id.to_bytes()), Ok(id));
    }

    #[test]
    fn notifications_come_back(
        protocol: u8,
        kind: u16,
        spi in prop::collection::vec(any::<u8>(), 0..=16),
        content in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let one = Notification { protocol, kind, spi: &spi, content: &content };
        let bytes = one.to_bytes();
        prop_assert_eq!(Notification::parse(&bytes), Ok(one));
    }

    #[test]
    fn deletes_come_back(spis in prop::collection::vec(any::<u32>(), 0..50), sas in 0u8..20) {
        let esp = Delete::Esp(spis.into_iter().map(Spi).collect());
        prop_assert_eq!(Delete::parse(&esp.to_bytes()), Ok(esp));
        let cookies = |n: u8| Cookies { initiator: Cookie([n; 8]), responder: Cookie([!n; 8]) };
        let isakmp = Delete::Isakmp((0..sas).map(cookies).collect());
        prop_assert_eq!(Delete::parse(&isakmp.to_bytes()), Ok(isakmp));
    }

    #[test]
    fn chains_come_back(
        bodies in prop::collection::vec(
            (prop::sample::select(&KINDS[..]), prop::collection::vec(any::<u8>(), 0..60)),
            1..20,
        ),
        cookies: ([u8; 8], [u8; 8]),
        message_id: u32,
    ) {
        let mut payloads = Payloads::new();
        bodies.iter().for_each(|(kind, body)| payloads.add(*kind, body));
        let cookies = Cookies {
            initiator: Cookie(cookies.0.map(|byte| byte | 1)),
            responder: Cookie(cookies.1),
        };
        let exchange = Exchange::QuickMode;
        let message = Envelope { cookies, exchange, message_id }.clear(&payloads);
        let header = peek(&message).unwrap();
        let length = u32::try_from(message.len()).unwrap();
        let next_payload = bodies[0].0;
        let expected = Header { cookies, next_payload, exchange, flags: 0, message_id, length };
        prop_assert_eq!(header, expected);
        let chain = chain(&message).unwrap();
        let read: Vec<_> =
            chain.payloads().iter().map(|one| (one.kind, one.body.to_vec())).collect();
        prop_assert_eq!(&read, &bodies);
        let longer = payloads.after(kind::HASH, &[1, 2, 3]);
        let longer = Chain::parse(longer.first(), longer.bytes(), Padding::None).unwrap();
        prop_assert_eq!(longer.after_first(), payloads.bytes());
    }

    #[test]
    fn security_associations_come_back(
        proposals in prop::collection::vec(
            (any::<(u8, u8)>(), prop::collection::vec(any::<u8>(), 0..17), 1usize..5),
            1..5,
        ),
        id: u8,
    ) {
        let attributes = hex("80010007800e0080800b0001000c000400007080");
        let transform = |number: usize| Transform::new(number as u8, id, &attributes);
        let proposals = proposals.iter().map(|((number, protocol), spi, count)| Proposal {
            number: *number,
            protocol: *protocol,
            spi,
            transforms: (0..*count).map(transform).collect(),
        });
        let sa = SecurityAssociation { proposals: proposals.collect() };
        let bytes = sa.to_bytes();
        prop_assert_eq!(SecurityAssociation::parse(&bytes), Ok(sa));
    }
}

/// How many mutated inputs the codecs get.
const MUTATIONS: usize = 600_000;

fn read_everything(message: &[u8]) -> usize {
    let Ok(header) = peek(message) else { return 0 };
    let body = &message[HEADER_LEN..];
    let Ok(chain) = Chain::parse(header.next_payload, body, Padding::Allowed) else {
        return 0;
    };
    for payload in chain.payloads() {
        // Every codec gets every body: a peer decides what it calls a payload.
        let _ = SecurityAssociation::parse(payload.body);
        let _ = Identification::parse(payload.body);
        let _ = Notification::parse(payload.body);
        let _ = Delete::parse(payload.body);
        let _ = nat_address::parse(payload.body);
    }
    1
}

#[test]
fn mutated_messages_never_panic() {
    let mut random = Random::from_seed([9; 32]);
    let mut seeds = strongswan()[..2].to_vec();
    let id = Identification::parse(&hex("011106a5c0000201")).unwrap();
    let payloads = Payloads::new()
        .with(kind::HASH, &[0; 20])
        .with(kind::SA, &hex(SA))
        .with(kind::IDENTIFICATION, &id.to_bytes())
        .with(kind::DELETE, &hex("000000010304000201020304f1f2f3f4"))
        .with(
            kind::NOTIFICATION,
            &hex("0000000101108d280102030405060708f1f2f3f4f5f6f7f800000007"),
        );
    let cookies = peek(&seeds[1]).unwrap().cookies;
    let envelope = Envelope {
        cookies,
        exchange: Exchange::Informational,
        message_id: 1,
    };
    seeds.push(envelope.clear(&payloads));
    let mut read = 0;
    for round in 0..MUTATIONS {
        let mut message = seeds[round % seeds.len()].clone();
        for _ in 0..=random.below(3) {
            let at = random.below(u32::try_from(message.len()).unwrap()) as usize;
            message[at] = if random.below(2) == 0 {
                0xFF
            } else {
                random.u32() as u8
            };
        }
        if random.below(4) == 0 {
            message.truncate(random.below(u32::try_from(message.len()).unwrap()) as usize);
        }
        if message.len() >= HEADER_LEN {
            let len = u32::try_from(message.len()).unwrap();
            message[24..28].copy_from_slice(&len.to_be_bytes());
        }
        read += read_everything(&message);
    }
    assert!(
        read > MUTATIONS / 20,
        "{read} were read: the mutations are not all coarse"
    );
}
