//! `adit-lab decode` on captures of strongSwan, xl2tpd and pppd, as they are and changed on purpose.
//!
//! tshark says what is in them (`the_same_is_found_as_by_tshark`); everything else is held against
//! the same captures with one thing wrong.

#[cfg(test)]
mod decode {
    pub(super) mod bench;
    mod damage;
    mod exchanges;
    mod layers;
    mod verdicts;
}
