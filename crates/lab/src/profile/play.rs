//! From a profile to the settings of the machines that play it.

use std::sync::Arc;
use std::time::Duration;

use crypto::{Random, Secret};
use ike::policy::{Phase2Proposal, Policy, Psk};
use l2tp::CallParameters;

use super::notation::EspTerms;
use super::{Call, Credentials, Ike, Link, Port, Profile, Tunnel};
use crate::client::{Habits, Settings};

/// What client 1 draws where a profile says random; every client draws something else.
const SEED: u64 = 0x6164_6974;

impl Profile {
    /// The settings of client `number`, from 1.
    #[must_use]
    pub fn client(&self, credentials: &Credentials, number: u32) -> Settings {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&(SEED + u64::from(number)).to_le_bytes());
        let random = &mut Random::from_seed(seed);
        let fill = |pattern: &str| pattern.replace("{}", &number.to_string());
        let psk = Secret::new(fill(&credentials.psk).into_bytes());
        let ipsec = self.ike.as_ref();
        Settings {
            ipsec: ipsec.map(|ike| Arc::new(ike.policy(psk, number, self.patience))),
            l2tp: Arc::new(self.l2tp.settings(credentials, number, random, self)),
            call: self.call.parameters(number),
            ppp: Arc::new(self.ppp.settings(
                &fill(&credentials.user),
                &fill(&credentials.password),
                random,
            )),
            setup_limit: self.patience,
            habits: self.habits(number),
        }
    }

    fn habits(&self, number: u32) -> Habits {
        let l2tp = &self.l2tp;
        let id = l2tp.counts_ids.then_some(1);
        Habits {
            l2tp_port: l2tp.port.of(number),
            tunnel_id: id,
            session_id: id,
            waits_for_acknowledgement: l2tp.waits_for_acknowledgement,
            wants_exact_header: l2tp.wants_exact_header,
            cuts_sha256: self.ike.as_ref().is_some_and(|ike| ike.quick.cuts_sha256),
            keeps_journal: false,
        }
    }
}

impl Ike {
    fn policy(&self, key: Secret, number: u32, patience: Duration) -> Policy {
        let quick = &self.quick;
        let psks = vec![Psk {
            peer: None,
            identity: None,
            key,
        }];
        let suites = quick.esp.iter().filter_map(|offer| offer.usable);
        let modern = Policy::modern();
        Policy {
            phase1: self
                .phase1
                .iter()
                .filter_map(|offer| offer.usable)
                .collect(),
            phase2: suites.map(|suite| Phase2Proposal { suite }).collect(),
            pfs_groups: quick.pfs.into_iter().collect(),
            pfs: quick.pfs,
            psks,
            phase1_lifetime: self.lifetime,
            phase2_lifetime: quick.lifetime,
            phase2_kilobytes: quick.kilobytes,
            dpd: None,
            short_public_values: true,
            nat_keepalive: self.keepalive,
            // What IKE waits for says more than that the client was given up.
            setup_limit: patience,
            ladder: match self.ladder.is_empty() {
                true => modern.ladder.clone(),
                false => self.ladder.clone(),
            },
            initial_contact: self.initial_contact,
            client_port: quick.local_port.of(number),
            port: quick.remote_port,
            habits: Some(Arc::new(self.habits())),
            ..modern
        }
    }

    fn habits(&self) -> ike::Habits {
        let seconds = |time: Duration| time.as_secs() as u32;
        let quick = &self.quick;
        let life = seconds(self.lifetime);
        let terms = EspTerms {
            seconds: seconds(quick.lifetime),
            kilobytes: quick.kilobytes,
            group: quick.pfs,
            is_long: self.has_long_lifetimes,
        };
        let phase1 = self.phase1.iter();
        ike::Habits {
            vendor_ids: self.vendor_ids.iter().map(|vid| vid.0.clone()).collect(),
            phase1: phase1
                .map(|offer| offer.attributes(life, self.has_long_lifetimes))
                .collect(),
            esp: quick
                .esp
                .iter()
                .map(|offer| offer.transform(terms))
                .collect(),
            has_proposal_each: quick.has_proposal_each,
            nonce_octets: self.nonce_octets,
            counts_quick_modes: quick.counts,
        }
    }
}

impl Tunnel {
    fn settings(
        &self,
        credentials: &Credentials,
        number: u32,
        random: &mut Random,
        profile: &Profile,
    ) -> l2tp::Settings {
        let secret = credentials.l2tp_secret.as_ref();
        let messages = self.messages.iter();
        let habits = l2tp::Habits {
            messages: messages
                .map(|(kind, avps)| (*kind, avps.iter().map(|avp| avp.item(random)).collect()))
                .collect(),
            results: self.results,
            ladder: self.ladder.clone(),
            opening_ladder: self.opening_ladder.clone(),
            opening_retransmissions: self.opening_tries,
            sends_one_at_a_time: self.sends_one_at_a_time,
            hears_one_at_a_time: self.hears_one_at_a_time,
        };
        l2tp::Settings {
            host_name: numbered(&self.host_name, number),
            vendor_name: self.vendor_name.clone(),
            framing_capabilities: self.framing,
            require_tunnel_auth: self.challenges && secret.is_some(),
            hide_avps: self.hides && secret.is_some(),
            secret: secret.map(|secret| Secret::new(secret.clone().into_bytes())),
            receive_window: self.window,
            hello_interval: self.hello,
            retransmissions: self.tries,
            setup_limit: profile.patience,
            habits: Some(Arc::new(habits)),
            ..l2tp::Settings::default()
        }
    }
}

impl Call {
    fn parameters(&self, number: u32) -> CallParameters {
        CallParameters {
            serial: number,
            bearer_type: self.bearer,
            calling_number: self
                .calling_number
                .as_deref()
                .map(|text| numbered(text, number)),
            called_number: self.called_number.clone(),
            tx_speed: self.tx_speed,
            rx_speed: self.rx_speed,
            framing_type: self.framing,
            ..CallParameters::default()
        }
    }
}

impl Link {
    fn settings(&self, user: &str, password: &str, random: &mut Random) -> ppp::Settings {
        let has = |options: &[super::PppOption], name: &str| options.iter().any(|one| one.is(name));
        let password = Secret::new(password.as_bytes());
        ppp::Settings {
            mru: self.mru,
            auth: self.auth.clone(),
            request_dns: has(&self.ipcp, "dns1"),
            request_wins: has(&self.ipcp, "nbns1"),
            request_pfc: has(&self.lcp, "pfc"),
            request_acfc: has(&self.lcp, "acfc"),
            restart_timer: self.restart,
            max_configure: self.tries,
            echo_interval: self.echo_interval,
            echo_failures: self.echo_failures,
            habits: Some(Arc::new(self.habits(random))),
            ..ppp::Settings::client(user, password)
        }
    }

    fn habits(&self, random: &mut Random) -> ppp::Habits {
        let mut asked = |options: &[super::PppOption]| -> Vec<ppp::Asked> {
            options.iter().map(|one| one.asked(random)).collect()
        };
        ppp::Habits {
            lcp: asked(&self.lcp),
            ipcp: asked(&self.ipcp),
            networks: self
                .networks
                .iter()
                .map(|network| ppp::Network {
                    protocol: network.protocol.0,
                    options: asked(&network.options),
                    is_first: network.is_first,
                })
                .collect(),
            identifications: self
                .identifications
                .iter()
                .map(|text| text.draw(random))
                .collect(),
        }
    }
}

impl Port {
    /// The dynamic ports of RFC 6335 §6.
    pub(super) fn of(self, number: u32) -> u16 {
        match self {
            Self::Fixed(port) => port,
            Self::Ephemeral => 49152 + (number % 16384) as u16,
        }
    }
}

/// The run of `#` is the number, with zeros in front.
fn numbered(pattern: &str, number: u32) -> String {
    let width = pattern.matches('#').count();
    match pattern.find('#') {
        Some(at) => format!(
            "{}{number:0width$}{}",
            &pattern[..at],
            &pattern[at + width..]
        ),
        None => pattern.to_owned(),
    }
}
