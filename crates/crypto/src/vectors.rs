//! Known answers from RFCs and from other people's implementations. Each file names its source.

mod cbc;
mod esp;
mod hmac;

/// Bytes from hexadecimal digits; white space between them does not count.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits
        .bytes()
        .filter(|digit| !digit.is_ascii_whitespace())
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
