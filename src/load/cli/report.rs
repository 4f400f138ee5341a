//! The arguments of `nazar-load report`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// The --out directory of a run or of a search
    pub directory: PathBuf,
    /// A page, what the command said at its end, or its JSON
    #[arg(long, value_enum, default_value_t = Format::Html)]
    pub format: Format,
    /// Where to write it, - for stdout [default: DIR/report.html for the page, else stdout]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Html,
    Text,
    Json,
}

impl ReportArgs {
    /// The file to write; `None`: stdout.
    pub fn file(&self) -> Option<PathBuf> {
        match &self.output {
            Some(path) if path == Path::new("-") => None,
            Some(path) => Some(path.clone()),
            None => (self.format == Format::Html).then(|| self.directory.join("report.html")),
        }
    }
}
