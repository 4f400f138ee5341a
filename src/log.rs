//! The log: one line per state change, on stderr, for people or for collectors.

use std::fs::File;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

/// Starts logging for the whole process; a second call is an error. Records of the `log`
/// crate, which librdkafka's binding writes, go the same way.
pub fn init(config: &LogConfig) -> anyhow::Result<()> {
    let is_coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    subscriber(config, std::io::stderr, is_coloured)?.try_init().context("start logging")
}

/// The same into a file, for a process whose terminal is taken.
pub fn init_file(config: &LogConfig, path: &Path) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    subscriber(config, Arc::new(file), false)?.try_init().context("start logging")
}

fn subscriber<W>(
    config: &LogConfig,
    writer: W,
    is_coloured: bool,
) -> anyhow::Result<Box<dyn Subscriber + Send + Sync>>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&config.level).context("read log.level")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match config.format {
        LogFormat::Text => Box::new(builder.with_ansi(is_coloured).finish()),
        // One flat object per line: fields beside level and message, as collectors index them.
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is logged at `level` in `format`.
    fn logged(format: LogFormat, level: &str, body: impl FnOnce()) -> String {
        let lines = Lines::default();
        let config = LogConfig { format, level: level.to_owned() };
        let writer = lines.clone();
        let subscriber = subscriber(&config, move || writer.clone(), false).expect("a valid level");
        tracing::subscriber::with_default(subscriber, body);
        let bytes = lines.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn text_is_one_line_with_fields() {
        let text = logged(LogFormat::Text, "info", || {
            tracing::info!(partition = 3, "assigned");
            tracing::debug!("not shown");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(" INFO ") && text.contains("assigned partition=3"), "{text}");
    }

    #[test]
    fn json_is_one_flat_object_per_line() {
        let text = logged(LogFormat::Json, "warn,nazar=debug", || {
            tracing::debug!(lag_records = 7, "catching up");
        });
        let object: serde_json::Value = serde_json::from_str(&text).expect("one object");
        assert_eq!(object["level"], "DEBUG");
        assert_eq!(object["message"], "catching up");
        assert_eq!(object["lag_records"], 7);
    }

    /// An id from a record must not be able to paint or overwrite an operator's terminal.
    #[test]
    fn control_sequences_are_escaped() {
        let text = logged(LogFormat::Text, "info", || {
            tracing::info!("bad id {}", "\u{1b}[2Jx");
        });
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}
