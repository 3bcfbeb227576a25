//! How certificates stand, as `/status` and `portcullis cert status` tell it. Times are as RFC 3339 writes them.

use serde::{Deserialize, Serialize};

use crate::tls::{
    CertificateInfo, Source,
    acme::{Moment, Report},
};

const DAY: i64 = 24 * 60 * 60;
/// With so many days left, or so small a part of its life, a certificate should have been renewed: whoever renews in time
/// does it with a third of the life left, or half of a short one.
const SOON: (i64, i64) = (7, 6);
/// The same for when clients are about to notice.
const URGENT: (i64, i64) = (2, 12);

/// One that is in force.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    pub names: Vec<String>,
    /// `files`, `acme` or `temporary`.
    pub source: String,
    /// Where it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    pub not_after: String,
    /// Whole ones; below 0: it has ended.
    pub days_left: i64,
    /// `fine`, `soon` once its renewal is overdue, `urgent`, `ended`.
    #[serde(default)]
    pub standing: String,
}

/// One that an authority is to issue.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeStatus {
    pub names: Vec<String>,
    /// Of the certificate that is stored.
    pub not_after: Option<String>,
    /// When the next attempt is made; in the past: at once. None: once the clock is right.
    pub next_attempt: Option<String>,
    /// Somebody asked for a renewal that has not come about yet.
    #[serde(default)]
    pub asked: bool,
    /// When the authority would have it renewed.
    pub window: Option<WindowStatus>,
    pub under_way: bool,
    /// Why the last attempt failed.
    pub error: Option<String>,
    pub failed_at: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowStatus {
    pub start: String,
    pub end: String,
    /// A page of the authority that says why then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
}

impl From<CertificateInfo> for CertificateStatus {
    fn from(info: CertificateInfo) -> Self {
        let source = match info.source {
            Source::Files => "files",
            Source::Acme => "acme",
            Source::Temporary => "temporary",
        };
        let now = Moment::now().0;
        Self {
            standing: standing(info.not_before, info.not_after, now).to_owned(),
            names: info.names,
            source: source.to_owned(),
            file: info.file.map(|file| file.display().to_string()),
            not_after: Moment(info.not_after).to_string(),
            days_left: info.not_after.saturating_sub(now).div_euclid(DAY),
        }
    }
}

impl From<Report> for AcmeStatus {
    fn from(report: Report) -> Self {
        let Report { names, not_after, next, asked, window, explanation, error, under_way } = report;
        let text = |moment: Moment| moment.to_string();
        Self {
            names,
            not_after: not_after.map(text),
            next_attempt: next.map(text),
            asked,
            window: window.map(|(start, end)| WindowStatus { start: text(start), end: text(end), explanation }),
            under_way,
            failed_at: error.as_ref().map(|error| text(error.at)),
            error: error.map(|error| error.reason),
        }
    }
}

/// All in Unix seconds.
fn standing(not_before: i64, not_after: i64, now: i64) -> &'static str {
    let (life, left) = (not_after.saturating_sub(not_before), not_after.saturating_sub(now));
    let is_within = |(days, part): (i64, i64)| left < (days * DAY).min(life / part);
    match left {
        ..0 => "ended",
        _ if is_within(URGENT) => "urgent",
        _ if is_within(SOON) => "soon",
        _ => "fine",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_lived_on_purpose_is_no_matter_of_concern() {
        let hour = DAY / 24;
        for (life, left, expected) in [
            (90 * DAY, 29 * DAY, "fine"),
            (90 * DAY, 6 * DAY, "soon"),
            (90 * DAY, 2 * DAY - 1, "urgent"),
            (90 * DAY, -1, "ended"),
            (6 * DAY, 3 * DAY, "fine"),
            (6 * DAY, DAY - 1, "soon"),
            (DAY, 8 * hour, "fine"),
            (DAY, 3 * hour, "soon"),
            (DAY, hour, "urgent"),
            (100 * 365 * DAY, 8 * DAY, "fine"),
        ] {
            assert_eq!(standing(1_000, 1_000 + life, 1_000 + life - left), expected, "{left} of {life}");
        }
    }
}
