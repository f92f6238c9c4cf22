//! What stock clients offer, and what is taken from it by each policy.
//!
//! Offers are written here byte by byte, apart from the crate's own writers. Their content and
//! order are those of captures and sources of the clients (Windows: the first message of 408 bytes
//! in katalix/xl2tpd issue 219; Apple: `ipsec` 2024-05; Android: racoon's `setup.c`).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;
use std::sync::Arc;

use crypto::Secret;
use crypto::cipher::Algorithm;
use crypto::dh::Group;
use crypto::esp::{Integrity, Suite};
use crypto::hash::Hash;
use ike::message::{Chain, HEADER_LEN, Padding, kind};
use ike::nat::NatMethod;
use ike::payload::security_association::SecurityAssociation;
use ike::policy::{Phase1Proposal, Psk};
use ike::proposal::phase2::Situation;
use ike::proposal::{Foreign, WhyRefused, phase1, phase2};
use ike::v1::Sa;
use ike::{Cookie, Environment, NatSituation, Output, Policy, Refusal, Spi, peek};

const AES: u16 = 7;
const TRIPLE_DES: u16 = 5;
const DES: u16 = 1;
const MD5: u16 = 1;
const SHA1: u16 = 2;
const SHA256: u16 = 4;
const SHA384: u16 = 5;
const SHA512: u16 = 6;

/// Attribute in short form.
fn short(kind: u16, value: u16) -> Vec<u8> {
    [(0x8000 | kind).to_be_bytes(), value.to_be_bytes()].concat()
}

/// Attribute in long form.
fn long(kind: u16, value: u32) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &[0, 4], &value.to_be_bytes()].concat()
}

/// Proposal or transform: next, reserved, length, rest.
fn item(next: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len() + 4).unwrap().to_be_bytes();
    [&[next, 0, len[0], len[1]][..], rest].concat()
}

fn transforms(id_of: impl Fn(usize) -> u8, attributes: &[Vec<u8>]) -> Vec<u8> {
    let last = attributes.len() - 1;
    let one = |(index, attributes): (usize, &Vec<u8>)| {
        let head = [u8::try_from(index + 1).unwrap(), id_of(index), 0, 0];
        item(
            if index == last { 0 } else { 3 },
            &[&head[..], attributes].concat(),
        )
    };
    attributes.iter().enumerate().flat_map(one).collect()
}

/// An SA body with one phase 1 proposal.
fn phase1_offer(attributes: &[Vec<u8>]) -> Vec<u8> {
    let count = u8::try_from(attributes.len()).unwrap();
    let proposal = [&[1, 1, 0, count][..], &transforms(|_| 1, attributes)].concat();
    [&[0, 0, 0, 1, 0, 0, 0, 1][..], &item(0, &proposal)].concat()
}

/// cipher, key bits (0: none), hash, group.
type Row = (u16, u16, u16, u16);

fn phase1_attributes((cipher, bits, hash, group): Row, life: Vec<u8>) -> Vec<u8> {
    let mut out = short(1, cipher);
    if bits != 0 {
        out.extend(short(14, bits));
    }
    out.extend(
        [
            short(2, hash),
            short(4, group),
            short(3, 1),
            short(11, 1),
            life,
        ]
        .concat(),
    );
    out
}

fn rows(rows: &[Row], life: &[u8]) -> Vec<u8> {
    let attributes: Vec<_> = rows
        .iter()
        .map(|&row| phase1_attributes(row, life.to_vec()))
        .collect();
    phase1_offer(&attributes)
}

fn windows() -> Vec<u8> {
    rows(
        &[
            (AES, 256, SHA1, 20),
            (AES, 128, SHA1, 19),
            (AES, 256, SHA1, 14),
            (TRIPLE_DES, 0, SHA1, 14),
            (TRIPLE_DES, 0, SHA1, 2),
        ],
        &long(12, 28_800),
    )
}

fn apple() -> Vec<u8> {
    let mut list = vec![];
    list.extend([SHA256, SHA1, MD5, SHA512].map(|hash| (AES, 256, hash, 14)));
    list.extend([SHA256, SHA1, MD5].map(|hash| (AES, 256, hash, 5)));
    list.extend([SHA256, SHA1, MD5].map(|hash| (AES, 256, hash, 2)));
    list.extend([SHA1, MD5].map(|hash| (AES, 128, hash, 2)));
    list.extend([SHA1, MD5].map(|hash| (TRIPLE_DES, 0, hash, 2)));
    rows(&list, &short(12, 3600))
}

fn android() -> Vec<u8> {
    let mut list = vec![];
    list.extend([SHA384, SHA256, SHA512, SHA1, MD5].map(|hash| (AES, 256, hash, 2)));
    list.extend([SHA512, SHA384, SHA256, SHA1, MD5].map(|hash| (AES, 128, hash, 2)));
    list.extend([SHA256, SHA1, MD5].map(|hash| (TRIPLE_DES, 0, hash, 2)));
    list.extend([SHA256, SHA1, MD5].map(|hash| (DES, 0, hash, 2)));
    rows(&list, &short(12, 28_800))
}

fn chromeos() -> Vec<u8> {
    let list = [
        (AES, 128, SHA256, 15),
        (AES, 128, SHA1, 14),
        (TRIPLE_DES, 0, SHA1, 5),
        (TRIPLE_DES, 0, SHA1, 2),
    ];
    rows(&list, &short(12, 10_800))
}

fn network_manager() -> Vec<u8> {
    let mut list = vec![];
    list.extend([14, 5, 2].map(|group| (AES, 256, SHA256, group)));
    list.extend([14, 5, 2, 20].map(|group| (AES, 256, SHA1, group)));
    list.extend([2, 19].map(|group| (AES, 128, SHA1, group)));
    list.extend([14, 2].map(|group| (TRIPLE_DES, 0, SHA1, group)));
    rows(&list, &short(12, 28_800))
}

fn mikrotik() -> Vec<u8> {
    let list = [
        (AES, 128, SHA1, 14),
        (AES, 128, SHA1, 2),
        (TRIPLE_DES, 0, SHA1, 14),
        (TRIPLE_DES, 0, SHA1, 2),
    ];
    rows(&list, &long(12, 86_400))
}

fn soho() -> Vec<u8> {
    rows(
        &[(TRIPLE_DES, 0, MD5, 2), (TRIPLE_DES, 0, SHA1, 2)],
        &short(12, 28_800),
    )
}

fn chosen(policy: &Policy, offer: &[u8]) -> String {
    let sa = SecurityAssociation::parse(offer).unwrap();
    let choice = phase1::choose(policy, &sa);
    choice.map_or_else(|| "refused".to_owned(), |choice| choice.suite.to_string())
}

// conformance: 2409-34
#[test]
fn each_policy_takes_the_best_of_what_each_client_offers() {
    let [modern, compat, strict] = [Policy::modern(), Policy::compat(), Policy::strict()];
    #[rustfmt::skip]
    let table = [
        ("windows",  windows(),         "AES128/SHA1/ECP256",     "AES128/SHA1/ECP256",     "refused"),
        ("apple",    apple(),           "AES256/SHA256/MODP2048", "AES256/SHA256/MODP2048", "AES256/SHA256/MODP2048"),
        ("android",  android(),         "refused",                "AES256/SHA256/MODP1024", "refused"),
        ("chromeos", chromeos(),        "AES128/SHA256/MODP3072", "AES128/SHA256/MODP3072", "AES128/SHA256/MODP3072"),
        ("nm-l2tp",  network_manager(), "AES256/SHA256/MODP2048", "AES256/SHA256/MODP2048", "AES256/SHA256/MODP2048"),
        ("mikrotik", mikrotik(),        "AES128/SHA1/MODP2048",   "AES128/SHA1/MODP2048",   "refused"),
        ("soho",     soho(),            "refused",                "3DES/SHA1/MODP1024",     "refused"),
    ];
    for (client, offer, by_modern, by_compat, by_strict) in table {
        assert_eq!(chosen(&modern, &offer), by_modern, "{client}");
        assert_eq!(chosen(&compat, &offer), by_compat, "{client}");
        assert_eq!(chosen(&strict, &offer), by_strict, "{client}");
    }
}

#[test]
fn our_own_offer_fits_into_one_packet_and_still_finds_a_match() {
    for policy in [Policy::modern(), Policy::compat(), Policy::strict()] {
        let body = phase1::offer(&policy);
        assert!(body.len() <= 1200, "{}", body.len());
        let sa = SecurityAssociation::parse(&body).unwrap();
        assert!(sa.proposals[0].transforms.len() <= phase1::OFFERED_MAX);
        assert_eq!(
            phase1::choose(&policy, &sa).unwrap().suite,
            policy.phase1[0]
        );
    }
    let body = phase1::offer(&Policy::compat());
    let sa = SecurityAssociation::parse(&body).unwrap();
    let finds = |text: &str| {
        let all = Policy::compat().phase1;
        let suite = all
            .into_iter()
            .find(|suite| suite.to_string() == text)
            .unwrap();
        let policy = Policy {
            phase1: vec![suite],
            ..Policy::modern()
        };
        phase1::choose(&policy, &sa).is_some()
    };
    assert!(finds("AES256/SHA1/MODP2048") && finds("AES128/SHA1/MODP1024"));
    assert!(finds("AES128/SHA256/ECP384") && !finds("AES192/SHA256/ECP384"));
}

#[test]
fn what_a_policy_lacks_is_named() {
    let offer = android();
    let sa = SecurityAssociation::parse(&offer).unwrap();
    let why = |keep: fn(&Phase1Proposal) -> bool| {
        let mut policy = Policy::compat();
        policy.phase1.retain(keep);
        phase1::refused(&policy, &sa)[0].to_string()
    };
    // 1.1 is AES256/SHA384/MODP1024.
    let named = |text: &str| format!("1.1 AES256/SHA384/MODP1024: {text} not in the policy");
    assert_eq!(
        why(|one| one.cipher != Algorithm::Aes256Cbc),
        named("cipher")
    );
    assert_eq!(why(|one| one.hash != Hash::Sha384), named("hash"));
    assert_eq!(why(|one| one.group != Group::Modp1024), named("group"));
    assert_eq!(
        why(|one| one.cipher != Algorithm::Aes256Cbc && one.hash != Hash::Sha384),
        named("cipher and hash")
    );
    // Each of the three is there, but never together.
    let apart = |one: &Phase1Proposal| {
        (one.cipher, one.hash, one.group) != (Algorithm::Aes256Cbc, Hash::Sha384, Group::Modp1024)
    };
    assert_eq!(why(apart), named("combination"));
}

#[test]
fn every_refused_transform_has_its_reason() {
    let offer = android();
    let sa = SecurityAssociation::parse(&offer).unwrap();
    let refused = phase1::refused(&Policy::modern(), &sa);
    assert_eq!(refused.len(), 16);
    let line = |index: usize| refused[index].to_string();
    assert_eq!(
        line(0),
        "1.1 AES256/SHA384/MODP1024: group not in the policy"
    );
    assert_eq!(line(4), "1.5 AES256/MD5/MODP1024: hash not supported");
    assert_eq!(line(13), "1.14 DES/SHA256/MODP1024: cipher not supported");
}

#[test]
fn md5_des_and_group_one_are_never_taken() {
    let list = [
        (AES, 256, MD5, 14),
        (DES, 0, SHA1, 14),
        (AES, 256, SHA256, 1),
    ];
    let offer = rows(&list, &short(12, 3600));
    let sa = SecurityAssociation::parse(&offer).unwrap();
    let refused = phase1::refused(&Policy::compat(), &sa);
    let why: Vec<_> = refused.iter().map(|refused| refused.why).collect();
    assert_eq!(
        why,
        [WhyRefused::Hash, WhyRefused::Cipher, WhyRefused::Group]
    );
}

// conformance: 2409-17 2409-38 2408-18
#[test]
fn the_chosen_transform_goes_back_byte_for_byte() {
    let offer = windows();
    let sa = SecurityAssociation::parse(&offer).unwrap();
    let choice = phase1::choose(&Policy::modern(), &sa).unwrap();
    // Number 2 of the offer, its lifetime in long form.
    let transform = phase1_attributes((AES, 128, SHA1, 19), long(12, 28_800));
    let transform = item(0, &[&[2, 1, 0, 0][..], &transform].concat());
    let proposal = item(0, &[&[1, 1, 0, 1][..], &transform].concat());
    let expected = [&[0, 0, 0, 1, 0, 0, 0, 1][..], &proposal].concat();
    assert_eq!(choice.body, expected);
    assert_eq!(choice.lifetime.as_secs(), 28_800);
}

// conformance: 2409-38
#[test]
fn kilobytes_beside_seconds_are_read_and_returned() {
    let life = [short(12, 3600), short(11, 2), long(12, 250_000)].concat();
    let offer = rows(&[(AES, 256, SHA256, 14)], &life);
    let sa = SecurityAssociation::parse(&offer).unwrap();
    let choice = phase1::choose(&Policy::modern(), &sa).unwrap();
    assert_eq!(choice.body, offer);
    assert_eq!(choice.lifetime.as_secs(), 3600);
}

#[test]
fn equal_rank_keeps_the_clients_order() {
    let attributes = [
        phase1_attributes((AES, 256, SHA256, 14), short(12, 1000)),
        phase1_attributes((AES, 256, SHA256, 14), short(12, 2000)),
    ];
    let offer = phase1_offer(&attributes);
    let sa = SecurityAssociation::parse(&offer).unwrap();
    assert_eq!(
        phase1::choose(&Policy::modern(), &sa)
            .unwrap()
            .lifetime
            .as_secs(),
        1000
    );
}

fn phase1_why(attributes: Vec<u8>) -> WhyRefused {
    let offer = phase1_offer(&[attributes]);
    let sa = SecurityAssociation::parse(&offer).unwrap();
    phase1::refused(&Policy::compat(), &sa)[0].why
}

// conformance: 2409-05 2407-11 2407-12 3193-22
#[test]
fn malformed_phase_one_transforms_are_refused_by_name() {
    let life = short(12, 3600);
    let good = phase1_attributes((AES, 256, SHA256, 14), life.clone());
    let with = |more: Vec<u8>| [good.clone(), more].concat();
    assert_eq!(
        phase1_why(with(short(2, SHA1))),
        WhyRefused::AttributeConflict
    );
    assert_eq!(
        phase1_why(with(short(13, 1))),
        WhyRefused::AttributeUnsupported
    );
    assert_eq!(phase1_why(with(short(12, 100))), WhyRefused::LifeType);
    assert_eq!(phase1_why(good[4..].to_vec()), WhyRefused::AttributeMissing);
    assert_eq!(
        phase1_why(phase1_attributes((AES, 0, SHA256, 14), life.clone())),
        WhyRefused::KeyLengthMissing
    );
    assert_eq!(
        phase1_why(phase1_attributes((TRIPLE_DES, 192, SHA1, 14), life.clone())),
        WhyRefused::KeyLength
    );
    let xauth = [
        short(1, AES),
        short(14, 256),
        short(2, SHA1),
        short(4, 14),
        short(3, 65001),
    ];
    assert_eq!(phase1_why(xauth.concat()), WhyRefused::AuthenticationMethod);
}

struct Env(crypto::Random);

impl Environment for Env {
    fn random(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn allocate_spi(&mut self) -> Option<Spi> {
        None
    }
}

fn payload(next: u8, body: &[u8]) -> Vec<u8> {
    item(next, body)
}

fn hex(text: &str) -> Vec<u8> {
    let bytes = (0..text.len()).step_by(2);
    bytes
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Vendor IDs of Windows in their order.
const WINDOWS_VIDS: [&str; 8] = [
    "01528bbbc00696121849ab9a1c5b2a5100000001",
    "1e2b516905991c7d7c96fcbfb587e46100000009",
    "4a131c81070358455c5728f20e95452f",
    "90cb80913ebb696e086381b5ec427b1f",
    "4048b7d56ebce88525e7de7f00d6c2d3",
    "fb1de3cdf341b7ea16b7e5be0855f120",
    "26244d38eddb61b3172a36e3d0cfb819",
    "e3a5966a76379fe707228231e5ce8652",
];

fn first_message(sa: &[u8], vids: &[Vec<u8>]) -> Vec<u8> {
    let mut body = payload(if vids.is_empty() { 0 } else { 13 }, sa);
    for (index, vid) in vids.iter().enumerate() {
        body.extend(payload(if index + 1 == vids.len() { 0 } else { 13 }, vid));
    }
    let len = u32::try_from(HEADER_LEN + body.len()).unwrap();
    let head = [
        &[0x11; 8][..],
        &[0; 8],
        &[1, 0x10, 2, 0],
        &[0; 4],
        &len.to_be_bytes(),
    ]
    .concat();
    [head, body].concat()
}

fn answer(policy: Policy, message: &[u8]) -> Vec<Output> {
    respond(policy, message).unwrap()
}

fn respond(policy: Policy, message: &[u8]) -> Result<Vec<Output>, Refusal> {
    let (local, remote): (SocketAddr, SocketAddr) = (
        "198.51.100.1:500".parse().unwrap(),
        "203.0.113.5:61000".parse().unwrap(),
    );
    // Only the distance between two instants matters.
    #[expect(clippy::disallowed_methods)]
    let now = std::time::Instant::now();
    let key = Psk {
        peer: None,
        identity: None,
        key: Secret::new(&b"key"[..]),
    };
    let policy = Arc::new(Policy {
        psks: vec![key],
        ..policy
    });
    let mut sa = Sa::respond(policy, Cookie([0x22; 8]), now, local, remote);
    let mut env = Env(crypto::Random::from_seed([1; 32]));
    let mut out = Vec::new();
    let result = sa.handle_input(now, local, remote, message, &mut env, &mut out);
    result.map(|()| out)
}

// conformance: 3947-04 2408-14 3706-01
#[test]
fn windows_is_answered_with_one_transform_and_the_vendor_ids_that_matter() {
    let message = first_message(&windows(), &WINDOWS_VIDS.map(hex));
    assert_eq!(message.len(), 408, "as captured");
    let out = answer(Policy::modern(), &message);
    let [
        Output::Send {
            remote,
            message: reply,
            ..
        },
    ] = &out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!(remote.port(), 61000, "to where it came from");
    let header = peek(reply).unwrap();
    assert_eq!(
        (header.cookies.initiator.0, header.cookies.responder.0),
        ([0x11; 8], [0x22; 8])
    );
    let chain = Chain::parse(header.next_payload, &reply[HEADER_LEN..], Padding::None).unwrap();
    let sa = SecurityAssociation::parse(chain.leading(kind::SA).unwrap()).unwrap();
    assert_eq!(sa.proposals[0].transforms.len(), 1);
    assert_eq!(sa.proposals[0].transforms[0].number, 2);
    let vids: Vec<&[u8]> = chain.all(kind::VENDOR_ID).collect();
    assert_eq!(
        vids[0],
        hex("4a131c81070358455c5728f20e95452f"),
        "RFC 3947 before the draft"
    );
    assert_eq!(vids[1], hex("afcad71368a1f1c96b8696fc77570100"));
    assert_eq!(vids[2], hex("4048b7d56ebce88525e7de7f00d6c2d380000000"));
    assert_eq!(vids.len(), 3);
}

#[test]
fn apple_with_thirteen_payloads_is_answered() {
    let vids = [
        "4a131c81070358455c5728f20e95452f",
        "4df37928e9fc4fd1b3262170d515c662",
        "8f8d83826d246b6fc7a8a6a428c11de8",
        "439b59f8ba676c4c7737ae22eab8f582",
        "4d1e0e136deafa34c4f3ea9f02ec7285",
        "80d0bb3def54565ee84645d4c85ce3ee",
        "9909b64eed937c6573de52ace952fa6b",
        "7d9419a65310ca6f2c179d9215529d56",
        "cd60464335df21f87cfdb2fc68b6a448",
        "90cb80913ebb696e086381b5ec427b1f",
        "4048b7d56ebce88525e7de7f00d6c2d380000000",
        "afcad71368a1f1c96b8696fc77570100",
    ];
    let out = answer(Policy::modern(), &first_message(&apple(), &vids.map(hex)));
    assert!(matches!(out[..], [Output::Send { .. }]), "{out:?}");
}

#[test]
fn what_is_refused_is_listed_and_notified() {
    let out = answer(Policy::modern(), &first_message(&soho(), &[]));
    let [
        Output::ProposalRefused(list),
        Output::Send { message, .. },
        Output::Down { .. },
    ] = &out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!(
        list[0].to_string(),
        "1.1 3DES/MD5/MODP1024: hash not supported"
    );
    assert_eq!(
        list[1].to_string(),
        "1.2 3DES/SHA1/MODP1024: cipher and group not in the policy"
    );
    assert_eq!(
        peek(message).unwrap().exchange,
        ike::message::Exchange::Informational
    );
}

// conformance: 2409-16
#[test]
fn phase_one_is_one_proposal_in_one_sa_payload() {
    let offer = chromeos();
    let mut two = [&offer[..8], &offer[8..], &offer[8..]].concat();
    two[8] = 2;
    let refusal = respond(Policy::modern(), &first_message(&two, &[])).err();
    assert_eq!(refusal, Some(Refusal::SeveralProposals));
    let mut message = first_message(&offer, std::slice::from_ref(&offer));
    // The payload behind the first is an SA, not a vendor ID.
    message[HEADER_LEN] = kind::SA;
    let refusal = respond(Policy::modern(), &message).err();
    assert_eq!(refusal, Some(Refusal::PayloadRepeated));
}

const NATTED: NatSituation = NatSituation {
    method: Some(NatMethod::Rfc3947),
    local_behind: false,
    remote_behind: true,
    forced: false,
};

fn natted() -> Situation {
    Situation {
        nat: NATTED,
        floated: true,
        public_len: None,
    }
}

fn direct() -> Situation {
    let nat = NatSituation {
        remote_behind: false,
        ..NATTED
    };
    Situation {
        nat,
        floated: false,
        public_len: None,
    }
}

/// One ESP proposal for each row: transform ID, attributes.
fn phase2_offer(rows: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let last = rows.len() - 1;
    let mut body = vec![0, 0, 0, 1, 0, 0, 0, 1];
    for (index, (id, attributes)) in rows.iter().enumerate() {
        let head = [
            u8::try_from(index + 1).unwrap(),
            3,
            4,
            1,
            0xC0,
            0xFF,
            0xEE,
            0x01,
        ];
        let transform = transforms(|_| *id, std::slice::from_ref(attributes));
        let next = if index == last { 0 } else { 2 };
        body.extend(item(next, &[&head[..], &transform].concat()));
    }
    body
}

fn windows_life() -> Vec<u8> {
    [short(1, 1), long(2, 3600), short(1, 2), long(2, 250_000)].concat()
}

fn windows_quick(mode: u16) -> Vec<u8> {
    let attributes = |integrity: u16, bits: u16| {
        let key = if bits == 0 { vec![] } else { short(6, bits) };
        [short(4, mode), key, short(5, integrity), windows_life()].concat()
    };
    phase2_offer(&[
        (12, attributes(2, 256)),
        (12, attributes(2, 128)),
        (3, attributes(2, 0)),
        (2, attributes(2, 0)),
        (11, attributes(2, 0)),
    ])
}

// conformance: 2407-03 2407-04 2407-10 3947-18
#[test]
fn the_quick_mode_of_windows_is_taken_behind_a_nat_and_without() {
    let sha1 = Integrity::HmacSha1_96;
    for (situation, mode, encapsulated) in [(natted(), 4, true), (direct(), 2, false)] {
        let offer = windows_quick(mode);
        let sa = SecurityAssociation::parse(&offer).unwrap();
        let choice = phase2::choose(&Policy::modern(), &situation, &sa).unwrap();
        assert_eq!(
            choice.terms.suite,
            Suite::AesCbc {
                key_bits: 256,
                integrity: sha1
            }
        );
        assert_eq!(choice.terms.encapsulated, encapsulated);
        assert_eq!(choice.terms.outbound, Spi(0xC0FF_EE01));
        assert_eq!(choice.terms.lifetime.kilobytes, Some(250_000));
        let mut expected = phase2_offer(&[(
            12,
            [short(4, mode), short(6, 256), short(5, 2), windows_life()].concat(),
        )]);
        expected[16..20].copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!(
            choice.body(Spi(0x0102_0304)),
            expected,
            "byte for byte, with our SPI"
        );
        let refused = phase2::refused(&Policy::modern(), &situation, &sa);
        let whys: Vec<_> = refused.iter().map(|refused| refused.why).collect();
        use WhyRefused::{Cipher, NoEncryption, NotInPolicy, NotPreferred};
        let foreign = NotInPolicy(Foreign {
            cipher: true,
            ..Foreign::default()
        });
        assert_eq!(whys, [NotPreferred, foreign, Cipher, NoEncryption]);
    }
}

fn phase2_why(situation: &Situation, id: u8, attributes: &[Vec<u8>]) -> WhyRefused {
    let offer = phase2_offer(&[(id, attributes.concat())]);
    let sa = SecurityAssociation::parse(&offer).unwrap();
    phase2::refused(&Policy::compat(), situation, &sa)[0].why
}

// conformance: 2407-06 2407-07 2407-08 2407-09 2407-11 2407-12 4106-07 4304-01 2408-33
#[test]
fn phase_two_transforms_are_refused_by_name() {
    let here = direct();
    let transport = || short(4, 2);
    let why = |id: u8, attributes: &[Vec<u8>]| phase2_why(&here, id, attributes);
    assert_eq!(why(20, &[transport()]), WhyRefused::KeyLengthMissing);
    assert_eq!(
        why(20, &[transport(), short(6, 512)]),
        WhyRefused::KeyLength
    );
    assert_eq!(why(18, &[transport(), short(6, 128)]), WhyRefused::ShortIcv);
    assert_eq!(why(19, &[transport(), short(6, 128)]), WhyRefused::ShortIcv);
    assert_eq!(
        why(12, &[transport(), short(6, 128)]),
        WhyRefused::NoIntegrity
    );
    assert_eq!(
        why(12, &[transport(), short(6, 128), short(5, 1)]),
        WhyRefused::Hash
    );
    assert_eq!(
        why(3, &[transport(), short(6, 192), short(5, 2)]),
        WhyRefused::KeyLength
    );
    assert_eq!(
        why(11, &[transport(), short(5, 2)]),
        WhyRefused::NoEncryption
    );
    assert_eq!(why(99, &[transport(), short(5, 2)]), WhyRefused::Cipher);
    assert_eq!(why(20, &[short(6, 128)]), WhyRefused::AttributeMissing);
    assert_eq!(
        why(20, &[short(4, 1), short(6, 128)]),
        WhyRefused::TunnelMode
    );
    assert_eq!(
        why(20, &[short(4, 4), short(6, 128)]),
        WhyRefused::Encapsulation
    );
    assert_eq!(
        why(20, &[transport(), short(6, 128), short(2, 9)]),
        WhyRefused::LifeType
    );
    assert_eq!(
        why(20, &[transport(), short(6, 128), short(7, 9)]),
        WhyRefused::AttributeUnsupported
    );
    assert_eq!(
        why(20, &[transport(), short(6, 128), short(6, 256)]),
        WhyRefused::AttributeConflict
    );
    assert_eq!(
        why(20, &[transport(), short(6, 128), short(3, 14)]),
        WhyRefused::PfsGroup
    );
    assert_eq!(
        why(20, &[transport(), short(6, 128), short(11, 1)]),
        WhyRefused::Esn
    );
    assert_eq!(
        why(20, &[transport(), short(6, 128), short(11, 2)]),
        WhyRefused::AttributeUnsupported
    );
    let behind = natted();
    assert_eq!(
        phase2_why(&behind, 20, &[transport(), short(6, 128)]),
        WhyRefused::Encapsulation
    );
}

// conformance: 4304-01
#[test]
fn extended_sequence_numbers_are_taken_when_allowed() {
    let offer = phase2_offer(&[(20, [short(4, 2), short(6, 128), short(11, 1)].concat())]);
    let sa = SecurityAssociation::parse(&offer).unwrap();
    let policy = Policy {
        accept_esn: true,
        ..Policy::modern()
    };
    assert!(phase2::choose(&policy, &direct(), &sa).unwrap().terms.esn);
}

// conformance: 2408-16 2408-17
#[test]
fn several_protocols_at_once_are_refused_and_the_alternative_is_taken() {
    let gcm = [short(4, 2), short(6, 128)].concat();
    let mut offer = phase2_offer(&[(20, gcm.clone()), (20, gcm.clone()), (20, gcm)]);
    // Proposals 1 and 1 (a bundle) and 2.
    let second = 8 + (offer.len() - 8) / 3;
    offer[second + 4] = 1;
    let third = second + (second - 8);
    offer[third + 4] = 2;
    let sa = SecurityAssociation::parse(&offer).unwrap();
    let choice = phase2::choose(&Policy::modern(), &direct(), &sa).unwrap();
    let refused = phase2::refused(&Policy::modern(), &direct(), &sa);
    let whys: Vec<_> = refused.iter().map(|refused| refused.why).collect();
    assert_eq!(choice.terms.suite, Suite::AesGcm16 { key_bits: 128 });
    assert_eq!(whys, [WhyRefused::Bundle, WhyRefused::Bundle]);
}

// conformance: 2408-32
#[test]
fn an_unknown_protocol_costs_only_its_own_proposal() {
    let gcm = [short(4, 2), short(6, 128)].concat();
    let mut offer = phase2_offer(&[(20, gcm.clone()), (20, gcm)]);
    offer[13] = 77;
    let sa = SecurityAssociation::parse(&offer).unwrap();
    assert!(phase2::choose(&Policy::modern(), &direct(), &sa).is_some());
    let refused = phase2::refused(&Policy::modern(), &direct(), &sa);
    assert_eq!(refused[0].why, WhyRefused::Protocol);
    assert_eq!(refused.len(), 1);
}

#[test]
fn a_reserved_spi_is_refused() {
    let mut offer = phase2_offer(&[(20, [short(4, 2), short(6, 128)].concat())]);
    offer[16..20].copy_from_slice(&[0, 0, 0, 255]);
    let sa = SecurityAssociation::parse(&offer).unwrap();
    let refused = phase2::refused(&Policy::modern(), &direct(), &sa);
    assert_eq!(refused[0].why, WhyRefused::Spi);
}

#[test]
fn the_forward_secrecy_of_mikrotik_needs_the_compat_policy() {
    let attributes = [short(4, 2), short(6, 256), short(5, 2), short(3, 2)].concat();
    let offer = phase2_offer(&[(12, attributes)]);
    let sa = SecurityAssociation::parse(&offer).unwrap();
    let situation = Situation {
        public_len: Some(128),
        ..direct()
    };
    assert!(
        phase2::choose(&Policy::compat(), &situation, &sa)
            .unwrap()
            .terms
            .group
            .is_some()
    );
    let refused = phase2::refused(&Policy::modern(), &situation, &sa);
    assert_eq!(refused[0].why, WhyRefused::PfsGroup);
}

#[test]
fn drafts_and_the_rfc_number_udp_transport_differently() {
    for mode in [4, 61444] {
        let offer = windows_quick(mode);
        let sa = SecurityAssociation::parse(&offer).unwrap();
        assert!(phase2::choose(&Policy::modern(), &natted(), &sa).is_some());
    }
}
