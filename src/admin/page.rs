//! The status for a person: one page with all that it needs, which asks for the JSON again and again. Without its script
//! it says the same as a table, and loads itself anew.

use std::{
    fmt::{self, Display, Formatter, Write as _},
    sync::LazyLock,
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;

use super::status::Status;

const FRAME: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// The page up to what it says, and from there on.
static PARTS: LazyLock<[String; 2]> = LazyLock::new(|| {
    let (before, after) = FRAME.split_once("FACTS").unwrap_or((FRAME, ""));
    [before, after].map(|part| part.replace("STYLE", STYLE).replace("SCRIPT", SCRIPT))
});

/// What the page may do: run its own script, look as its own style says, and ask where it comes from.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, text.as_bytes())));
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
});

/// The `Content-Security-Policy`.
pub(super) fn policy() -> HeaderValue {
    HeaderValue::from_str(&POLICY).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
}

pub(super) fn of(status: &Status<'_>) -> String {
    let [before, after] = &*PARTS;
    let mut page = before.clone();
    // Writing into a string cannot fail.
    let _ = facts(&mut page, status);
    page.push_str(after);
    page
}

/// What is seen without the script.
fn facts(page: &mut String, status: &Status<'_>) -> fmt::Result {
    write!(page, "<p class=\"{0}\"><strong>{0}</strong></p>", Plain(status.health))?;
    for problem in &status.problems {
        let (severity, what, advice) = (problem.severity.as_str(), Plain(&problem.what), Plain(&problem.advice));
        write!(page, "<p class=\"{severity}\"><strong>{severity}:</strong> {what}<br>{advice}</p>")?;
    }
    table(page, "Servers", &["Registry", "Server", "State", "Under way"], |page| {
        for registry in &status.registries {
            for server in &registry.servers {
                let state = if server.up { "up" } else { "down" };
                let why = server.error.as_deref().unwrap_or_default();
                row(page, &[&registry.name, &server.url, &format!("{state} {why}"), &server.under_way.to_string()])?;
            }
        }
        Ok(())
    })?;
    table(page, "Certificates", &["Names", "Source", "Ends", "Days left"], |page| {
        for certificate in &status.certificates {
            let (names, days) = (certificate.names.join(", "), certificate.days_left.to_string());
            row(page, &[&names, &certificate.source, &certificate.not_after, &days])?;
        }
        Ok(())
    })?;
    table(page, "Refusals", &["Reason", "Last 15 minutes", "Since the start"], |page| {
        let refused = &status.traffic.refused;
        refused.iter().try_for_each(|one| row(page, &[one.reason, &one.recent.to_string(), &one.total.to_string()]))
    })?;
    let configuration = &status.configuration;
    table(page, "Process", &["What", "Value"], |page| {
        row(page, &["portcullis", status.portcullis])?;
        row(page, &["pid", &status.pid.to_string()])?;
        row(page, &["Started", status.started.as_deref().unwrap_or_default()])?;
        row(page, &["Open writes", &status.open_writes.to_string()])?;
        row(page, &["Configuration", &configuration.file])?;
        row(page, &["Fingerprint", &configuration.fingerprint])?;
        row(page, &["In force since", configuration.in_force_since.as_deref().unwrap_or_default()])
    })
}

fn table(
    page: &mut String,
    title: &str,
    columns: &[&str],
    rows: impl FnOnce(&mut String) -> fmt::Result,
) -> fmt::Result {
    write!(page, "<h2>{title}</h2><table><thead><tr>")?;
    columns.iter().try_for_each(|column| write!(page, "<th scope=\"col\">{column}</th>"))?;
    page.push_str("</tr></thead><tbody>");
    rows(page)?;
    page.push_str("</tbody></table>");
    Ok(())
}

fn row(page: &mut String, cells: &[&str]) -> fmt::Result {
    page.push_str("<tr>");
    cells.iter().try_for_each(|cell| write!(page, "<td>{}</td>", Plain(cell)))?;
    page.push_str("</tr>");
    Ok(())
}

/// Text that stays text in HTML, between tags and in quoted attributes.
struct Plain<'a>(&'a str);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            letter => f.write_char(letter),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_cannot_break_out() {
        assert_eq!(Plain("<b a='\"'>&").to_string(), "&lt;b a=&#39;&quot;&#39;&gt;&amp;");
    }

    /// The hashes are of what stands between the tags, to the last space; and nothing in there ends the tag.
    #[test]
    fn the_policy_allows_what_the_page_has() {
        let page = PARTS.concat();
        for (tag, text) in [("script", SCRIPT), ("style", STYLE)] {
            assert!(page.contains(&format!("<{tag}>{text}</{tag}>")), "{tag}");
            assert!(!text.contains("</"), "{tag}");
        }
        for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "style="] {
            assert!(!SCRIPT.contains(word), "{word}");
        }
        assert!(!FRAME.contains("style=") && !FRAME.contains(" on"), "nothing inline but the two");
        assert!(policy().to_str().unwrap().contains("script-src 'sha256-"));
        assert!(FRAME.len() + STYLE.len() + SCRIPT.len() < 40_000);
    }
}
