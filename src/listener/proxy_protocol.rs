//! The PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt): what a load balancer says before anything else
//! about the connection that it passes on.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::socket::canonical;

const WORD: &[u8] = b"PROXY ";
/// With the line's end; the protocol allows no more.
const LONGEST_LINE: usize = 107;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Of what follows a signature. Balancers send some dozen bytes, or a few hundred about a client's certificate.
const LARGEST_BLOCK: u16 = 4096;
const VERSION_2_LOCAL: u8 = 0x20;
const VERSION_2_PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;
const UNIX_DATAGRAM: u8 = 0x32;
const CHECKSUM: u8 = 0x03;

/// Why a connection has no header to go by.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("there is no PROXY header")]
    Missing,
    #[error("no PROXY header came within limits.handshake")]
    Late,
    #[error("the PROXY header {0}")]
    Malformed(&'static str),
    #[error("the PROXY header breaks off: {0}")]
    Broken(#[from] io::Error),
}

/// True where somebody begins with a header.
pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(WORD) || bytes.starts_with(SIGNATURE)
}

/// Reads a header, and not a byte of what follows it. The client that it names, an IPv4-mapped address as IPv4; `None`
/// where it names none: the balancer speaks for itself (`LOCAL`), or of something that is not TCP (`UNKNOWN`).
///
/// # Errors
/// At the first byte that shows that there is no header, or none that can be used.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, HeaderError> {
    let first = stream.read_u8().await?;
    let client = match (WORD.first(), SIGNATURE.first()) {
        (Some(word), _) if *word == first => read_text(stream, first).await,
        (_, Some(signature)) if *signature == first => read_binary(stream).await,
        _ => Err(HeaderError::Missing),
    };
    Ok(client?.map(canonical))
}

async fn read_text(stream: &mut (impl AsyncRead + Unpin), first: u8) -> Result<Option<SocketAddr>, HeaderError> {
    let mut line = Vec::with_capacity(LONGEST_LINE);
    line.push(first);
    while !line.ends_with(b"\r\n") {
        if line.len() == LONGEST_LINE {
            return Err(HeaderError::Malformed("is longer than 107 bytes"));
        }
        line.push(stream.read_u8().await?);
        if !line.iter().zip(WORD).all(|(byte, expected)| byte == expected) {
            return Err(HeaderError::Missing);
        }
    }
    text_source(&line)
}

/// Of a whole line.
fn text_source(line: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    const MALFORMED: HeaderError = HeaderError::Malformed("is not \"PROXY FAMILY FROM TO PORT PORT\"");
    let line = line.strip_prefix(WORD).and_then(|line| line.strip_suffix(b"\r\n")).ok_or(MALFORMED)?;
    // Whatever else such a line says is to be ignored.
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(None);
    }
    let line = std::str::from_utf8(line).map_err(|_| MALFORMED)?;
    let fields: Vec<&str> = line.split(' ').collect();
    let &[family, from, to, from_port, to_port] = fields.as_slice() else { return Err(MALFORMED) };
    let from: Option<IpAddr> = match family {
        "TCP4" => from.parse::<Ipv4Addr>().ok().map(Into::into),
        "TCP6" => from.parse::<Ipv6Addr>().ok().map(Into::into),
        _ => None,
    };
    // Some balancers were reached by the other family than they name.
    let to: Option<IpAddr> = to.parse().ok();
    match (from, to, port(from_port), port(to_port)) {
        (Some(from), Some(_), Some(port), Some(_)) => Ok(Some(SocketAddr::new(from, port))),
        _ => Err(MALFORMED),
    }
}

/// Digits alone, and no zero before others.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// After the first byte of the signature.
async fn read_binary(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, HeaderError> {
    for expected in SIGNATURE.iter().skip(1) {
        if stream.read_u8().await? != *expected {
            return Err(HeaderError::Missing);
        }
    }
    let command = stream.read_u8().await?;
    let family = stream.read_u8().await?;
    let length = stream.read_u16().await?;
    if length > LARGEST_BLOCK {
        return Err(HeaderError::Malformed("is longer than 4 KiB"));
    }
    let mut block = vec![0; length.into()];
    stream.read_exact(&mut block).await?;
    match command {
        // What else it says is to be skipped.
        VERSION_2_LOCAL => Ok(None),
        VERSION_2_PROXY => binary_source(family, &block),
        _ => Err(HeaderError::Malformed("is of an unknown version or command")),
    }
}

/// Of a header that passes a client's connection on; `block` is what follows its first 16 bytes.
fn binary_source(family: u8, block: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    const SHORT: HeaderError = HeaderError::Malformed("is too short for its addresses");
    let (client, extensions): (SocketAddr, &[u8]) = match family {
        UNSPECIFIED | UNIX_STREAM | UNIX_DATAGRAM => return Ok(None),
        TCP_OVER_IPV4 => {
            let (&[a, b, c, d, _, _, _, _, high, low, _, _], rest) = block.split_first_chunk().ok_or(SHORT)?;
            ((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into(), rest)
        }
        TCP_OVER_IPV6 => {
            let (from, rest) = block.split_first_chunk::<16>().ok_or(SHORT)?;
            let (_to, rest) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
            let (&[high, low, _, _], rest) = rest.split_first_chunk().ok_or(SHORT)?;
            ((Ipv6Addr::from(*from), u16::from_be_bytes([high, low])).into(), rest)
        }
        _ => return Err(HeaderError::Malformed("names neither TCP over IPv4 nor over IPv6")),
    };
    check_extensions(family, block, extensions)?;
    Ok(Some(client))
}

/// Each has a type, a length and a value; none but the checksum of the whole says anything that is needed here.
fn check_extensions(family: u8, block: &[u8], mut rest: &[u8]) -> Result<(), HeaderError> {
    const MALFORMED: HeaderError = HeaderError::Malformed("has an extension that breaks off");
    while let Some((kind, after)) = rest.split_first() {
        let (length, after) = after.split_first_chunk().ok_or(MALFORMED)?;
        let (value, after) = after.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(MALFORMED)?;
        if *kind == CHECKSUM {
            let told = value.try_into().map(u32::from_be_bytes).map_err(|_| MALFORMED)?;
            let begin = block.len() - after.len() - value.len();
            if told != checksum(family, block, begin..begin + value.len()) {
                return Err(HeaderError::Malformed("does not match its checksum"));
            }
        }
        rest = after;
    }
    Ok(())
}

/// Of a whole header, with zeros where the checksum itself stands.
fn checksum(family: u8, block: &[u8], itself: std::ops::Range<usize>) -> u32 {
    let length = u16::try_from(block.len()).unwrap_or_default().to_be_bytes();
    let head = SIGNATURE.iter().copied().chain([VERSION_2_PROXY, family]).chain(length);
    let block = block.iter().enumerate().map(|(at, byte)| if itself.contains(&at) { 0 } else { *byte });
    crc32c(head.chain(block))
}

/// CRC-32C (RFC 3720 §12.1): for a few hundred bytes a table would be no gain.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    let step = |crc: u32, _| (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
    !bytes.fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(byte), step))
}

#[cfg(test)]
mod tests;
