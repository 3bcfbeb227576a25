//! Requests, bytes, refusals and logins, out of the pulse.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Serialize;

use crate::{
    identity::Barred,
    listener::Drain,
    telemetry::pulse::{self, POINTS, STEP},
};

/// What `per_second` is the mean of.
const LATELY: Duration = Duration::from_secs(60);

#[derive(Serialize)]
pub(super) struct TrafficStatus {
    /// Of clients.
    pub(super) connections: usize,
    /// Requests.
    pub(super) under_way: usize,
    /// Requests answered since the start, by class of status; `none`: nobody heard an answer.
    pub(super) answers: BTreeMap<&'static str, u64>,
    /// Answers that broke off half way since the start, because of an upstream.
    pub(super) broken: u64,
    /// Body bytes from clients since the start.
    pub(super) bytes_in: u64,
    /// Body bytes to clients since the start.
    pub(super) bytes_out: u64,
    /// The mean of the last minute.
    pub(super) per_second: PerSecond,
    /// By reason, as the access line names it; the most frequent of late first.
    pub(super) refused: Vec<Refused>,
}

#[derive(Serialize)]
pub(super) struct PerSecond {
    pub(super) requests: f64,
    /// Answered with 5xx, or broken off.
    pub(super) failures: f64,
    pub(super) refused: f64,
    pub(super) bytes_in: f64,
    pub(super) bytes_out: f64,
}

#[derive(Serialize)]
pub(super) struct Refused {
    pub(super) reason: &'static str,
    /// Since the start.
    pub(super) total: u64,
    /// In the last quarter of an hour.
    pub(super) recent: u64,
}

/// Names are never told: what was typed as one may be a password.
#[derive(Serialize)]
pub(super) struct LoginStatus {
    pub(super) providers: Vec<ProviderStatus>,
    /// Logins that were not verified since the start, because too many had failed.
    pub(super) throttled: u64,
    /// How many names, each in a network, have too many failed logins now.
    pub(super) throttled_names: usize,
    /// How many networks have too many, with whatever name.
    pub(super) throttled_networks: usize,
}

/// Logins since the start, as one provider answered them.
#[derive(Serialize)]
pub(super) struct ProviderStatus {
    /// `none`: nobody had to be asked.
    pub(super) provider: &'static str,
    /// By what came of them: `accepted`, `cached`, `rejected`, `unknown`, `error`, `overload`.
    pub(super) outcomes: BTreeMap<&'static str, u64>,
    /// The same in the last quarter of an hour.
    pub(super) recent: BTreeMap<&'static str, u64>,
}

/// The last quarter of an hour, the oldest first: all lists are of the same length.
#[derive(Serialize)]
pub(super) struct History {
    pub(super) step_seconds: u64,
    /// So many points there are at most.
    pub(super) points: usize,
    /// The number of the last one.
    pub(super) last: u64,
    /// Seconds since 1970.
    pub(super) at: Vec<u64>,
    /// In a second, as all of the following.
    pub(super) requests: Vec<f64>,
    pub(super) failures: Vec<f64>,
    pub(super) refused: Vec<f64>,
    pub(super) bytes_in: Vec<f64>,
    pub(super) bytes_out: Vec<f64>,
}

impl TrafficStatus {
    pub(super) fn of(drain: &Drain) -> Self {
        let totals = pulse::totals();
        let before = quarter_of_an_hour_ago().refusals;
        let mut refused: Vec<_> = totals
            .refusals
            .iter()
            .map(|(reason, total)| Refused { reason, total: *total, recent: since(&before, reason, *total) })
            .collect();
        refused.sort_by_key(|refused| std::cmp::Reverse((refused.recent, refused.total)));
        let rates = pulse::rates(LATELY);
        Self {
            connections: drain.active(),
            under_way: drain.requests(),
            answers: ["none", "1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(totals.answers).collect(),
            broken: totals.broken,
            bytes_in: totals.received,
            bytes_out: totals.sent,
            per_second: PerSecond {
                requests: rates.requests,
                failures: rates.failures,
                refused: rates.refused,
                bytes_in: rates.received,
                bytes_out: rates.sent,
            },
            refused,
        }
    }
}

impl LoginStatus {
    pub(super) fn of(barred: Barred) -> Self {
        let (totals, before) = (pulse::totals(), quarter_of_an_hour_ago().logins);
        let names: BTreeSet<_> = totals.logins.iter().map(|((provider, _), _)| *provider).collect();
        let of = |provider: &'static str| {
            let own = || totals.logins.iter().filter(move |((name, _), _)| *name == provider);
            let recent = |(name, total): &(_, u64)| since(&before, name, *total);
            ProviderStatus {
                provider,
                outcomes: own().map(|((_, outcome), total)| (*outcome, *total)).collect(),
                recent: own().map(|login| (login.0.1, recent(login))).collect(),
            }
        };
        Self {
            providers: names.into_iter().map(of).collect(),
            throttled: totals.throttled,
            throttled_names: barred.names,
            throttled_networks: barred.networks,
        }
    }
}

impl History {
    /// At most so many points.
    pub(super) fn of(most: usize) -> Self {
        let points = pulse::history(most);
        let list = |of: fn(&pulse::Rates) -> f64| points.iter().map(|point| of(&point.rates)).collect();
        Self {
            step_seconds: STEP.as_secs(),
            points: POINTS,
            last: points.last().map_or(0, |point| point.number),
            at: points.iter().map(|point| point.at).collect(),
            requests: list(|rates| rates.requests),
            failures: list(|rates| rates.failures),
            refused: list(|rates| rates.refused),
            bytes_in: list(|rates| rates.received),
            bytes_out: list(|rates| rates.sent),
        }
    }
}

fn quarter_of_an_hour_ago() -> pulse::Totals {
    let points = u32::try_from(POINTS).unwrap_or(u32::MAX);
    pulse::before(STEP * points).map(|(totals, _)| totals).unwrap_or_default()
}

fn since<N: PartialEq>(before: &[(N, u64)], name: &N, total: u64) -> u64 {
    let then = before.iter().find(|(known, _)| known == name).map_or(0, |(_, count)| *count);
    total.saturating_sub(then)
}
