//! The three programs that are measured and measure.

use std::path::{Path, PathBuf};

use anyhow::ensure;

#[derive(Clone, Debug)]
pub struct Programs {
    pub nazar: PathBuf,
    pub load: PathBuf,
    pub ceiling: PathBuf,
}

impl Programs {
    /// In a build directory of cargo.
    pub fn find(directory: &Path) -> anyhow::Result<Self> {
        let program = |name: &str| {
            let path = directory.join(name);
            ensure!(path.is_file(), "{} is not there: build it first", path.display());
            Ok(path)
        };
        Ok(Self {
            nazar: program("nazar")?,
            load: program("nazar-load")?,
            ceiling: program("examples/ceiling")?,
        })
    }
}
