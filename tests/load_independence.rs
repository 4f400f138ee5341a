//! The oracle is only worth something while it shares no code with what it judges.

use std::path::{Path, PathBuf};

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn load_uses_none_of_the_daemons_modules() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/load"), &mut files);
    assert!(files.len() > 20, "the sources were not found");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for (number, line) in code.enumerate() {
            let mut rest = line;
            while let Some(at) = rest.find("crate::") {
                rest = &rest[at + "crate::".len()..];
                assert!(
                    rest.starts_with("load::"),
                    "{} uses `crate::{rest}` (code line {})",
                    file.display(),
                    number + 1
                );
            }
            assert!(!line.contains("super::super::super::"), "{}", file.display());
        }
    }
}
