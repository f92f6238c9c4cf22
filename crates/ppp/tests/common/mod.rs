//! Two links, or a link and a script, on a wire that tests can spoil.

#![allow(dead_code)] // Each test binary uses its own part.
#![allow(clippy::wildcard_enum_match_arm)] // Tests pick what they look for.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto::{Random, Secret};
use ppp::{
    Addresses, Credentials, DownReason, Grant, Link, Method, Output, Proof, Refusal, Settings,
    UserSecret, Verdict,
};

pub(crate) const USER: &str = "alice";
pub(crate) const PASSWORD: &[u8] = b"open sesame";
pub(crate) const PEER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 7);
pub(crate) const OWN_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
pub(crate) const DNS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn epoch() -> Instant {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    #[allow(clippy::disallowed_methods)] // An Instant cannot be had in any other way.
    *EPOCH.get_or_init(Instant::now)
}

pub(crate) fn random(seed: u64) -> Random {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Random::from_seed(bytes)
}

pub(crate) fn server(auth: &[Method]) -> Settings {
    Settings {
        auth: auth.to_vec(),
        ..Settings::server("lns")
    }
}

pub(crate) fn client() -> Settings {
    Settings::client(USER, Secret::new(PASSWORD))
}

pub(crate) fn grant() -> Grant {
    Grant {
        peer_address: PEER_ADDRESS,
        own_address: OWN_ADDRESS,
        dns: vec![DNS],
        wins: vec![],
        authenticator_response: None,
    }
}

/// What a gateway would say about these credentials.
pub(crate) fn judge(credentials: &Credentials) -> Verdict {
    let secret = UserSecret::Password(Secret::new(PASSWORD));
    let knows = matches!(credentials, Credentials::None) || credentials.user() == USER;
    match credentials.check(&secret).filter(|_| knows) {
        Some(Proof {
            authenticator_response,
        }) => Verdict::Accept(Grant {
            authenticator_response,
            ..grant()
        }),
        None => Verdict::Reject {
            message: "wrong password".to_owned(),
        },
    }
}

/// A link with everything it ever said, in order.
pub(crate) struct End {
    pub(crate) link: Link,
    pub(crate) now: Instant,
    pub(crate) random: Random,
    pub(crate) said: Vec<Output>,
    /// How much of `said` was looked at by [`Self::sent`] and the wire.
    pub(crate) read: usize,
    /// Answer `Authenticate` at once.
    pub(crate) authorizes: bool,
}

impl End {
    pub(crate) fn new(settings: Settings, seed: u64) -> Self {
        let mut random = random(seed);
        let now = epoch();
        Self {
            link: Link::new(Arc::new(settings), now, &mut random),
            now,
            random,
            said: Vec::new(),
            read: 0,
            authorizes: true,
        }
    }

    pub(crate) fn opened(settings: Settings, seed: u64) -> Self {
        let mut end = Self::new(settings, seed);
        end.open();
        end
    }

    pub(crate) fn open(&mut self) {
        self.link.open(self.now, &mut self.random, &mut self.said);
    }

    pub(crate) fn input(&mut self, frame: &[u8]) {
        let before = self.said.len();
        self.link
            .handle_input(self.now, frame, &mut self.random, &mut self.said);
        self.authorize_since(before);
    }

    pub(crate) fn timeout(&mut self) {
        let before = self.said.len();
        self.link
            .handle_timeout(self.now, &mut self.random, &mut self.said);
        self.authorize_since(before);
    }

    fn authorize_since(&mut self, before: usize) {
        let asked = self.said[before..].iter().find_map(|output| match output {
            Output::Authenticate(credentials) => Some(judge(credentials)),
            _ => None,
        });
        if let Some(verdict) = asked.filter(|_| self.authorizes) {
            self.authorize(verdict);
        }
    }

    pub(crate) fn authorize(&mut self, verdict: Verdict) {
        self.link
            .authorize(self.now, verdict, &mut self.random, &mut self.said);
    }

    pub(crate) fn close(&mut self, reason: DownReason) {
        self.link.close(self.now, reason, &mut self.said);
    }

    /// Lets time pass, with every deadline in between.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some((at, _)) = self.link.poll_timeout().filter(|(at, _)| *at <= until) {
            self.now = at.max(self.now);
            self.timeout();
        }
        self.now = until;
    }

    /// What it said since the last look, in a readable form.
    pub(crate) fn heard(&mut self) -> Vec<&Output> {
        let news = &self.said[self.read..];
        self.read = self.said.len();
        news.iter().collect()
    }

    /// The frames since the last look.
    pub(crate) fn sent(&mut self) -> Vec<Vec<u8>> {
        self.heard()
            .into_iter()
            .filter_map(|output| match output {
                Output::Send(frame) => Some(frame.clone()),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn up(&self) -> Option<&Addresses> {
        self.said.iter().rev().find_map(|output| match output {
            Output::Up(addresses) => Some(addresses),
            _ => None,
        })
    }

    pub(crate) fn is_up(&self) -> bool {
        let count = |wanted: fn(&Output) -> bool| self.said.iter().filter(|o| wanted(o)).count();
        count(|output| matches!(output, Output::Up(_)))
            > count(|output| matches!(output, Output::NetworkDown))
    }

    pub(crate) fn down(&self) -> Option<&DownReason> {
        self.said.iter().find_map(|output| match output {
            Output::Down(reason) => Some(reason),
            _ => None,
        })
    }

    pub(crate) fn last_refusal(&self) -> Option<Refusal> {
        match self.said.last() {
            Some(Output::Discarded(refusal)) => Some(*refusal),
            _ => None,
        }
    }

    /// `Down` at most once, nothing behind it but discards; `Up` and `NetworkDown` in turn.
    pub(crate) fn check_order(&self) {
        let mut is_up = false;
        let mut is_down = false;
        for output in &self.said {
            let is_discard = matches!(output, Output::Discarded(_));
            assert!(!is_down || is_discard, "{output:?} behind Down");
            match output {
                Output::Up(_) => assert!(!std::mem::replace(&mut is_up, true)),
                Output::NetworkDown => assert!(std::mem::replace(&mut is_up, false)),
                Output::Down(_) => {
                    assert!(!is_up, "Down while up");
                    is_down = true;
                }
                _ => {}
            }
        }
    }
}

/// Moves frames to and fro until both have nothing left to say, without letting time pass.
pub(crate) fn talk(a: &mut End, b: &mut End) {
    loop {
        let (to_b, to_a) = (a.sent(), b.sent());
        if to_a.is_empty() && to_b.is_empty() {
            return;
        }
        to_b.iter().for_each(|frame| b.input(frame));
        to_a.iter().for_each(|frame| a.input(frame));
    }
}

/// A server and a client that are both up.
pub(crate) fn pair(server: Settings, client: Settings) -> (End, End) {
    let mut server = End::opened(server, 1);
    let mut client = End::opened(client, 2);
    talk(&mut server, &mut client);
    (server, client)
}

/// A frame from hexadecimal digits; blanks and `│` part the fields.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16).map(|digit| digit as u8))
        .collect();
    assert!(digits.len().is_multiple_of(2), "odd digits in {text}");
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// As many octets as the type says.
pub(crate) fn octets<const N: usize>(text: &str) -> [u8; N] {
    hex(text).try_into().expect("as many digits as announced")
}
