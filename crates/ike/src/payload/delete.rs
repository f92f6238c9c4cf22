//! Delete (RFC 2408 §3.15): SAs that their owner has given up.

use crate::Refusal;
use crate::message::{Cookie, Cookies, Spi};
use crate::payload::notification::{DOI_IPSEC, PROTO_IPSEC_ESP, PROTO_ISAKMP};

/// The most SPIs that one payload may name.
const SPIS_MAX: usize = 256;

/// The body of a delete payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delete {
    /// ISAKMP SAs, by their cookies.
    Isakmp(Vec<Cookies>),
    /// IPsec SAs, by the SPIs at which the sender receives.
    Esp(Vec<Spi>),
    /// SAs of a protocol that we do not speak.
    Other(u8),
}

impl Delete {
    /// Reads the body of a delete payload.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let (&[a, b, c, d, protocol, spi_len, count_high, count_low], spis) =
            body.split_first_chunk().ok_or(Refusal::BadDelete)?;
        if u32::from_be_bytes([a, b, c, d]) != DOI_IPSEC {
            return Err(Refusal::UnknownDoi);
        }
        let count = usize::from(u16::from_be_bytes([count_high, count_low]));
        let spi_len = usize::from(spi_len);
        // RFC 2408 §3.15: all SPIs of one payload are of one protocol, hence of one length.
        if spis.len() != count * spi_len || count > SPIS_MAX {
            return Err(Refusal::BadDelete);
        }
        match (protocol, spi_len) {
            (PROTO_ISAKMP, 16) => Ok(Self::Isakmp(
                spis.as_chunks().0.iter().map(cookies).collect(),
            )),
            (PROTO_IPSEC_ESP, 4) => {
                let spis = spis.as_chunks().0.iter();
                Ok(Self::Esp(
                    spis.map(|&spi| Spi(u32::from_be_bytes(spi))).collect(),
                ))
            }
            (PROTO_ISAKMP | PROTO_IPSEC_ESP, _) => Err(Refusal::BadSpiSize),
            _ => Ok(Self::Other(protocol)),
        }
    }

    /// The body of a delete payload.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (protocol, spi_len, spis): (u8, u8, Vec<Vec<u8>>) = match self {
            Self::Isakmp(sas) => {
                let spis = sas.iter().map(|c| [c.initiator.0, c.responder.0].concat());
                (PROTO_ISAKMP, 16, spis.collect())
            }
            Self::Esp(spis) => {
                let spis = spis.iter().map(|spi| spi.0.to_be_bytes().to_vec());
                (PROTO_IPSEC_ESP, 4, spis.collect())
            }
            Self::Other(protocol) => (*protocol, 0, Vec::new()),
        };
        let count = u16::try_from(spis.len()).expect("fewer SPIs than SAs of one peer");
        let mut out = DOI_IPSEC.to_be_bytes().to_vec();
        out.extend_from_slice(&[protocol, spi_len]);
        out.extend_from_slice(&count.to_be_bytes());
        out.extend(spis.into_iter().flatten());
        out
    }
}

fn cookies(spi: &[u8; 16]) -> Cookies {
    let mut cookies = Cookies {
        initiator: Cookie::ZERO,
        responder: Cookie::ZERO,
    };
    cookies.initiator.0.copy_from_slice(&spi[..8]);
    cookies.responder.0.copy_from_slice(&spi[8..]);
    cookies
}
