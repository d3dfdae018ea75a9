//! The log: text or JSON lines on standard error, each with the fields that the configuration adds.
//!
//! The level is that of what Berth itself says. The libraries that speak to others say more of a request than is good to keep:
//! the SDK of Amazon, at `debug`, whole names of keys. Of them only warnings and errors are written. What is audited has a
//! setting of its own, and no level leaves it out.

mod logstash;

use std::fmt;
use std::io::stderr;

use berth_config::{Level, Log, LogFormat};
use tracing::Event;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{DefaultFields, FormatEvent, FormatFields, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, format};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;

use logstash::Logstash;

/// What the names of libraries begin with that are not asked for more than warnings.
const LIBRARIES: [&str; 8] = ["aws_", "h2", "hyper", "instant_acme", "object_store", "rustls", "tokio", "tower"];

/// What is written of whom at a level.
fn targets(level: LevelFilter) -> Targets {
    let least = level.min(LevelFilter::WARN);
    let targets = Targets::new().with_default(level).with_targets(LIBRARIES.map(|name| (name, least)));
    targets.with_target(crate::audit::TARGET, level.max(LevelFilter::INFO))
}

/// Begins to log. A second call, which only tests make, changes nothing.
pub(crate) fn begin(log: &Log) {
    let level = match log.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    let (targets, most) = (targets(level), level.max(LevelFilter::INFO));
    let builder = tracing_subscriber::fmt().with_max_level(most).with_writer(stderr).with_ansi(false);
    let _ = match log.formatter {
        LogFormat::Text => {
            let fields = log.fields.iter().map(|(key, value)| format!(" {key}={value}")).collect();
            let format = Added { inner: format().with_ansi(false), added: fields, close: "" };
            let subscriber = builder.fmt_fields(DefaultFields::new()).event_format(format).finish();
            tracing::subscriber::set_global_default(subscriber.with(targets))
        }
        LogFormat::Json => {
            let fields = log.fields.iter().map(|(key, value)| format!(",{}:{value}", serde_json::json!(key)));
            let format = Added { inner: format().json().flatten_event(true), added: fields.collect(), close: "}" };
            let subscriber = builder.fmt_fields(JsonFields::new()).event_format(format).finish();
            tracing::subscriber::set_global_default(subscriber.with(targets))
        }
        LogFormat::Logstash => {
            let format = Logstash { added: log.fields.clone() };
            tracing::subscriber::set_global_default(builder.event_format(format).finish().with(targets))
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

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_say_no_more_than_warnings_at_any_level() {
        let debug = targets(LevelFilter::DEBUG);
        for berths in ["berth_registry::serve", "berth_storage::layers::observe", "berth_storage::object_store"] {
            assert!(debug.would_enable(berths, &Level::DEBUG), "{berths}");
        }
        for library in [
            "aws_smithy_runtime::client::orchestrator::endpoints",
            "aws_config::default_provider::credentials",
            "aws_sdk_s3::http_request_checksum",
            "hyper_util::client::legacy::pool",
            "hyper::proto",
            "h2::codec",
            "rustls::client::hs",
            "object_store::client",
        ] {
            assert!(!debug.would_enable(library, &Level::INFO), "{library}");
            assert!(debug.would_enable(library, &Level::WARN), "{library}");
        }
        let error = targets(LevelFilter::ERROR);
        assert!(!error.would_enable("aws_config", &Level::WARN) && error.would_enable("aws_config", &Level::ERROR));
        assert!(error.would_enable("audit", &Level::INFO), "a level leaves out what is audited");
        assert!(!error.would_enable("access", &Level::INFO) && !error.would_enable("berth_registry", &Level::INFO));
    }
}
