//! Which requests are a decision about somebody, and what came of it: the words of the audit line.

use crate::{
    registry::{Action, BlobVerb, ManifestVerb, Route, UploadVerb},
    telemetry::log::Decision,
};

const LOGIN: &str = "login";
const TOKEN: &str = "token";
const MOUNT: &str = "mount";
const UPLOAD: &str = "upload";
const PUSH: &str = "push";

/// What a route is for the audit; None for what is the same for everybody.
pub(super) fn event(route: &Route) -> Option<&'static str> {
    Some(match route {
        Route::Landing(_) | Route::Preflight { .. } => return None,
        // What `docker login` asks, besides a token.
        Route::Base(_) => LOGIN,
        Route::Token(_) => TOKEN,
        Route::Catalog { .. } => "catalog",
        Route::TagList { .. } | Route::Referrers { .. } => "list",
        Route::Manifest { verb: ManifestVerb::Get, .. } | Route::Blob { verb: BlobVerb::Get, .. } => "pull",
        // Clients look before they pull and push, and get nothing by it.
        Route::Manifest { verb: ManifestVerb::Head, .. } | Route::Blob { verb: BlobVerb::Head, .. } => "look",
        Route::Manifest { verb: ManifestVerb::Put { .. }, .. }
        | Route::Upload { verb: UploadVerb::Monolithic { .. } | UploadVerb::Finish { .. }, .. } => PUSH,
        Route::Manifest { verb: ManifestVerb::Delete, .. } | Route::Blob { verb: BlobVerb::Delete, .. } => "delete",
        Route::Upload { verb: UploadVerb::Mount { .. }, .. } => MOUNT,
        Route::Upload { verb: UploadVerb::Cancel { .. }, .. } => "cancel",
        Route::Upload { verb: UploadVerb::Start | UploadVerb::Status { .. } | UploadVerb::Chunk { .. }, .. } => UPLOAD,
        Route::Notary { .. } => "trust",
        Route::Ui { .. } => "visit",
    })
}

/// What a decision is read from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted<'a> {
    pub(super) event: &'static str,
    /// The right that it needs.
    pub(super) action: Option<Action>,
    /// What the client showed.
    pub(super) presented: Option<&'static str>,
    /// It was found out who asks.
    pub(super) user: bool,
    /// A grant allowed it.
    pub(super) grant: bool,
    /// The scopes that were asked for, and those that were granted.
    pub(super) scopes: Option<(&'a str, &'a str)>,
    /// The reason and what it comes to.
    pub(super) refused: Option<(&'static str, &'static str)>,
    pub(super) aborted: bool,
    /// The registry has all of the request, and what it answered was not heard.
    pub(super) unanswered: bool,
    pub(super) status: u16,
}

impl Noted<'_> {
    /// None where nothing was decided about anybody.
    pub(super) fn decision(self) -> Option<Decision> {
        let decided = match self.refused {
            // Nobody has said yet who it is, or it was over before that counted.
            Some((reason, "challenged" | "refused")) => self.is_about_somebody() || reason == "cross_site",
            Some(_) => true,
            // The client left before it came to that.
            None if self.aborted && self.status == 0 => self.is_about_somebody() && !self.is_step(),
            None => !self.is_step(),
        };
        decided.then(|| Decision { event: self.event(), outcome: self.outcome() })
    }

    fn is_about_somebody(self) -> bool {
        self.presented.is_some() || self.grant
    }

    /// Part of what gets a line of its own: the way of an upload to its end, and a look at `/v2/` with a token or nothing.
    fn is_step(self) -> bool {
        match self.event {
            UPLOAD => self.is_well(),
            LOGIN => self.presented != Some("password"),
            _ => false,
        }
    }

    fn event(self) -> &'static str {
        let judged = matches!(self.refused, Some((_, "rejected" | "throttled" | "unavailable")));
        let fails = self.presented == Some("password") && !self.user && judged;
        let asks_nothing = self.event == TOKEN && self.scopes.is_some_and(|(asked, _)| asked.is_empty());
        if fails || (asks_nothing && self.presented == Some("password")) { LOGIN } else { self.event }
    }

    fn outcome(self) -> &'static str {
        match (self.refused, self.scopes) {
            _ if self.unanswered && self.is_write() => "unknown",
            (Some((_, outcome)), _) => outcome,
            (None, Some((asked, granted))) if !asked.is_empty() && granted.is_empty() => "denied",
            // An ordinary upload begins instead.
            (None, _) if self.event == MOUNT && self.status != 201 => "failed",
            (None, _) if self.event == PUSH && self.status == 202 => "failed",
            (None, _) => {
                if self.is_well() {
                    "allowed"
                } else {
                    "failed"
                }
            }
        }
    }

    fn is_well(self) -> bool {
        // What the registry wrote is written, whether or not the client heard of it.
        (100..400).contains(&self.status) && (!self.aborted || self.is_write())
    }

    /// It changes what the registry holds, other than a step of an upload.
    fn is_write(self) -> bool {
        self.event != UPLOAD && matches!(self.action, Some(Action::Push | Action::Delete))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: Option<&str> = Some("password");

    const PULL: Noted<'_> = Noted {
        event: "pull",
        action: Some(Action::Pull),
        presented: Some("token"),
        user: true,
        grant: true,
        scopes: None,
        refused: None,
        aborted: false,
        unanswered: false,
        status: 200,
    };
    const DELETE: Noted<'_> = Noted { event: "delete", action: Some(Action::Delete), status: 202, ..PULL };

    fn line(noted: Noted<'_>) -> Option<(&'static str, &'static str)> {
        noted.decision().map(|decision| (decision.event, decision.outcome))
    }

    #[test]
    fn what_came_of_what_was_allowed() {
        assert_eq!(line(PULL), Some(("pull", "allowed")));
        assert_eq!(line(Noted { presented: None, user: false, ..PULL }), Some(("pull", "allowed")), "anybody may");
        assert_eq!(line(Noted { status: 304, ..PULL }), Some(("pull", "allowed")));
        assert_eq!(line(Noted { status: 404, ..PULL }), Some(("pull", "failed")));
        assert_eq!(line(Noted { aborted: true, ..PULL }), Some(("pull", "failed")));
        assert_eq!(
            line(Noted { status: 502, refused: Some(("upstream_failed", "failed")), ..PULL }),
            Some(("pull", "failed"))
        );
        let push = Noted { event: PUSH, action: Some(Action::Push), ..PULL };
        assert_eq!(line(Noted { status: 201, ..push }), Some(("push", "allowed")));
        assert_eq!(line(Noted { status: 202, ..push }), Some(("push", "failed")), "the blob did not fit into the POST");
        let mount = Noted { event: MOUNT, action: Some(Action::Push), ..PULL };
        assert_eq!(line(Noted { status: 201, ..mount }), Some(("mount", "allowed")));
        assert_eq!(line(Noted { status: 202, ..mount }), Some(("mount", "failed")));
    }

    /// A client that leaves in time must not make a delete look as if it had not been.
    #[test]
    fn what_was_written_is_told_whether_or_not_the_client_stayed() {
        let delete = Noted { aborted: true, ..DELETE };
        assert_eq!(line(delete), Some(("delete", "allowed")));
        assert_eq!(line(Noted { status: 0, unanswered: true, ..delete }), Some(("delete", "unknown")));
        assert_eq!(line(Noted { status: 0, ..delete }), Some(("delete", "failed")), "it was not passed on");
        let silent = Noted { status: 504, refused: Some(("upstream_failed", "failed")), ..DELETE };
        assert_eq!(line(Noted { unanswered: true, ..silent }), Some(("delete", "unknown")));
        assert_eq!(line(silent), Some(("delete", "failed")));
        let pull = Noted { status: 0, aborted: true, unanswered: true, ..PULL };
        assert_eq!(line(pull), Some(("pull", "failed")));
        let step = Noted { event: UPLOAD, action: Some(Action::Push), ..pull };
        assert_eq!(line(step), Some(("upload", "failed")));
    }

    #[test]
    fn the_steps_of_an_upload_are_told_where_they_fail() {
        let step = Noted { event: UPLOAD, status: 202, ..PULL };
        assert_eq!(line(step), None);
        assert_eq!(line(Noted { status: 404, ..step }), Some(("upload", "failed")));
        assert_eq!(line(Noted { aborted: true, ..step }), Some(("upload", "failed")));
        let denied = Noted { grant: false, status: 403, refused: Some(("denied", "denied")), ..step };
        assert_eq!(line(denied), Some(("upload", "denied")));
    }

    #[test]
    fn logins_are_told_and_what_precedes_them_is_not() {
        let base = Noted { event: LOGIN, grant: false, ..PULL };
        assert_eq!(line(base), None, "a token is used, and nothing asked");
        assert_eq!(line(Noted { presented: PASSWORD, ..base }), Some(("login", "allowed")));
        let challenge = Noted { status: 401, refused: Some(("login_needed", "challenged")), user: false, ..base };
        assert_eq!(line(Noted { presented: None, ..challenge }), None, "what every client asks first");
        let wrong = Noted { presented: PASSWORD, refused: Some(("wrong_credentials", "rejected")), ..challenge };
        assert_eq!(line(wrong), Some(("login", "rejected")));
        assert_eq!(line(Noted { event: "pull", ..wrong }), Some(("login", "rejected")), "wherever it fails");
        assert_eq!(line(Noted { event: TOKEN, ..wrong }), Some(("login", "rejected")));
        let revoked = Noted { refused: Some(("token_revoked", "rejected")), presented: Some("token"), ..challenge };
        assert_eq!(line(Noted { event: "pull", ..revoked }), Some(("pull", "rejected")));
        assert_eq!(line(revoked), Some(("login", "rejected")));
    }

    #[test]
    fn tokens_are_told_with_what_they_hold() {
        let token = |asked, granted| Noted { event: TOKEN, grant: false, scopes: Some((asked, granted)), ..PULL };
        let by_password = |noted| Noted { presented: PASSWORD, ..noted };
        assert_eq!(line(by_password(token("", ""))), Some(("login", "allowed")), "what docker login asks");
        assert_eq!(line(by_password(token("repository:a:pull", "repository:a:pull"))), Some(("token", "allowed")));
        assert_eq!(line(by_password(token("repository:a:pull", ""))), Some(("token", "denied")));
        let anonymous = Noted { presented: None, user: false, ..token("repository:a:pull", "repository:a:pull") };
        assert_eq!(line(anonymous), Some(("token", "allowed")));
    }

    #[test]
    fn what_is_refused_before_anybody_counts_is_no_decision_about_somebody() {
        let refused = Noted { grant: false, user: false, presented: None, status: 400, ..PULL };
        assert_eq!(line(Noted { refused: Some(("bad_request", "refused")), ..refused }), None);
        assert_eq!(line(Noted { status: 0, aborted: true, ..refused }), None, "it left before anything was decided");
        let read_only = Noted { refused: Some(("read_only", "read_only")), ..refused };
        assert_eq!(line(read_only), Some(("pull", "read_only")), "an anonymous one too");
        let led = Noted { presented: PASSWORD, refused: Some(("cross_site", "refused")), ..refused };
        assert_eq!(line(led), Some(("pull", "refused")), "its password was not looked at");
        assert_eq!(line(Noted { refused: Some(("login_needed", "challenged")), ..refused }), None);
        assert_eq!(line(Noted { refused: Some(("cross_site", "refused")), ..refused }), Some(("pull", "refused")));
        assert_eq!(
            line(Noted { grant: true, refused: Some(("too_large", "refused")), ..refused }),
            Some(("pull", "refused"))
        );
    }
}
