//! `log`: what is logged, and how.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de};

/// `log`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The least severe level that is logged.
    pub level: Level,
    /// The form of a line.
    pub formatter: LogFormat,
    /// Fields that are added to every line.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, serde_json::Value>,
    /// One line a request.
    pub accesslog: AccessLog,
    /// One line a decision about who may do what.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub auditlog: AuditLog,
}

/// `log.level`, read in capitals or not, as Distribution does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Only what failed.
    Error,
    /// What failed, and what may need a look.
    Warn,
    /// The default: the above, and every request.
    #[default]
    Info,
    /// Everything.
    Debug,
}

impl Level {
    /// The name as the configuration has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.to_lowercase().as_str() {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            _ => Err(de::Error::unknown_variant(&text, &["error", "warn", "info", "debug"])),
        }
    }
}

/// `log.formatter`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `key=value` pairs, for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
    /// One JSON object a line, as Logstash reads it: `@timestamp`, `@version`, `level`, `message`, and the fields.
    Logstash,
}

/// `log.accesslog`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct AccessLog {
    /// Whether requests are left out of the log.
    pub disabled: bool,
}

/// `log.auditlog`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct AuditLog {
    /// Berth's own: which decisions about who may do what are written, whatever `log.level` says. `changes` are those about
    /// what changes content or the server, and refusals; `all` are those about reads too, and requests that say no name and
    /// are asked for one. Unset: `changes` where `auth` is set, and of the administration everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<AuditEvents>,
}

/// `log.auditlog.events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum AuditEvents {
    /// Nothing.
    None,
    /// What changes something, and what is refused.
    Changes,
    /// Every decision.
    All,
}
