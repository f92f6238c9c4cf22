//! The Link Control Protocol's options (RFC 1661 §6, RFC 1662 §7.1).
//!
//! ```text
//!               we ask            the peer may ask
//! MRU           settings          from 128
//! ACCM          never             any: over L2TP nothing is escaped
//! Auth          server: by list   client: what is on its list
//! Magic         random            not ours, not 0
//! PFC, ACFC     settings          settings
//! all others    never             rejected (callback, MRRU, endpoint discriminator, …)
//! ```

use std::sync::Arc;

use crypto::Random;

use crate::frame::{code, protocol};
use crate::negotiation::Dialect;
use crate::options::{ConfigOption, Judgement, Objections, Options, Patience, push};
use crate::{DEFAULT_MRU, DownReason, MIN_MRU, Method, Negotiated, Role, Settings};

/// Option types.
mod kind {
    pub(super) const MRU: u8 = 1;
    pub(super) const ACCM: u8 = 2;
    pub(super) const AUTHENTICATION_PROTOCOL: u8 = 3;
    pub(super) const MAGIC_NUMBER: u8 = 5;
    pub(super) const PFC: u8 = 7;
    pub(super) const ACFC: u8 = 8;
}

/// Configure-Requests in a row with our own magic number that prove a loop (RFC 1661 §6.4). One
/// may be chance, with a probability of 2⁻³².
const LOOPBACK_LIMIT: u32 = 5;

/// RFC 1662 §7.1: all control characters are mapped unless agreed otherwise; we suggest none.
const NO_CONTROL_CHARACTERS: u32 = 0;

/// Both sides' options.
pub(crate) struct Lcp {
    settings: Arc<Settings>,
    ours: Wanted,
    /// Methods the peer has refused.
    refused: Box<[Method]>,
    peer: Peer,
    /// Configure-Requests with our magic number in a row.
    echoes: u32,
}

/// What our Configure-Request holds; `None` and `false` after a Reject.
struct Wanted {
    mru: Option<u16>,
    auth: Option<Method>,
    magic: Option<u32>,
    pfc: bool,
    acfc: bool,
}

/// What the peer's last Configure-Request would come to.
#[derive(Clone, Copy)]
struct Peer {
    mru: u16,
    auth: Option<Method>,
    pfc: bool,
    acfc: bool,
}

impl Peer {
    /// RFC 1661 §6: what holds for an option that isn't there.
    const DEFAULT: Self = Self {
        mru: DEFAULT_MRU,
        auth: None,
        pfc: false,
        acfc: false,
    };
}

impl Lcp {
    pub(crate) fn new(settings: Arc<Settings>, random: &mut Random) -> Self {
        let auth = match settings.role {
            Role::Server => settings.auth.first().copied(),
            Role::Client => None,
        };
        Self {
            ours: Wanted {
                mru: Some(settings.mru),
                auth,
                magic: Some(magic_number(random)),
                pfc: settings.request_pfc,
                acfc: settings.request_acfc,
            },
            refused: Box::default(),
            peer: Peer::DEFAULT,
            echoes: 0,
            settings,
        }
    }

    pub(crate) fn negotiated(&self) -> Negotiated {
        Negotiated {
            peer_mru: self.peer.mru,
            own_mru: self.ours.mru.unwrap_or(DEFAULT_MRU),
            pfc: self.peer.pfc,
            acfc: self.peer.acfc,
            auth: self.ours.auth.or(self.peer.auth),
        }
    }

    /// RFC 1661 §5.8: zero unless the Magic-Number option was agreed on.
    pub(crate) fn magic(&self) -> u32 {
        self.ours.magic.unwrap_or(0)
    }

    fn judge_option(
        &mut self,
        option: ConfigOption<'_>,
        objections: &mut Objections,
        random: &mut Random,
    ) {
        match option.kind {
            kind::MRU => self.judge_mru(option, objections),
            kind::ACCM if option.u32().is_some() => {}
            kind::ACCM => objections.nak(option, &NO_CONTROL_CHARACTERS.to_be_bytes()),
            kind::AUTHENTICATION_PROTOCOL => self.judge_auth(option, objections),
            kind::MAGIC_NUMBER => self.judge_magic(option, objections, random),
            kind::PFC if self.settings.accept_pfc && option.value.is_empty() => {
                self.peer.pfc = true;
            }
            kind::ACFC if self.settings.accept_acfc && option.value.is_empty() => {
                self.peer.acfc = true;
            }
            _ => objections.reject(option),
        }
    }

    fn judge_mru(&mut self, option: ConfigOption<'_>, objections: &mut Objections) {
        match option.u16() {
            Some(mru) if mru >= MIN_MRU => self.peer.mru = mru,
            Some(_) => objections.nak(option, &MIN_MRU.to_be_bytes()),
            None => objections.nak(option, &DEFAULT_MRU.to_be_bytes()),
        }
    }

    /// A server proves itself to nobody (but by MS-CHAPv2); a client only by what it has.
    fn judge_auth(&mut self, option: ConfigOption<'_>, objections: &mut Objections) {
        let preferred = match self.settings.role {
            Role::Server => None,
            Role::Client => self.settings.auth.first(),
        };
        let Some(&preferred) = preferred else {
            return objections.reject(option);
        };
        match decode_method(option.value).filter(|method| self.settings.auth.contains(method)) {
            Some(method) => self.peer.auth = Some(method),
            None => objections.nak(option, encode_method(preferred)),
        }
    }

    fn judge_magic(
        &mut self,
        option: ConfigOption<'_>,
        objections: &mut Objections,
        random: &mut Random,
    ) {
        let is_ours = option.u32().is_some() && option.u32() == self.ours.magic;
        self.echoes = if is_ours { self.echoes + 1 } else { 0 };
        // RFC 1661 §6.4: zero and our own number get a Nak with another one.
        if is_ours || option.u32().is_none_or(|magic| magic == 0) {
            objections.nak(option, &magic_number(random).to_be_bytes());
        }
    }

    /// RFC 1661 §6.2: from the strongest method to the weakest, as the peer refuses them; what it
    /// proposes instead is taken at once if the settings allow it.
    fn fall_back(&mut self, proposed: Option<Method>) -> Result<(), DownReason> {
        let Some(current) = self.ours.auth else {
            return Ok(());
        };
        if proposed == Some(current) {
            return Ok(());
        }
        self.refused = [&self.refused[..], &[current]].concat().into();
        let mut left = self
            .settings
            .auth
            .iter()
            .copied()
            .filter(|method| !self.refused.contains(method));
        let next = left.clone().find(|&method| Some(method) == proposed);
        // Without a next one the last remains: a server never goes on asking for nothing.
        let next = next.or_else(|| left.next());
        self.ours.auth = Some(next.ok_or(DownReason::NoCommonMethod)?);
        Ok(())
    }
}

impl Dialect for Lcp {
    const PROTOCOL: u16 = protocol::LCP;
    const LAST_CODE: u8 = code::TIME_REMAINING;

    fn request(&self) -> Vec<u8> {
        let mut list = Vec::new();
        if let Some(mru) = self.ours.mru {
            push(&mut list, kind::MRU, &mru.to_be_bytes());
        }
        if let Some(method) = self.ours.auth {
            push(
                &mut list,
                kind::AUTHENTICATION_PROTOCOL,
                encode_method(method),
            );
        }
        if let Some(magic) = self.ours.magic {
            push(&mut list, kind::MAGIC_NUMBER, &magic.to_be_bytes());
        }
        if self.ours.pfc {
            push(&mut list, kind::PFC, &[]);
        }
        if self.ours.acfc {
            push(&mut list, kind::ACFC, &[]);
        }
        list
    }

    fn judge(
        &mut self,
        options: Options<'_>,
        patience: Patience,
        random: &mut Random,
    ) -> Result<Judgement, DownReason> {
        self.peer = Peer::DEFAULT;
        let mut objections = Objections::new(patience);
        for option in options.iter() {
            self.judge_option(option, &mut objections, random);
        }
        match self.echoes < LOOPBACK_LIMIT {
            true => Ok(objections.judge()),
            false => Err(DownReason::Loopback),
        }
    }

    fn adopt(&mut self, options: Options<'_>, random: &mut Random) -> Result<(), DownReason> {
        for option in options.iter() {
            match option.kind {
                // A smaller MRU is no promise the less; a bigger one we did not ask for.
                kind::MRU => {
                    self.ours.mru = self.ours.mru.map(|asked| {
                        let proposed = option.u16().unwrap_or(asked);
                        proposed.clamp(MIN_MRU.min(asked), asked)
                    });
                }
                kind::AUTHENTICATION_PROTOCOL => self.fall_back(decode_method(option.value))?,
                // RFC 1661 §6.4: a new number, not the peer's.
                kind::MAGIC_NUMBER => {
                    self.ours.magic = self.ours.magic.map(|_| magic_number(random));
                }
                // RFC 1661 §5.3: options we did not ask for are a hint, and we know why we did not.
                _ => {}
            }
        }
        Ok(())
    }

    fn drop_rejected(&mut self, options: Options<'_>) -> Result<(), DownReason> {
        for option in options.iter() {
            match option.kind {
                kind::MRU => self.ours.mru = None,
                kind::AUTHENTICATION_PROTOCOL if self.ours.auth.is_some() => {
                    return Err(DownReason::NoCommonMethod);
                }
                kind::MAGIC_NUMBER => self.ours.magic = None,
                kind::PFC => self.ours.pfc = false,
                kind::ACFC => self.ours.acfc = false,
                _ => {}
            }
        }
        Ok(())
    }
}

/// RFC 1661 §6.4: random, and never zero.
fn magic_number(random: &mut Random) -> u32 {
    random.u32().max(1)
}

fn encode_method(method: Method) -> &'static [u8] {
    match method {
        Method::Pap => &[0xc0, 0x23],
        Method::ChapMd5 => &[0xc2, 0x23, 0x05],
        // RFC 2759 §2: algorithm 0x81.
        Method::MsChapV2 => &[0xc2, 0x23, 0x81],
    }
}

fn decode_method(value: &[u8]) -> Option<Method> {
    [Method::Pap, Method::ChapMd5, Method::MsChapV2]
        .into_iter()
        .find(|&method| encode_method(method) == value)
}
