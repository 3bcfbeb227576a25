//! How a TLS handshake ended, in the words of the metrics.

use std::io;

use rustls::{AlertDescription, Error, HandshakeKind, PeerIncompatible, ProtocolVersion, ServerConnection};

use crate::telemetry::metrics;

/// Counts a handshake that succeeded.
pub(super) fn succeeded(tls: &ServerConnection) {
    let version = if tls.protocol_version() == Some(ProtocolVersion::TLSv1_2) { "TLSv1.2" } else { "TLSv1.3" };
    metrics::handshake(version, tls.handshake_kind() == Some(HandshakeKind::Resumed));
}

/// A fixed word for why a handshake failed.
#[allow(clippy::wildcard_enum_match_arm, reason = "the library's lists of errors are open")]
pub(super) fn failure(error: &io::Error) -> &'static str {
    if let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
        return word(error);
    }
    const LEFT: [io::ErrorKind; 4] = [
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::BrokenPipe,
    ];
    match error.kind() {
        io::ErrorKind::TimedOut => "timeout",
        kind if LEFT.contains(&kind) => "client_left",
        _ => "other",
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the library's lists of errors are open")]
fn word(error: &Error) -> &'static str {
    match error {
        Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA => "alert_unknown_ca",
            AlertDescription::BadCertificate => "alert_bad_certificate",
            AlertDescription::CertificateExpired => "alert_certificate_expired",
            AlertDescription::CertificateUnknown => "alert_certificate_unknown",
            _ => "alert_other",
        },
        Error::PeerIncompatible(
            // What versions before 1.2 do not have is missed first.
            PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => "no_shared_version",
        Error::PeerIncompatible(_) => "no_shared_cipher",
        Error::NoApplicationProtocol => "no_shared_protocol",
        Error::InvalidMessage(_) => "not_tls",
        // What rustls says where the resolver has nothing to show.
        Error::General(text) if text.starts_with("no server certificate chain") => "no_certificate",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use rustls::InvalidMessage;

    use super::*;

    #[test]
    fn a_failure_has_a_word() {
        let of = |error: Error| failure(&io::Error::new(io::ErrorKind::InvalidData, error));
        assert_eq!(of(Error::AlertReceived(AlertDescription::UnknownCA)), "alert_unknown_ca");
        assert_eq!(of(Error::AlertReceived(AlertDescription::AccessDenied)), "alert_other");
        assert_eq!(of(PeerIncompatible::NoCipherSuitesInCommon.into()), "no_shared_cipher");
        assert_eq!(of(PeerIncompatible::Tls12NotOffered.into()), "no_shared_version");
        assert_eq!(of(InvalidMessage::InvalidContentType.into()), "not_tls");
        assert_eq!(of(Error::NoApplicationProtocol), "no_shared_protocol");
        assert_eq!(of(Error::General("no server certificate chain resolved".to_owned())), "no_certificate");
        assert_eq!(of(Error::DecryptError), "other");
        assert_eq!(failure(&io::ErrorKind::UnexpectedEof.into()), "client_left");
        assert_eq!(failure(&io::Error::new(io::ErrorKind::TimedOut, "late")), "timeout");
    }
}
