//! How certificates stand, as `/status` and `portcullis cert status` tell it.

use serde::{Deserialize, Serialize};

use crate::tls::{
    CertificateInfo, Source,
    acme::{Moment, Report},
};

const DAY: i64 = 24 * 60 * 60;

/// One certificate. Times are as RFC 3339 writes them.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    pub names: Vec<String>,
    /// `files`, `acme` or `temporary`.
    pub source: String,
    /// Where it is kept.
    pub file: Option<String>,
    pub not_after: Option<String>,
    pub days_left: Option<i64>,
    /// Of those that an authority issues.
    pub renewal: Option<RenewalStatus>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewalStatus {
    /// In the past: at once. None: only once the clock is right.
    pub next_attempt: Option<String>,
    /// An attempt is being made.
    pub under_way: bool,
    /// When the authority would have it renewed, where it says so.
    pub window: Option<WindowStatus>,
    /// Why the last attempt failed.
    pub error: Option<FailureStatus>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowStatus {
    pub start: String,
    pub end: String,
    /// A page of the authority that says why then.
    pub explanation: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureStatus {
    pub at: String,
    pub reason: String,
}

/// What is in force, with what is known of renewals; then what there is to be and is not there at all.
pub fn certificates(infos: &[CertificateInfo], reports: &[Report]) -> Vec<CertificateStatus> {
    let now = Moment::now();
    let is_of = |report: &Report, names: &[String]| report.names.iter().any(|name| names.contains(name));
    let in_force = infos.iter().map(|info| CertificateStatus {
        names: info.names.clone(),
        source: word(info.source).to_owned(),
        file: info.file.as_ref().map(|file| file.display().to_string()),
        not_after: Some(Moment(info.not_after).to_string()),
        days_left: Some((info.not_after - now.0).div_euclid(DAY)),
        renewal: match info.source {
            Source::Files => None,
            Source::Acme | Source::Temporary => {
                reports.iter().find(|report| is_of(report, &info.names)).map(RenewalStatus::of)
            }
        },
    });
    let absent = reports.iter().filter(|report| !infos.iter().any(|info| is_of(report, &info.names)));
    let absent = absent.map(|report| CertificateStatus {
        names: report.names.clone(),
        source: word(Source::Acme).to_owned(),
        file: None,
        not_after: None,
        days_left: None,
        renewal: Some(RenewalStatus::of(report)),
    });
    in_force.chain(absent).collect()
}

impl RenewalStatus {
    fn of(report: &Report) -> Self {
        Self {
            next_attempt: report.next.map(|next| next.to_string()),
            under_way: report.under_way,
            window: report.window.map(|(start, end)| WindowStatus {
                start: start.to_string(),
                end: end.to_string(),
                explanation: report.explanation.clone(),
            }),
            error: report
                .error
                .as_ref()
                .map(|failure| FailureStatus { at: failure.at.to_string(), reason: failure.reason.clone() }),
        }
    }
}

fn word(source: Source) -> &'static str {
    match source {
        Source::Files => "files",
        Source::Acme => "acme",
        Source::Temporary => "temporary",
    }
}
