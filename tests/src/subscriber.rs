//! Who the subscribers are: how they dial, where they are, and what they have.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crypto::Secret;
use crypto::esp::Suite;
use ike::Policy;
use ike::policy::{Dpd, Natt, Phase2Proposal};
use l2tp::CallParameters;
use lab::client::{Habits, Lease, Settings};
use lab::fleet::ClientId;
use ppp::Method;

use crate::dice::Dice;
use crate::gateway::settings::{PASSWORD, policy, user};
use crate::nat::Place;
use crate::tuning::Tuning;
use crate::wire::Stamp;

/// How a subscriber travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    /// L2TP in the clear.
    Plain,
    /// ESP as an IP protocol of its own.
    Esp,
    /// ESP in UDP.
    EspInUdp,
}

/// Whether the gateway should let a subscriber in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// It should.
    Right,
    /// The password is wrong.
    WrongPassword,
    /// The pre-shared key is wrong.
    WrongKey,
}

/// One incarnation of a subscriber's client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number in its fleet.
    pub id: ClientId,
    /// The address by which the fleet tells it from others.
    pub token: Ipv4Addr,
}

/// A subscriber.
#[derive(Debug)]
pub struct Subscriber {
    /// How it travels.
    pub carriage: Carriage,
    /// Whether it should be let in.
    pub credentials: Credentials,
    /// How its client is set.
    pub settings: Arc<Settings>,
    /// Where it is.
    pub place: Place,
    /// Its client, unless it has none at the moment.
    pub line: Option<Line>,
    /// What it was given, while it is up.
    pub lease: Option<Lease>,
    /// What the gateway had applied when it sent what came here last.
    pub seen: Stamp,
    /// Nothing goes through its line.
    pub is_cut: bool,
}

/// Hosts behind one NAT.
const NAT_HOUSEHOLD: usize = 4;
/// Every so-manieth has a wrong password, or a wrong key.
const STRANGER_EVERY: usize = 25;

impl Subscriber {
    /// Subscriber `index` of this seed.
    #[must_use]
    pub fn draw(index: usize, tuning: &Tuning, dice: &mut Dice) -> Self {
        let carriage = [Carriage::Plain, Carriage::Esp, Carriage::EspInUdp][index % 3];
        let credentials = match (index % STRANGER_EVERY, carriage) {
            (23, _) => Credentials::WrongPassword,
            (11, Carriage::Esp | Carriage::EspInUdp) => Credentials::WrongKey,
            _ => Credentials::Right,
        };
        let place = place(index, carriage, dice);
        let ipsec = match carriage {
            Carriage::Plain => None,
            Carriage::Esp | Carriage::EspInUdp => {
                Some(Arc::new(ipsec(carriage, credentials, place, tuning, dice)))
            }
        };
        let settings = Settings {
            ipsec,
            l2tp: Arc::new(l2tp::Settings {
                host_name: format!("host{index}"),
                hello_interval: Some(dice.seconds(30..60)),
                ..l2tp::Settings::default()
            }),
            call: CallParameters {
                serial: index as u32,
                sequencing_required: dice.permille(100),
                ..CallParameters::default()
            },
            ppp: Arc::new(ppp(index, credentials, dice)),
            habits: Habits::default(),
            setup_limit: Duration::from_secs(60),
        };
        Self {
            carriage,
            credentials,
            settings: Arc::new(settings),
            place,
            line: None,
            lease: None,
            seen: Stamp::default(),
            is_cut: false,
        }
    }

    /// Which fleet its clients belong to: 0 dials where IPsec is required, 1 the other listener.
    #[must_use]
    pub fn fleet(&self) -> usize {
        usize::from(self.carriage == Carriage::Plain)
    }

    /// How often a letter may come through its line: what is not sealed is not told from a copy.
    #[must_use]
    pub fn copies(&self) -> u32 {
        match self.carriage {
            Carriage::Plain => 2,
            Carriage::Esp | Carriage::EspInUdp => 1,
        }
    }

    /// Its NAT, if there is one, makes new mappings.
    pub fn rebind(&mut self, dice: &mut Dice) {
        if self.place.is_behind_nat() {
            let first = dice.within(1024..65_000) as u16;
            self.place.rebind(self.place.public, first);
        }
    }
}

fn place(index: usize, carriage: Carriage, dice: &mut Dice) -> Place {
    let [_, _, high, low] = (index as u32 + 10).to_be_bytes();
    let host = Place::host(Ipv4Addr::new(198, 51, high, low));
    let is_behind_nat = match carriage {
        Carriage::Esp => false,
        Carriage::Plain | Carriage::EspInUdp => dice.permille(700),
    };
    if !is_behind_nat {
        return host;
    }
    // A household shares the address, and its hosts may all believe to be the same one.
    let household = (index / NAT_HOUSEHOLD) as u8;
    let inside = Ipv4Addr::new(192, 168, 1, dice.one_of(&[2, 2, 3]));
    let public = Ipv4Addr::new(198, 51, 100, household);
    let first = 2000 + 100 * (index % NAT_HOUSEHOLD) as u16 + dice.within(0..50) as u16;
    Place::behind_nat(inside, public, first)
}

fn ipsec(
    carriage: Carriage,
    credentials: Credentials,
    place: Place,
    tuning: &Tuning,
    dice: &mut Dice,
) -> Policy {
    let mut policy = policy(tuning);
    let proposals = dice.within(1..4);
    policy.phase2 = (0..proposals)
        .map(|_| Phase2Proposal { suite: suite(dice) })
        .collect();
    policy.natt = match (carriage, place.is_behind_nat()) {
        (Carriage::Esp | Carriage::Plain, _) => dice.one_of(&[Natt::Off, Natt::Detect]),
        (Carriage::EspInUdp, true) => Natt::Detect,
        (Carriage::EspInUdp, false) => Natt::Force,
    };
    if credentials == Credentials::WrongKey {
        policy.psks[0].key = Secret::new("another");
    }
    policy.initial_contact = dice.permille(500);
    policy.rekey = dice.permille(500);
    policy.phase1_lifetime = dice.seconds(4000..20_000);
    policy.phase2_lifetime = dice.seconds(200..700);
    policy.dpd = Some(Dpd {
        interval: dice.seconds(20..60),
        retry: Duration::from_secs(5),
        tries: 5,
    });
    policy
}

fn suite(dice: &mut Dice) -> Suite {
    loop {
        let suite = dice.one_of(&Suite::ALL);
        // The policy of the gateway has no 3DES.
        if !matches!(suite, Suite::TripleDesCbc { .. }) {
            return suite;
        }
    }
}

fn ppp(index: usize, credentials: Credentials, dice: &mut Dice) -> ppp::Settings {
    let password = match credentials {
        Credentials::WrongPassword => "abracadabra",
        Credentials::Right | Credentials::WrongKey => PASSWORD,
    };
    let mut settings = ppp::Settings::client(&user(index), Secret::new(password));
    settings.auth = match dice.within(0..4) {
        0 => vec![Method::Pap],
        1 => vec![Method::ChapMd5],
        2 => vec![Method::MsChapV2],
        _ => vec![Method::MsChapV2, Method::ChapMd5, Method::Pap],
    };
    settings.echo_interval = dice.seconds(20..60);
    settings
}
