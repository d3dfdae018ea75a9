//! The log: text or JSON lines on standard error, each with the fields that the configuration adds.

mod logstash;

use std::fmt;
use std::io::stderr;

use berth_config::{Level, Log, LogFormat};
use tracing::Event;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format::{DefaultFields, FormatEvent, FormatFields, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, format};
use tracing_subscriber::registry::LookupSpan;

use logstash::Logstash;

/// Begins to log. A second call, which only tests make, changes nothing.
pub(crate) fn begin(log: &Log) {
    let level = match log.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(stderr).with_ansi(false);
    let _ = match log.formatter {
        LogFormat::Text => {
            let fields = log.fields.iter().map(|(key, value)| format!(" {key}={value}")).collect();
            let format = Added { inner: format().with_ansi(false), added: fields, close: "" };
            tracing::subscriber::set_global_default(
                builder.fmt_fields(DefaultFields::new()).event_format(format).finish(),
            )
        }
        LogFormat::Json => {
            let fields = log.fields.iter().map(|(key, value)| format!(",{}:{value}", serde_json::json!(key)));
            let format = Added { inner: format().json().flatten_event(true), added: fields.collect(), close: "}" };
            tracing::subscriber::set_global_default(builder.fmt_fields(JsonFields::new()).event_format(format).finish())
        }
        LogFormat::Logstash => {
            let format = Logstash { added: log.fields.clone() };
            tracing::subscriber::set_global_default(builder.event_format(format).finish())
        }
    };
}

/// A format whose lines get the same text added at their end, in front of `close`.
struct Added<F> {
    inner: F,
    added: String,
    close: &'static str,
}

impl<S, N, F> FormatEvent<S, N> for Added<F>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if self.added.is_empty() {
            return self.inner.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        let line = line.strip_suffix(self.close).unwrap_or(line);
        writeln!(writer, "{line}{}{}", self.added, self.close)
    }
}
