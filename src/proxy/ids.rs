//! By which a request is found again elsewhere: `X-Request-Id`, and the trace that it is part of (W3C Trace Context,
//! <https://www.w3.org/TR/trace-context/>).

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::telemetry::ids::{hexadecimal, random};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const LONGEST_ID: usize = 128;
/// What everybody must pass on of `tracestate`.
const LONGEST_STATE: usize = 512;
const MOST_STATES: usize = 32;
/// `00-` trace id `-` span id `-` flags.
const LENGTH: usize = 55;
/// Sampled, and made at random.
const KNOWN_FLAGS: u8 = 0b11;

/// The id of a request: visible ASCII, at most 128 characters.
#[derive(Clone, Debug)]
pub(super) struct RequestId(Id);

#[derive(Clone, Debug)]
enum Id {
    Own(Digits),
    Given(Arc<str>),
}

/// In whole words, which are seen to be text at a glance.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
struct Digits([u8; 16]);

impl RequestId {
    /// 64 random bits in hexadecimal.
    pub(super) fn random() -> Self {
        Self(Id::Own(Digits(hexadecimal(random()))))
    }

    /// The one that a trusted proxy gave; None where there is none that can be taken.
    pub(super) fn given(headers: &HeaderMap) -> Option<Self> {
        let id = single(headers, REQUEST_ID)?;
        let sane = (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
        sane.then(|| Self(Id::Given(id.into())))
    }

    pub(super) fn as_str(&self) -> &str {
        match &self.0 {
            Id::Own(Digits(digits)) => std::str::from_utf8(digits).unwrap_or_default(),
            Id::Given(id) => id,
        }
    }
}

/// The trace of a request, and the part in it that is the gate's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    id: String,
    span: u64,
    flags: u8,
    state: Option<HeaderValue>,
}

impl Trace {
    /// The client's, continued; another one where what the client says is none; None where it says nothing.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        headers.get(TRACEPARENT)?;
        let Some((id, flags)) = single(headers, TRACEPARENT).and_then(parse) else {
            let id = format!("{:016x}{:016x}", random(), random());
            return Some(Self { id, span: random(), flags: 0, state: None });
        };
        Some(Self { id: id.to_owned(), span: random(), flags, state: state(headers) })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Says to the registry what it is part of.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let parent = format!("00-{}-{:016x}-{:02x}", self.id, self.span, self.flags);
        if let Ok(parent) = HeaderValue::from_str(&parent) {
            headers.insert(TRACEPARENT, parent);
        }
        if let Some(state) = &self.state {
            headers.insert(TRACESTATE, state.clone());
        }
    }
}

/// Trace id and flags. A version to come may say more behind them.
fn parse(text: &str) -> Option<(&str, u8)> {
    let (known, more) = text.split_at_checked(LENGTH)?;
    let mut parts = known.split('-');
    let [version, trace, span, flags] = [(); 4].map(|()| parts.next().unwrap_or_default());
    let lengths = [(version, 2), (trace, 32), (span, 16), (flags, 2)];
    let well = lengths.iter().all(|(part, length)| part.len() == *length && part.bytes().all(is_hexadecimal));
    let ends = if version == "00" { more.is_empty() } else { more.is_empty() || more.starts_with('-') };
    let is_nothing = |part: &str| part.bytes().all(|digit| digit == b'0');
    if !well || !ends || version == "ff" || is_nothing(trace) || is_nothing(span) {
        return None;
    }
    Some((trace, u8::from_str_radix(flags, 16).ok()? & KNOWN_FLAGS))
}

/// What vendors say of the trace, where it is no more than everybody must pass on.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let fields: Option<Vec<&str>> = headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok()).collect();
    let state = fields?.join(",");
    let fits = (1..=LONGEST_STATE).contains(&state.len()) && state.split(',').count() <= MOST_STATES;
    let member = |member: &str| {
        let member = member.trim_matches([' ', '\t']);
        member.is_empty() || member.split_once('=').is_some_and(|(key, value)| !key.is_empty() && !value.is_empty())
    };
    if fits && state.split(',').all(member) { HeaderValue::from_str(&state).ok() } else { None }
}

fn is_hexadecimal(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// The value of a header that came once.
fn single(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(of: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in of {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn continued(of: &[(HeaderName, &str)]) -> HeaderMap {
        let mut out = HeaderMap::new();
        Trace::of(&headers(of)).unwrap().write(&mut out);
        out
    }

    #[test]
    fn a_request_id_is_short_and_visible() {
        let given = |value: &str| RequestId::given(&headers(&[(REQUEST_ID, value)])).map(|id| id.as_str().to_owned());
        for sane in ["1", "7b3e0a5c-11d2-4f5e-9a46-0d7c0bd5c111", "a\"\\{}~!", &"x".repeat(128)] {
            assert_eq!(given(sane).as_deref(), Some(sane));
        }
        for other in ["", "a b", "a\tb", "ä", &"x".repeat(129)] {
            assert_eq!(given(other), None, "{other:?}");
        }
        assert!(RequestId::given(&headers(&[(REQUEST_ID, "a"), (REQUEST_ID, "a")])).is_none());
        assert!(RequestId::given(&HeaderMap::new()).is_none());
        let own = RequestId::random();
        assert!(own.as_str().len() == 16 && own.as_str().bytes().all(is_hexadecimal));
    }

    #[test]
    fn a_trace_goes_on_with_a_span_of_our_own() {
        let trace = Trace::of(&headers(&[(TRACEPARENT, PARENT)])).unwrap();
        assert_eq!((trace.id(), trace.flags), (ID, 1));
        let out = continued(&[(TRACEPARENT, PARENT), (TRACESTATE, "a=1,b=2"), (TRACESTATE, "c=3")]);
        let parent = out[TRACEPARENT].to_str().unwrap();
        let (id, flags) = parse(parent).unwrap();
        assert_eq!((id, flags), (ID, 1));
        assert!(parent.starts_with("00-") && parent.len() == LENGTH && !parent.contains("00f067aa0ba902b7"));
        assert_eq!(out[TRACESTATE], "a=1,b=2,c=3");
        assert_eq!(Trace::of(&HeaderMap::new()), None);
        assert_eq!(Trace::of(&headers(&[(TRACESTATE, "a=1")])), None, "nothing without a trace");
    }

    #[test]
    fn versions_to_come_say_the_same_first() {
        let flags = |text: &str| parse(text).map(|(_, flags)| flags);
        assert_eq!(flags(&PARENT.replacen("00", "01", 1)), Some(1));
        assert_eq!(flags(&(PARENT.replacen("00", "cc", 1) + "-what.the-future.holds")), Some(1));
        assert_eq!(flags(&(PARENT.replacen("00", "cc", 1) + ".x")), None);
        assert_eq!(flags(&(PARENT.replace("-01", "-ff"))), Some(3), "what is not known is not passed on");
    }

    #[test]
    fn what_is_no_trace_is_replaced() {
        for bad in [
            "",
            "nonsense",
            &PARENT.to_uppercase(),
            &PARENT.replacen("00", "ff", 1),
            &(PARENT.to_owned() + "-x"),
            PARENT.trim_end_matches('1'),
            &PARENT.replace(ID, &"0".repeat(32)),
            &PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &PARENT.replace('-', "_"),
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0ä",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
            let out = continued(&[(TRACEPARENT, bad), (TRACESTATE, "a=1")]);
            let (id, flags) = parse(out[TRACEPARENT].to_str().unwrap()).unwrap();
            assert!(id != ID && flags == 0 && !out.contains_key(TRACESTATE));
        }
        let twice = continued(&[(TRACEPARENT, PARENT), (TRACEPARENT, PARENT)]);
        assert!(!twice[TRACEPARENT].to_str().unwrap().contains(ID));
    }

    #[test]
    fn what_vendors_say_is_bounded() {
        let state = |value: &str| continued(&[(TRACEPARENT, PARENT), (TRACESTATE, value)]).contains_key(TRACESTATE);
        assert!(state("rojo=00f067aa0ba902b7, congo=t61rcWkgMzE,, ") && state(&format!("a={}", "x".repeat(510))));
        assert!(!state(&format!("a={}", "x".repeat(511))) && !state(&vec!["a=1"; 33].join(",")));
        assert!(!state("") && !state("nonsense") && !state("=1") && !state("a=ä"));
    }
}
