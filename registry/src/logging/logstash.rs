//! One JSON object a line, in the form that Logstash reads without a filter, as docker-registry 2.8 writes it: the time in
//! `@timestamp`, the form's version in `@version`, then `level` and `message`. CNCF Distribution 3 lost that form when its
//! library changed, and writes for `logstash` what it writes for `json`.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// What a line says of itself; a field of such a name gets another one.
const OWN: [&str; 4] = ["@timestamp", "@version", "level", "message"];

/// The form, with the fields that each line gets.
pub(super) struct Logstash {
    pub(super) added: BTreeMap<String, Value>,
}

impl<S, N> FormatEvent<S, N> for Logstash
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        writeln!(writer, "{}", line(&self.added, event, &jiff::Timestamp::now()))
    }
}

fn line(added: &BTreeMap<String, Value>, event: &Event<'_>, now: &jiff::Timestamp) -> Value {
    let mut fields = Fields { message: String::new(), others: Map::new() };
    for (name, value) in added {
        fields.insert(name, value.clone());
    }
    event.record(&mut fields);
    let Fields { mut message, mut others } = fields;
    if message.is_empty() {
        // A line of the access log has nothing but fields.
        event.metadata().target().clone_into(&mut message);
    }
    let own = [json!(format!("{now:.9}")), json!("1"), json!(level(*event.metadata().level())), json!(message)];
    others.extend(OWN.into_iter().map(str::to_owned).zip(own));
    Value::Object(others)
}

/// A level by the name that Distribution gives it.
fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// What an event says.
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn insert(&mut self, name: &str, value: Value) {
        let name = if OWN.contains(&name) { format!("fields.{name}") } else { name.to_owned() };
        self.others.insert(name, value);
    }

    fn record(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            (name, value) => self.insert(name, value),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.record(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_as_logstash_reads_it() {
        let added = [("service".to_owned(), json!("registry")), ("level".to_owned(), json!(3))].into();
        let (written, begin) = (Written::default(), jiff::Timestamp::now());
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::DEBUG)
            .with_writer(move || writer.clone())
            .event_format(Logstash { added })
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(
                status = 200,
                seconds = 0.5,
                path = "/v2/",
                ok = true,
                user = tracing::field::Empty,
                "a \"b\""
            );
            tracing::warn!(target: "access", error = %"x", service = "other");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &mut lines {
            let time = line.as_object_mut().unwrap().remove("@timestamp").unwrap();
            let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
            assert!((begin..=jiff::Timestamp::now()).contains(&time));
        }
        let first = json!({
            "@version": "1", "level": "info", "message": "a \"b\"", "fields.level": 3, "service": "registry",
            "status": 200, "seconds": 0.5, "path": "/v2/", "ok": true,
        });
        let second = json!({
            "@version": "1", "level": "warning", "message": "access", "fields.level": 3, "service": "other", "error": "x",
        });
        assert_eq!(lines, [first, second]);
    }
}
