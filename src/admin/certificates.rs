//! How certificates stand, as `/status` and `portcullis cert status` tell it. Times are as RFC 3339 writes them.

use serde::{Deserialize, Serialize};

use crate::tls::{
    CertificateInfo, Source,
    acme::{Moment, Report},
};

const DAY: i64 = 24 * 60 * 60;

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
        Self {
            names: info.names,
            source: source.to_owned(),
            file: info.file.map(|file| file.display().to_string()),
            not_after: Moment(info.not_after).to_string(),
            days_left: info.not_after.saturating_sub(Moment::now().0).div_euclid(DAY),
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
