//! The log of the process: one line for each event, for people or as JSON with the keys of etcd's.

use std::fmt;

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::flags::{Flags, LogFormat, LogOutput};

/// From now on, this process has a log.
pub fn start(flags: &Flags) {
    let filter = EnvFilter::try_from_env("TRIREME_LOG").unwrap_or_else(|_| flags.log_filter());
    let writer = match flags.log_outputs {
        LogOutput::Stdout => BoxMakeWriter::new(std::io::stdout),
        LogOutput::Stderr => BoxMakeWriter::new(std::io::stderr),
    };
    // Who reads the log may end: then nothing is to be said of it, which would end this process half.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    let log = log.log_internal_errors(false).with_writer(writer);
    match flags.log_format {
        LogFormat::Console => log.init(),
        LogFormat::Json => log.event_format(Json).init(),
    }
}

/// An object a line.
struct Json;

/// The fields of an event.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").into());
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        let about = event.metadata();
        let message = fields.0.remove("message").unwrap_or_default();
        let mut line = json!({
            "level": about.level().as_str().to_lowercase(),
            "ts": time,
            "caller": about.target(),
            "msg": message,
        });
        // What a field is called does not hide what each line has.
        for (name, value) in fields.0 {
            line.as_object_mut().map(|line| line.entry(name).or_insert(value));
        }
        writeln!(writer, "{line}")
    }
}
