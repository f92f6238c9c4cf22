//! ISAKMP and IKEv1: messages payload by payload, the encrypted ones with SKEYID_e.
//!
//! The key is given; everything else follows from the capture (RFC 2409 appendix B): the first IV
//! of phase 1 from the public values, the first of any later exchange from the last block of phase
//! 1 and the message ID, every other from the last block of the message before. Because a capture
//! may lack messages or have them in another order, each IV that can be right is tried, the most
//! likely first; what tells is the chain of payloads, and the HASH where SKEYID_a is there.

mod payloads;
mod transcript;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crypto::cipher::Cbc;
use crypto::hash::Hash;
use crypto::{Secret, ct_eq};
use ike::message::{self, Chain, Exchange, HEADER_LEN, Header, Padding, kind};
use ike::v1::Fragments;
use ike::{Cookie, Refusal};

use super::keys::IkeKey;
use super::layer::{Fault, Layer, Packet, named};
use super::{Decoder, LAYERS_MAX, names};
use payloads::Surroundings;
use transcript::{End, Transcript};

/// ISAKMP SAs that are remembered.
const SAS_MAX: usize = 1 << 16;
/// Exchanges of one of them.
const EXCHANGES_MAX: usize = 64;
/// Messages of one of them whose repetition is recognised.
const SEEN_MAX: usize = 256;
/// Last blocks of one exchange: it has three messages, and phase 1 ends with two encrypted ones.
const BLOCKS_MAX: usize = 4;
/// Ends, each with a message in fragments of its own.
const ENDS: usize = 2;

/// Every ISAKMP SA of which something was seen.
pub(super) struct Sas {
    keys: BTreeMap<Cookie, IkeKey>,
    sas: BTreeMap<Cookie, Sa>,
}

#[derive(Default)]
struct Sa {
    initiator: Option<IpAddr>,
    phase1: Run,
    /// A message of phase 1 did not open, so that nothing behind it can.
    is_shut: bool,
    exchanges: BTreeMap<u32, Run>,
    /// The IV of each message that was opened, by a digest of the message.
    seen: BTreeMap<[u8; 16], Vec<u8>>,
    fragments: [Fragments; ENDS],
}

/// One exchange, as far as it has come.
#[derive(Default)]
struct Run {
    said: Transcript,
    /// The last block of each encrypted message, the newest first.
    blocks: Vec<Vec<u8>>,
}

/// A message whose header is sound.
struct Message<'m> {
    header: Header,
    octets: &'m [u8],
    ends: [SocketAddr; 2],
}

/// An encrypted message in clear.
struct Opened {
    plain: Vec<u8>,
    /// The HASH that it proves itself with, if that was checked.
    proof: Proof,
    is_repetition: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// Phase 1, or SKEYID_a is not known.
    Unchecked,
    Good(&'static str),
    Wrong,
}

impl Decoder {
    pub(super) fn isakmp(&mut self, ends: [SocketAddr; 2], octets: &[u8], packet: &mut Packet) {
        if packet.layers.len() > LAYERS_MAX {
            return packet.malformed("more layers than anybody needs");
        }
        let header = match ike::peek(octets) {
            Ok(header) => header,
            Err(Refusal::UnknownVersion) if octets[17] >> 4 == 2 => {
                return packet
                    .layers
                    .push(Layer::new("IKEv2").with("octets", octets.len()));
            }
            Err(refusal) => {
                packet.layers.push(Layer::new("ISAKMP"));
                return packet.malformed(refusal);
            }
        };
        let message = Message {
            header,
            octets,
            ends,
        };
        if header.next_payload == kind::FRAGMENT && !header.is_encrypted() {
            return self.fragment(&message, packet);
        }
        let (sa, key) = self.isakmp.find(&header);
        let mut layer = message.layer();
        sa.read(
            &message,
            key,
            &self.secrets.psks,
            &mut layer,
            &mut packet.faults,
        );
        packet.layers.push(layer);
    }

    fn fragment(&mut self, message: &Message<'_>, packet: &mut Packet) {
        let (sa, _) = self.isakmp.find(&message.header);
        let [source, destination] = message.ends;
        let fragments = &mut sa.fragments[usize::from(source > destination)];
        let layer = Layer::new("ISAKMP fragment")
            .showing("cookie", message.header.cookies.initiator)
            .with("octets", message.body().len());
        packet.layers.push(layer);
        match fragments.add(message.header.next_payload, message.body()) {
            Ok(whole) => self.isakmp(message.ends, &whole, packet),
            Err(Refusal::FragmentStored) => {}
            Err(refusal) => packet.malformed(refusal),
        }
    }
}

impl Sas {
    pub(super) fn new(keys: BTreeMap<Cookie, IkeKey>) -> Self {
        Self {
            keys,
            sas: BTreeMap::new(),
        }
    }

    fn find(&mut self, header: &Header) -> (&mut Sa, Option<&IkeKey>) {
        let cookie = header.cookies.initiator;
        if self.sas.len() == SAS_MAX && !self.sas.contains_key(&cookie) {
            self.sas.pop_first();
        }
        (self.sas.entry(cookie).or_default(), self.keys.get(&cookie))
    }
}

impl Message<'_> {
    fn body(&self) -> &[u8] {
        &self.octets[HEADER_LEN..]
    }

    fn layer(&self) -> Layer {
        let exchange = self.header.exchange.number();
        let mut layer = Layer::new("ISAKMP")
            .with("exchange", named(names::exchange(exchange), exchange))
            .showing("initiator cookie", self.header.cookies.initiator)
            .showing("responder cookie", self.header.cookies.responder);
        if self.header.message_id != 0 {
            layer.set("message id", format!("{:#010x}", self.header.message_id));
        }
        if self.header.is_encrypted() {
            layer.set("encrypted", true);
        }
        if self.header.flags & message::FLAG_COMMIT != 0 {
            layer.set("commit", true);
        }
        layer
    }

    fn is_phase1(&self) -> bool {
        matches!(
            self.header.exchange,
            Exchange::MainMode | Exchange::Aggressive
        )
    }

    fn digest(&self) -> [u8; 16] {
        let mut digest = [0; 16];
        digest.copy_from_slice(&Hash::Md5.digest(&[self.octets]));
        digest
    }
}

impl Sa {
    fn read(
        &mut self,
        message: &Message<'_>,
        key: Option<&IkeKey>,
        psks: &[Secret],
        layer: &mut Layer,
        faults: &mut Vec<Fault>,
    ) {
        if message.header.is_first() {
            self.initiator = Some(message.ends[0].ip());
        }
        let opened = match self.open(message, key, psks) {
            Ok(opened) => opened,
            Err(fault) => return faults.push(fault),
        };
        let (bytes, padding) = match &opened {
            Some(opened) => (&opened.plain[..], Padding::Allowed),
            None => (message.body(), Padding::None),
        };
        let chain = match Chain::parse(message.header.next_payload, bytes, padding) {
            Ok(chain) => chain,
            Err(refusal) => return faults.push(Fault::Malformed(refusal.to_string())),
        };
        if let Some(opened) = &opened {
            tell(opened, layer, faults);
        }
        self.note(message, &chain);
        self.show(message, &chain, layer, faults);
        if message.is_phase1() && !psks.is_empty() {
            self.check_proof(message, &chain, psks, layer, faults);
        }
    }

    /// Decrypts; `None` is a message in clear.
    fn open(
        &mut self,
        message: &Message<'_>,
        key: Option<&IkeKey>,
        psks: &[Secret],
    ) -> Result<Option<Opened>, Fault> {
        if !message.header.is_encrypted() {
            return Ok(None);
        }
        let key = key.ok_or_else(|| no_key(message, psks))?;
        let no_phase1 =
            || Fault::NoKey("the capture lacks phase 1, from which the IVs follow".into());
        let cipher = self.cipher(key).ok_or_else(no_phase1)?;
        let digest = message.digest();
        let known = self.seen.get(&digest).cloned();
        let is_repetition = known.is_some();
        let ivs = match known {
            Some(iv) => vec![iv],
            None => self.ivs(message, cipher.1),
        };
        if ivs.is_empty() {
            let text = "phase 1 was not opened, from which the IVs follow";
            return Err(match self.is_shut {
                true => Fault::NotOpened(text.into()),
                false => no_phase1(),
            });
        }
        let tried = self.try_ivs(message, &cipher.0, &ivs, key.skeyid_a.as_ref());
        self.is_shut |= message.is_phase1() && tried.is_err();
        let (iv, opened, proof) = tried?;
        if !is_repetition {
            self.advance(message, digest, iv, opened.next_iv);
        }
        Ok(Some(Opened {
            plain: opened.plain,
            proof,
            is_repetition,
        }))
    }

    /// The cipher and the length of its blocks.
    fn cipher(&self, key: &IkeKey) -> Option<(Cbc, usize)> {
        let algorithm = key.cipher.or(self.phase1.said.cipher)?;
        let cipher = match key.key.len() == algorithm.key_len() {
            true => Cbc::new(algorithm, key.key.expose()),
            false => {
                // SKEYID_e itself.
                let hash = self.phase1.said.hash?;
                let grown = ike::keys::expand(hash, key.key.expose(), algorithm.key_len());
                Cbc::new(algorithm, grown.expose())
            }
        };
        Some((cipher?, algorithm.block_len()))
    }

    /// Every IV that the message may have, the most likely first.
    fn ivs(&self, message: &Message<'_>, block_len: usize) -> Vec<Vec<u8>> {
        let mut ivs = match message.is_phase1() {
            true => self.phase1.blocks.clone(),
            false => {
                let run = self.exchanges.get(&message.header.message_id);
                run.map(|run| run.blocks.clone()).unwrap_or_default()
            }
        };
        match (message.is_phase1(), self.phase1.said.hash) {
            (true, _) => ivs.extend(self.phase1.said.phase1_iv(block_len)),
            (false, Some(hash)) => {
                let id = message.header.message_id.to_be_bytes();
                let blocks = self.phase1.blocks.iter();
                ivs.extend(blocks.map(|block| hash.digest(&[block, &id])[..block_len].to_vec()));
            }
            (false, None) => {}
        }
        ivs
    }

    fn try_ivs(
        &self,
        message: &Message<'_>,
        cipher: &Cbc,
        ivs: &[Vec<u8>],
        skeyid_a: Option<&Secret>,
    ) -> Result<(Vec<u8>, message::Opened, Proof), Fault> {
        let mut doubtful = None;
        for iv in ivs {
            let opened = message::open(message.octets, cipher, iv)
                .map_err(|refusal| Fault::NotOpened(refusal.to_string()))?;
            let first = message.header.next_payload;
            let Ok(chain) = Chain::parse(first, &opened.plain, Padding::Allowed) else {
                continue;
            };
            match self.prove(message, &chain, skeyid_a) {
                Proof::Wrong => doubtful = Some((iv.clone(), opened, Proof::Wrong)),
                proof @ (Proof::Unchecked | Proof::Good(_)) => {
                    return Ok((iv.clone(), opened, proof));
                }
            }
        }
        let text = "no payloads: the key is another SA's, or earlier messages are missing";
        doubtful.ok_or_else(|| Fault::NotOpened(text.into()))
    }

    /// RFC 2409 §5.5, §5.7: which of the three HASHes a message after phase 1 begins with.
    fn prove(&self, message: &Message<'_>, chain: &Chain<'_>, skeyid_a: Option<&Secret>) -> Proof {
        if message.is_phase1() {
            return Proof::Unchecked;
        }
        let (Some(key), Some(hash)) = (skeyid_a, self.phase1.said.hash) else {
            return Proof::Unchecked;
        };
        let Ok(given) = chain.leading(kind::HASH) else {
            return Proof::Wrong;
        };
        let id = &message.header.message_id.to_be_bytes()[..];
        let (key, rest) = (key.expose(), chain.after_first());
        let said = self
            .exchanges
            .get(&message.header.message_id)
            .map(|run| &run.said);
        let nonce_i = said.and_then(|said| said.nonce_i.as_deref());
        let nonce_r = said.and_then(|said| said.nonce_r.as_deref());
        let is = |parts: &[&[u8]]| ct_eq(&hash.hmac(key, parts), given);
        match (nonce_i, nonce_r) {
            _ if is(&[id, rest]) => Proof::Good("HASH(1) good"),
            (Some(i), _) if is(&[id, i, rest]) => Proof::Good("HASH(2) good"),
            (Some(i), Some(r)) if is(&[&[0], id, i, r]) => Proof::Good("HASH(3) good"),
            _ => Proof::Wrong,
        }
    }

    /// The next message of the exchange has the last block of this one as its IV.
    fn advance(&mut self, message: &Message<'_>, digest: [u8; 16], iv: Vec<u8>, next: Vec<u8>) {
        if self.seen.len() == SEEN_MAX {
            self.seen.clear();
        }
        self.seen.insert(digest, iv);
        let run = self.run(message);
        run.blocks.insert(0, next);
        run.blocks.truncate(BLOCKS_MAX);
    }

    fn run(&mut self, message: &Message<'_>) -> &mut Run {
        if message.is_phase1() {
            return &mut self.phase1;
        }
        let id = message.header.message_id;
        if self.exchanges.len() == EXCHANGES_MAX && !self.exchanges.contains_key(&id) {
            self.exchanges.pop_first();
        }
        self.exchanges.entry(id).or_default()
    }

    fn note(&mut self, message: &Message<'_>, chain: &Chain<'_>) {
        let from = self.from(message);
        match message.header.exchange {
            Exchange::MainMode | Exchange::Aggressive => {
                self.phase1.said.note_phase1(&message.header, chain, from);
            }
            // Either end may begin a quick mode; its nonces come in order.
            Exchange::QuickMode => self.run(message).said.note_nonce(chain, None),
            Exchange::Informational | Exchange::Transaction => {}
        }
    }

    /// Who sent a message of phase 1, if addresses tell.
    fn from(&self, message: &Message<'_>) -> Option<End> {
        let [source, destination] = message.ends.map(|end| end.ip());
        match self.initiator {
            Some(_) if source == destination => None,
            Some(initiator) if initiator == source => Some(End::Initiator),
            Some(_) => Some(End::Responder),
            None => None,
        }
    }

    fn show(
        &self,
        message: &Message<'_>,
        chain: &Chain<'_>,
        layer: &mut Layer,
        faults: &mut Vec<Fault>,
    ) {
        let around = Surroundings {
            cookies: message.header.cookies,
            ends: message.ends,
            hash: self.phase1.said.hash,
        };
        for payload in chain.payloads() {
            match payloads::show(payload, &around) {
                Ok(part) => layer.add(part),
                Err(refusal) => faults.push(Fault::Malformed(refusal.to_string())),
            }
        }
    }

    /// RFC 2409 §5: HASH_I and HASH_R, where a pre-shared key was given.
    fn check_proof(
        &self,
        message: &Message<'_>,
        chain: &Chain<'_>,
        psks: &[Secret],
        layer: &mut Layer,
        faults: &mut Vec<Fault>,
    ) {
        let Ok(given) = chain.single(kind::HASH) else {
            return;
        };
        let (prover, name) = match self.from(message) {
            Some(End::Initiator) => (End::Initiator, "HASH_I"),
            Some(End::Responder) => (End::Responder, "HASH_R"),
            None if self.phase1.said.id_r.is_some() => (End::Responder, "HASH_R"),
            None => (End::Initiator, "HASH_I"),
        };
        let proof = |psk: &Secret| self.phase1.said.proof(prover, psk, message.header.cookies);
        let proofs: Vec<_> = psks.iter().filter_map(proof).collect();
        if proofs.is_empty() {
            return;
        }
        match proofs.iter().position(|proof| ct_eq(proof, given)) {
            Some(number) => layer.set(
                "proof",
                format!("{name} good with pre-shared key {}", number + 1),
            ),
            None => {
                let text = format!("{name} is not made with the pre-shared key that was given");
                faults.push(Fault::WrongHash(text));
            }
        }
    }
}

fn tell(opened: &Opened, layer: &mut Layer, faults: &mut Vec<Fault>) {
    layer.set("opened", true);
    if opened.is_repetition {
        layer.set("repetition", true);
    }
    match opened.proof {
        Proof::Unchecked => {}
        Proof::Good(name) => layer.set(name, true),
        Proof::Wrong => {
            let text = "neither HASH(1) nor HASH(2) nor HASH(3)";
            faults.push(Fault::WrongHash(text.into()));
        }
    }
}

fn no_key(message: &Message<'_>, psks: &[Secret]) -> Fault {
    let cookie = message.header.cookies.initiator;
    let why = match message.header.exchange {
        _ if psks.is_empty() => "",
        Exchange::Aggressive => "; HASH_I is encrypted, and a pre-shared key alone opens nothing",
        Exchange::MainMode
        | Exchange::Informational
        | Exchange::Transaction
        | Exchange::QuickMode => {
            "; a pre-shared key alone opens nothing: SKEYID_e needs the Diffie-Hellman secret too"
        }
    };
    Fault::NoKey(format!("ISAKMP SA {cookie}{why}"))
}

#[cfg(test)]
mod tests;
