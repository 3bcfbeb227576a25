//! Error codes of the registry API and their JSON body.

/// Room for a usual body.
const USUAL: usize = 256;

/// Codes of the OCI distribution spec and of distribution's `errcode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    Denied,
    DigestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    PaginationNumberInvalid,
    SizeInvalid,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unknown,
    Unsupported,
}

impl ErrorCode {
    /// The word that stands in the body.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::Denied => "DENIED",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::PaginationNumberInvalid => "PAGINATION_NUMBER_INVALID",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unknown => "UNKNOWN",
            Self::Unsupported => "UNSUPPORTED",
        }
    }
}

/// `{"errors":[{"code":"…","message":"…","detail":…}]}`, with one error and `detail` only where there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorBody {
    code: ErrorCode,
    message: String,
    detail: Option<serde_json::Value>,
}

impl ErrorBody {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), detail: None }
    }

    #[must_use]
    pub fn with_detail(mut self, detail: serde_json::Value) -> Self {
        self.detail = Some(detail);
        self
    }

    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(USUAL);
        json.extend_from_slice(br#"{"errors":[{"code":""#);
        json.extend_from_slice(self.code.as_str().as_bytes());
        json.extend_from_slice(br#"","message":"#);
        // Strings and JSON values can always be written, and into memory.
        let _ = serde_json::to_writer(&mut json, &self.message);
        if let Some(detail) = &self.detail {
            json.extend_from_slice(br#","detail":"#);
            let _ = serde_json::to_writer(&mut json, detail);
        }
        json.extend_from_slice(b"}]}");
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_exact_and_leaves_an_absent_detail_out() {
        let body = ErrorBody::new(ErrorCode::Denied, "push to a/b is not \"granted\"\n");
        assert_eq!(
            String::from_utf8(body.to_json()).unwrap(),
            r#"{"errors":[{"code":"DENIED","message":"push to a/b is not \"granted\"\n"}]}"#
        );
    }

    #[test]
    fn a_detail_comes_last() {
        let body = ErrorBody::new(ErrorCode::TooManyRequests, "slow down")
            .with_detail(serde_json::json!([{"Type": "repository", "Name": "a/b"}]));
        assert_eq!(
            String::from_utf8(body.to_json()).unwrap(),
            r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down","detail":[{"Name":"a/b","Type":"repository"}]}]}"#
        );
    }
}
