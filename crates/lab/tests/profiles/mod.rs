//! Every built-in profile against a server in memory: what it sends is as long and in the order
//! that the field knows, and it comes up, or ends where it says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::world::World;
use ike::policy::{Policy, Psk};
use lab::client::{Client, Medium, Settings, Way};
use lab::decode::keys::Keys;
use lab::decode::layer::Layer;
use lab::decode::{Decoder, Secrets};
use lab::fleet::ClientId;
use lab::profile::{self, Credentials, Needs, Profile};
use lab::replay::story::{Story, Telling};

const MINUTE: Duration = Duration::from_secs(60);

fn credentials() -> Credentials {
    Credentials {
        psk: "words".into(),
        user: "alice".into(),
        password: "secret".into(),
        l2tp_secret: None,
    }
}

/// Client 1 of a profile, with a journal.
fn client(name: &str) -> (Profile, Settings) {
    let profile = Profile::load(name).unwrap();
    let mut settings = profile.client(&credentials(), 1);
    settings.habits.keeps_journal = true;
    (profile, settings)
}

/// Plays a profile against a server with the policy that it needs.
fn play(name: &str, is_at_home: bool) -> (World, ClientId) {
    let (profile, settings) = client(name);
    let mut world = World::new();
    if profile.needs == Needs::Compat {
        compat(&mut world);
    }
    let id = match is_at_home {
        true => world.at_home(settings),
        false => world.host(settings),
    };
    world.run(2 * MINUTE);
    (world, id)
}

fn compat(world: &mut World) {
    let psks: Vec<Psk> = world.server.policy.psks.clone();
    let policy = Policy::compat();
    world.server.policy = Arc::new(Policy { psks, ..policy });
}

/// What it has sent over a medium, in order.
fn sent(client: &Client, medium: Medium) -> Vec<&[u8]> {
    let entries = client.journal().unwrap().entries.iter();
    entries
        .filter(|entry| entry.way == Way::Sent && entry.medium == medium)
        .map(|entry| &entry.octets[..])
        .collect()
}

/// The first control message of a type.
fn control(client: &Client, kind: u8) -> &[u8] {
    let all = sent(client, Medium::L2tp);
    let is_wanted = |message: &&&[u8]| message[0] & 0x80 != 0 && message.get(19) == Some(&kind);
    all.iter().find(is_wanted).unwrap()
}

#[test]
fn every_profile_comes_up_or_ends_where_it_says() {
    for name in profile::names() {
        for is_at_home in [false, true] {
            let (world, id) = play(name, is_at_home);
            let ends = Profile::load(name).unwrap().ends;
            let client = world.client(id);
            let failure = client.failure().map(ToString::to_string);
            match ends {
                None => assert!(
                    client.lease().is_some(),
                    "{name}, NAT {is_at_home}: {failure:?}"
                ),
                Some(ending) => assert_eq!(
                    client.failure().unwrap().stage,
                    Some(ending.stage),
                    "{name}, NAT {is_at_home}: {failure:?}"
                ),
            }
        }
    }
}

#[test]
fn under_a_policy_that_is_too_strict_no_proposal_is_chosen() {
    for name in profile::names() {
        let (profile, settings) = client(name);
        let mut world = World::new();
        let id = world.host(settings);
        world.run(2 * MINUTE);
        let failure = world.client(id).failure().map(ToString::to_string);
        match (profile.needs, profile.ends) {
            (Needs::Compat, None) => {
                let failure = failure.unwrap_or_else(|| panic!("{name} does not need compat"));
                let refusals = ["NO-PROPOSAL-CHOSEN", "refused the proposal"];
                let is_refused = refusals.iter().any(|refusal| failure.contains(refusal));
                assert!(is_refused, "{name}: {failure}");
            }
            (Needs::Compat, Some(_)) => assert!(failure.is_some(), "{name}"),
            (Needs::Modern | Needs::Plain, _) => assert_eq!(failure, None, "{name}"),
        }
    }
}

/// katalix/xl2tpd issue 219: 408 octets, and the vendor IDs in this order.
#[test]
fn the_first_message_of_windows_is_as_long_as_in_the_field() {
    for name in ["windows-10", "windows-11"] {
        let (world, id) = play(name, false);
        let messages = sent(world.client(id), Medium::Ike);
        assert_eq!(messages[0].len(), 408, "{name}");
        let vendor_ids = [
            "01528bbbc00696121849ab9a1c5b2a5100000001",
            "1e2b516905991c7d7c96fcbfb587e46100000009",
            "4a131c81070358455c5728f20e95452f",
            "90cb80913ebb696e086381b5ec427b1f",
            "4048b7d56ebce88525e7de7f00d6c2d3",
            "fb1de3cdf341b7ea16b7e5be0855f120",
            "26244d38eddb61b3172a36e3d0cfb819",
            "e3a5966a76379fe707228231e5ce8652",
        ];
        assert_eq!(vendor_ids_of(messages[0]), vendor_ids, "{name}");
    }
}

fn vendor_ids_of(message: &[u8]) -> Vec<String> {
    use ike::message::{Chain, HEADER_LEN, Padding, kind};
    let header = ike::peek(message).unwrap();
    let chain = Chain::parse(header.next_payload, &message[HEADER_LEN..], Padding::None).unwrap();
    let hex = |body: &[u8]| body.iter().map(|octet| format!("{octet:02x}")).collect();
    chain.all(kind::VENDOR_ID).map(hex).collect()
}

/// apache/cloudstack pull request 872: 444 octets on port 4500, message IDs 1, 2, ….
#[test]
fn the_quick_mode_of_windows_behind_a_nat_is_as_long_as_in_the_field() {
    let (world, id) = play("windows-10", true);
    let messages = sent(world.client(id), Medium::FloatedIke);
    let quick: Vec<&&[u8]> = messages.iter().filter(|one| one[18] == 32).collect();
    assert_eq!(quick[0].len(), 444);
    assert_eq!(quick[0][20..24], [0, 0, 0, 1], "the message ID");
}

#[test]
fn the_first_l2tp_messages_are_as_long_as_in_the_field() {
    for (name, octets) in [("windows-10", 108), ("windows-11", 108), ("nm-l2tp", 109)] {
        let (world, id) = play(name, false);
        assert_eq!(control(world.client(id), 1).len(), octets, "{name}");
    }
}

/// (vendor, attribute, M) of every AVP behind the Message Type.
fn avps(message: &[u8]) -> Vec<(u16, u16, bool)> {
    let mut reader = l2tp::avp::Reader::new(&message[20..], None);
    std::iter::from_fn(|| reader.next())
        .map(Result::unwrap)
        .map(|avp| {
            (
                avp.vendor,
                avp.attribute,
                avp.flags & l2tp::avp::MANDATORY != 0,
            )
        })
        .collect()
}

#[test]
fn avps_come_in_the_order_of_the_client_with_its_m_bits() {
    let (world, id) = play("apple", false);
    let m = |attribute| (0, attribute, true);
    assert_eq!(avps(control(world.client(id), 1)), [2, 3, 7, 9, 10].map(m));
    let sccrq = control(world.client(id), 1);
    assert!(
        sccrq.windows(4).any(|octets| octets == b"mac\0"),
        "the NUL is sent"
    );
    let (world, id) = play("android-9", false);
    assert_eq!(avps(control(world.client(id), 1)), [2, 7, 3, 9, 10].map(m));
    let (world, id) = play("windows-10", false);
    let icrq = avps(control(world.client(id), 10));
    assert_eq!(icrq, [m(14), m(15), m(18), (311, 1, false)]);
}

/// mtpd has one message under way, and starts PPP when the ICCN is acknowledged.
#[test]
fn android_says_nothing_new_before_it_was_heard() {
    let (world, id) = play("android-9", false);
    let mut unacknowledged = 0;
    let mut is_connected = false;
    for entry in &world.client(id).journal().unwrap().entries {
        let is_control = entry.medium == Medium::L2tp && entry.octets[0] & 0x80 != 0;
        match (entry.way, is_control) {
            (Way::Sent, true) if entry.octets.len() > 12 => {
                assert_eq!(unacknowledged, 0, "a second message under way");
                unacknowledged += 1;
                is_connected |= entry.octets[19] == 12;
            }
            (Way::Received, true) => unacknowledged = 0,
            (Way::Sent, false) if entry.medium == Medium::L2tp => {
                assert!(is_connected && unacknowledged == 0, "PPP before its time");
            }
            _ => {}
        }
    }
    assert!(is_connected);
}

#[test]
fn apple_asks_for_the_call_behind_the_scccn_without_waiting() {
    let (world, id) = play("apple", false);
    let entries = &world.client(id).journal().unwrap().entries;
    let l2tp: Vec<_> = entries
        .iter()
        .filter(|e| e.medium == Medium::L2tp)
        .collect();
    let scccn = l2tp
        .iter()
        .position(|e| e.octets.get(19) == Some(&3))
        .unwrap();
    assert_eq!(l2tp[scccn + 1].way, Way::Sent);
    assert_eq!(l2tp[scccn + 1].octets[19], 10, "ICRQ");
}

/// Apple's `prepare_StopCCN`: the low octet first, and an AVP of 14 octets.
#[test]
fn apple_says_goodbye_in_its_own_way_and_is_understood() {
    let (mut world, id) = play("apple", false);
    let now = world.now;
    world.fleet.hang_up(now, id);
    world.run(MINUTE);
    let stop = control(world.client(id), 4);
    let result = [0x80, 14, 0, 0, 0, 1, 1, 0];
    assert!(
        stop.windows(8).any(|octets| octets == result),
        "{stop:02x?}"
    );
    assert_eq!(world.server.tunnels_down, 1);
}

/// mtpd: a Result Code of two octets, which is always 6.
#[test]
fn android_says_goodbye_in_two_octets() {
    let (mut world, id) = play("android-9", false);
    let now = world.now;
    world.fleet.hang_up(now, id);
    world.run(MINUTE);
    let stop = control(world.client(id), 4);
    assert!(stop.ends_with(&[0x80, 8, 0, 0, 0, 1, 0, 6]), "{stop:02x?}");
    assert_eq!(world.server.tunnels_down, 1);
}

#[test]
fn a_lac_with_a_secret_asks_for_proof_and_hides_what_it_says_of_the_call() {
    let lac = Profile::load("cisco-lac").unwrap();
    let credentials = Credentials {
        l2tp_secret: Some("tunnel".into()),
        ..credentials()
    };
    let mut settings = lac.client(&credentials, 1);
    settings.habits.keeps_journal = true;
    let mut world = World::new();
    world.server.l2tp = Arc::new(l2tp::Settings {
        secret: Some(crypto::Secret::new(b"tunnel".to_vec())),
        ..l2tp::Settings::default()
    });
    let id = world.host(settings);
    world.run(MINUTE);
    let client = world.client(id);
    assert!(client.lease().is_some(), "{:?}", client.failure());
    let asks = |(vendor, attribute, _): &(u16, u16, bool)| (*vendor, *attribute) == (0, 11);
    assert!(avps(control(client, 1)).iter().any(asks));
    let icrq = control(client, 10);
    assert!(
        !icrq.windows(10).any(|octets| octets == b"4930000001"),
        "the calling number"
    );
    let order: Vec<u16> = avps(icrq)
        .iter()
        .map(|(_, attribute, _)| *attribute)
        .collect();
    assert_eq!(order, [36, 14, 15, 18, 22, 21, 1]);
}

#[test]
fn ladders_are_climbed_as_the_client_does() {
    for (name, expected) in [
        ("apple", vec![0, 1, 2, 3, 4, 5]),
        ("android-9", vec![0, 2, 4, 6, 8, 10]),
        ("windows-10", vec![0, 1, 3, 7, 15, 23]),
    ] {
        let profile = Profile::load(name).unwrap();
        let mut settings = profile.client(&credentials(), 1);
        settings.habits.keeps_journal = true;
        settings.ipsec = None;
        let mut world = World::new();
        world.is_cut = true;
        let id = world.host(settings);
        world.run(MINUTE);
        let entries = &world.client(id).journal().unwrap().entries;
        let start = entries[0].at;
        let times: Vec<u64> = entries.iter().map(|e| (e.at - start).as_secs()).collect();
        assert_eq!(times[..6], expected, "{name}");
    }
}

#[test]
fn ppp_asks_in_the_order_of_the_client_and_for_what_nobody_speaks() {
    let (world, id) = play("windows-10", false);
    let frames = ppp_frames(world.client(id));
    let lcp = frames.iter().find(|f| f[..3] == [0xc0, 0x21, 1]).unwrap();
    let kinds: Vec<u8> = option_kinds(&lcp[6..]);
    assert_eq!(kinds, [1, 5, 7, 8, 13]);
    let order: Vec<[u8; 2]> = frames
        .iter()
        .filter(|frame| frame[0] == 0x80 && frame[2] == 1)
        .map(|frame| [frame[0], frame[1]])
        .collect();
    assert_eq!(
        order[..3],
        [[0x80, 0xfd], [0x80, 0x57], [0x80, 0x21]],
        "CCP is not waited for"
    );
    let idents = frames.iter().filter(|frame| frame[..3] == [0xc0, 0x21, 12]);
    assert_eq!(idents.count(), 2);
    let (world, id) = play("apple", false);
    let acscp = [0x82, 0x35];
    let asked = ppp_frames(world.client(id))
        .iter()
        .filter(|f| f[..2] == acscp)
        .count();
    assert_eq!(asked, 1, "the Protocol-Reject is heard");
}

/// Protocol, code and the rest of every PPP frame that was sent.
fn ppp_frames(client: &Client) -> Vec<&[u8]> {
    let all = sent(client, Medium::L2tp).into_iter();
    all.filter(|message| message[0] & 0x80 == 0)
        .map(|message| &message[8..])
        .collect()
}

fn option_kinds(mut options: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [kind, length, ..] = options {
        kinds.push(*kind);
        options = &options[usize::from(*length)..];
    }
    kinds
}

/// The story of a profile against a server in memory.
fn story(name: &str) -> Story {
    let (world, id) = play(name, false);
    let profile = Profile::load(name).unwrap();
    let ends = ([10, 9, 1, 1].into(), [10, 9, 0, 2].into());
    Story::of(name, &profile, world.client(id), ends)
}

#[test]
fn the_story_of_a_content_client_tells_what_was_offered_and_what_was_chosen() {
    let told = story("windows-11");
    assert!(told.is_content, "{:?}", told.discontent);
    assert_eq!(told.steps[0].octets, 408);
    assert!(
        told.steps[0]
            .what
            .starts_with("main mode 1: SA (AES-CBC-256/SHA1/ECP384, ")
    );
    assert_eq!(
        told.steps[1].what,
        "main mode 2: SA (AES-CBC-128/SHA1/ECP256), VID ×3"
    );
    assert_eq!(told.steps[1].remark.as_deref(), Some("its choice 2 of 5"));
    let quick = told
        .steps
        .iter()
        .find(|step| step.what.starts_with("quick mode 2"));
    assert_eq!(quick.unwrap().remark.as_deref(), Some("its choice 1 of 5"));
    let text = Telling {
        story: &told,
        is_whole: false,
    };
    let text = text.to_string();
    assert!(text.contains("  K LCP asks for a callback"), "{text}");
    assert!(text.ends_with("content\n"), "{text}");
}

#[test]
fn the_story_of_a_client_that_ends_where_it_has_to_says_why() {
    let told = story("android-6");
    assert!(!told.is_content);
    let ending = told.ending.unwrap();
    assert!(
        ending.starts_with("L2TP tunnel: HMAC-SHA2-256 with 96 bits"),
        "{ending}"
    );
    assert!(told.steps.iter().any(|step| step.is_repeated));
}

#[test]
fn what_a_client_does_not_take_is_told_at_the_message() {
    let (_, mut settings) = client("android-9");
    settings.ipsec = None;
    let mut world = World::new();
    let id = world.host(settings);
    // The copy of what came last is older than what is expected.
    world.run(Duration::ZERO);
    let last = world.last.clone();
    let refused = |world: &World| {
        let entries = world.client(id).journal().unwrap().entries.iter();
        entries.filter(|entry| entry.refusal.is_some()).count()
    };
    let before = refused(&world);
    let mut broken = last;
    let at = broken.len() - 2;
    broken.truncate(at);
    broken[3] -= 2;
    world.deliver(&broken);
    assert_eq!(refused(&world), before + 1);
}

/// (name, mandatory, value) of each AVP, or name and value of each option; what differs between any
/// two clients of a kind is left out.
fn contents(layer: &Layer) -> Vec<String> {
    const OWN: [&str; 6] = [
        "Host Name",
        "Assigned Tunnel ID",
        "Assigned Session ID",
        "Call Serial Number",
        "Magic-Number",
        "Interface-Identifier",
    ];
    let shown = |part: &Layer| {
        let own = OWN.contains(&part.name());
        let value = part.field("value").filter(|_| !own);
        format!("{} {:?} {value:?}", part.name(), part.field("M"))
    };
    layer.parts().iter().map(shown).collect()
}

/// The last layer of the first message of every kind that the client sent.
fn firsts<'l>(messages: impl Iterator<Item = &'l Layer>) -> BTreeMap<String, Vec<String>> {
    let mut firsts = BTreeMap::new();
    for layer in messages {
        let text = |key: &str| layer.field(key).and_then(|value| value.as_str());
        let kind = text("message").or_else(|| text("code")).unwrap_or_default();
        let name = format!("{} {kind}", layer.name());
        firsts.entry(name).or_insert_with(|| contents(layer));
    }
    firsts
}

/// The capture was taken from the user-mode Linux peer of `tests/interop`: strongSwan, xl2tpd and
/// pppd of Debian. What the profile says is what that peer said.
#[test]
fn linux_with_xl2tpd_says_what_the_real_one_said() {
    let mut keys = Keys::default();
    keys.add(include_str!("../captures/natt-aes128gcm16.toml"))
        .unwrap();
    let mut decoder = Decoder::new(keys, Secrets::default());
    let mut real = Vec::new();
    let capture = &include_bytes!("../captures/natt-aes128gcm16.pcap")[..];
    lab::decode::capture::read(capture, |frame| {
        let packet = decoder.decode(frame);
        let source = packet
            .layers
            .iter()
            .find_map(|layer| layer.field("source").cloned());
        let ip = packet
            .layers
            .iter()
            .filter_map(|layer| layer.field("source"))
            .nth(1);
        if ip.and_then(|ip| ip.as_str()) == Some("10.9.0.1") && source.is_some() {
            real.extend(packet.layers.last().cloned());
        }
        Ok(())
    })
    .unwrap();
    let real = firsts(real.iter());
    let told = story("linux-xl2tpd");
    let sent = told.steps.iter().filter(|step| step.way == "sent");
    let played = firsts(sent.filter_map(|step| step.layers.last()));
    for kind in [
        "L2TP control SCCRQ",
        "L2TP control SCCCN",
        "L2TP control ICRQ",
        "L2TP control ICCN",
        "LCP Configure-Request",
        "IPCP Configure-Request",
        "IPV6CP Configure-Request",
    ] {
        assert!(
            real.contains_key(kind),
            "{kind} is not in the capture: {:?}",
            real.keys()
        );
        assert_eq!(played.get(kind), real.get(kind), "{kind}");
    }
}
