//! When an authority would have a certificate renewed (RFC 9773).

use std::{borrow::Cow, time::Duration};

use instant_acme::{CertificateIdentifier, Error, RenewalInfo};
use rustls_pki_types::CertificateDer;

use super::{
    Moment, Storage, Window, account,
    client::Client,
    error::{AttemptError, in_one_line},
    order::authority,
    schedule,
};

/// When to ask for a window again where there was no answer.
const ASK_LATER: Duration = Duration::from_secs(60 * 60);

/// When the authority would have a certificate renewed. Where it does not answer, what it said last holds.
pub(super) async fn ask(storage: &Storage, client: &Client, id: &str, known: Option<&Window>) -> Window {
    let now = Moment::now();
    let certificate = id.to_owned();
    match renewal_info(storage, client, id).await {
        Ok(Some((info, retry_after))) => {
            let moment = |time: time::OffsetDateTime| Moment(time.unix_timestamp());
            let suggested = (moment(info.suggested_window.start), moment(info.suggested_window.end));
            let ask_again = schedule::ask_again(now, retry_after);
            let explanation = info.explanation_url.map(|page| in_one_line(&page));
            Window { certificate, suggested: Some(suggested), explanation, ask_again }
        }
        Ok(None) => {
            let ask_again = schedule::ask_again(now, Duration::MAX);
            Window { certificate, suggested: None, explanation: None, ask_again }
        }
        Err(error) => {
            tracing::debug!(%error, "the authority did not say when to renew");
            unanswered(id, known)
        }
    }
}

/// What holds where an authority does not answer.
pub(super) fn unanswered(id: &str, known: Option<&Window>) -> Window {
    let ask_again = Moment::now().plus(ASK_LATER);
    match known.filter(|window| window.certificate == id) {
        Some(known) => Window { ask_again, ..known.clone() },
        None => Window { certificate: id.to_owned(), suggested: None, explanation: None, ask_again },
    }
}

/// None where there is nobody to ask, or nobody who would say.
async fn renewal_info(
    storage: &Storage,
    client: &Client,
    id: &str,
) -> Result<Option<(RenewalInfo, Duration)>, AttemptError> {
    let (Some(account), Some(id)) = (account::stored(storage, client).await?, parse_identifier(id)) else {
        return Ok(None);
    };
    match account.renewal_info(&id).await {
        Ok(info) => Ok(Some(info)),
        Err(Error::Unsupported(_)) => Ok(None),
        Err(error) => Err(authority(client, error)),
    }
}

/// Of a certificate, as RFC 9773 §4.1 writes it.
pub(super) fn identifier(leaf: &CertificateDer<'_>) -> Option<String> {
    CertificateIdentifier::try_from(leaf).ok().map(|id| id.to_string())
}

pub(super) fn parse_identifier(id: &str) -> Option<CertificateIdentifier<'static>> {
    let (key, serial) = id.split_once('.')?;
    Some(CertificateIdentifier {
        authority_key_identifier: Cow::Owned(key.to_owned()),
        serial: Cow::Owned(serial.to_owned()),
    })
}
