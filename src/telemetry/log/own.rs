//! What portcullis itself and its libraries say.

use std::fmt;

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

use super::line::{Fields, Head, at_desk, push};

/// Writes an event as a line.
pub(super) struct Own;

impl<S: Subscriber> Layer<S> for Own {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut about = About::default();
        event.record(&mut about);
        let target = about.target.as_deref().unwrap_or(event.metadata().target());
        let message = about.message.as_deref();
        let head = Head { level: event.metadata().level(), target, message };
        at_desk(|desk, format| push(desk.line(format, &head, |fields| event.record(&mut Written(fields))), 1));
    }
}

/// What stands before the fields.
#[derive(Default)]
struct About {
    message: Option<String>,
    /// Of a line of the crate `log`, which all have one place.
    target: Option<String>,
}

impl Visit for About {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log.target" {
            self.target = Some(value.to_owned());
        } else if field.name() == "message" {
            self.message = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = Some(format!("{value:?}"));
        }
    }
}

struct Written<'f, 'd>(&'f mut Fields<'d>);

/// The key of a field; None where it is no field. One of a line's own keys gets another name.
fn key(field: &Field) -> Option<&'static str> {
    match field.name() {
        "message" => None,
        name if name.starts_with("log.") => None,
        "timestamp" => Some("field.timestamp"),
        "level" => Some("field.level"),
        "log" => Some("field.log"),
        "target" => Some("field.target"),
        name => Some(name.strip_prefix("r#").unwrap_or(name)),
    }
}

impl Visit for Written<'_, '_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        match key(field) {
            Some(key) if value.is_finite() => self.0.bare(key, value),
            Some(key) => self.0.shown(key, value),
            None => {}
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        key(field).into_iter().for_each(|key| self.0.bare(key, value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        key(field).into_iter().for_each(|key| self.0.bare(key, value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        key(field).into_iter().for_each(|key| self.0.bare(key, value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        key(field).into_iter().for_each(|key| self.0.text(key, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        key(field).into_iter().for_each(|key| self.0.shown_as(key, format_args!("{value:?}")));
    }
}
