//! Random ids by which requests, traces and events are found again.
//!
//! They need only be unlikely to repeat: no decision depends on one. They come of the system's source all the same, a stock
//! of them at a time and for each thread, so that an id costs little and tells nothing of the next one.

use std::cell::RefCell;

const STOCK: usize = 1024;

thread_local!(static MINE: RefCell<Stock> = const { RefCell::new(Stock { bytes: [0; STOCK], used: STOCK }) });

struct Stock {
    bytes: [u8; STOCK],
    used: usize,
}

impl Stock {
    fn next<const N: usize>(&mut self) -> [u8; N] {
        let rest = self.bytes.get(self.used..).and_then(<[u8]>::first_chunk);
        if let Some(next) = rest.copied() {
            self.used += N;
            return next;
        }
        // What a failing source leaves harms nobody.
        let _ = aws_lc_rs::rand::fill(&mut self.bytes);
        self.used = N;
        self.bytes.first_chunk().copied().unwrap_or([0; N])
    }
}

fn next<const N: usize>() -> [u8; N] {
    MINE.try_with(|mine| mine.borrow_mut().next()).unwrap_or([0; N])
}

/// 64 random bits, and not 0, which is nobody's id.
pub fn random() -> u64 {
    u64::from_ne_bytes(next()).max(1)
}

/// A random UUID (RFC 9562 §5.4), as text.
pub fn uuid() -> String {
    let bits = u128::from_ne_bytes(next()) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let [high, low] = [bits >> 64, bits].map(|half| hexadecimal(half as u64));
    let mut text = String::with_capacity(36);
    for (place, digit) in high.into_iter().chain(low).enumerate() {
        if matches!(place, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(char::from(digit));
    }
    text
}

/// Its 16 digits in lower case.
pub fn hexadecimal(bits: u64) -> [u8; 16] {
    let mut digits = bits.to_be_bytes().map(|byte| [byte >> 4, byte & 0xf]);
    digits.as_flattened_mut().iter_mut().for_each(|digit| *digit += if *digit < 10 { b'0' } else { b'a' - 10 });
    let mut text = [0; 16];
    text.copy_from_slice(digits.as_flattened());
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_id_does_not_repeat_and_looks_like_one() {
        let ids: HashSet<u64> = (0..10 * STOCK).map(|_| random()).collect();
        assert_eq!(ids.len(), 10 * STOCK);
        let elsewhere = std::thread::spawn(|| (0..STOCK).map(|_| random()).collect::<Vec<_>>()).join().unwrap();
        assert!(elsewhere.iter().all(|id| !ids.contains(id)));
        for bits in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX, random()] {
            assert_eq!(hexadecimal(bits), *format!("{bits:016x}").as_bytes());
        }
    }

    #[test]
    fn a_uuid_is_random_and_says_so() {
        let uuids: HashSet<String> = (0..STOCK).map(|_| uuid()).collect();
        assert_eq!(uuids.len(), STOCK);
        for uuid in uuids {
            let parts: Vec<&str> = uuid.split('-').collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{uuid}");
            assert!(parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']), "{uuid}");
            assert!(uuid.bytes().all(|byte| byte == b'-' || matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{uuid}");
        }
    }
}
