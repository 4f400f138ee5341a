//! Findings, and the table they are printed as.

use std::fmt;

/// Text is broken at this column, where it can be.
const COLUMNS: usize = 100;
/// The column after `  warn  `.
const INDENT: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Ok,
    Warn,
    Fail,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub verdict: Verdict,
    /// What was looked at, in a few words: `topic click`.
    pub what: String,
    /// What was found.
    pub found: String,
    /// What would be right, or worth knowing. Empty if there is nothing to add.
    pub advice: String,
}

impl Finding {
    pub fn ok(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Verdict::Ok, what, found, "")
    }

    pub fn warn(
        what: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::new(Verdict::Warn, what, found, advice)
    }

    pub fn fail(
        what: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::new(Verdict::Fail, what, found, advice)
    }

    /// Adds what is worth knowing although all is well.
    pub fn remark(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    fn new(
        verdict: Verdict,
        what: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { verdict, what: what.into(), found: found.into(), advice: advice.into() }
    }
}

/// Findings about one thing, under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub name: String,
    pub findings: Vec<Finding>,
}

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    pub sections: Vec<Section>,
}

impl CheckReport {
    pub fn new(sections: Vec<Section>) -> Self {
        Self { sections }
    }

    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.sections.iter().flat_map(|section| &section.findings)
    }

    /// 0: all is well, or there are warnings only. 1: something failed.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.count(Verdict::Fail) > 0)
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.findings().filter(|finding| finding.verdict == verdict).count()
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = self.findings().map(|finding| finding.what.chars().count()).max();
        let what_width = widest.unwrap_or(0);
        for section in &self.sections {
            writeln!(f, "{}", plain(&section.name))?;
            for finding in &section.findings {
                finding.write(f, what_width)?;
            }
            writeln!(f)?;
        }
        let [ok, warn, fail] = [Verdict::Ok, Verdict::Warn, Verdict::Fail].map(|v| self.count(v));
        writeln!(f, "{ok} ok, {warn} to look at, {fail} failed")
    }
}

impl Finding {
    fn write(&self, f: &mut fmt::Formatter<'_>, what_width: usize) -> fmt::Result {
        let what = plain(&self.what);
        let width = COLUMNS.saturating_sub(INDENT + what_width + 2).max(40);
        let found = wrap(&self.found, width);
        let (verdict, first) = (self.verdict.word(), found.first().map_or("", String::as_str));
        writeln!(f, "  {verdict:<4}  {what:<what_width$}  {first}")?;
        let under = " ".repeat(INDENT + what_width + 2);
        for line in found.iter().skip(1) {
            writeln!(f, "{under}{line}")?;
        }
        for (number, line) in wrap(&self.advice, width - 2).iter().enumerate() {
            let arrow = if number == 0 { "→" } else { " " };
            writeln!(f, "{under}{arrow} {line}")?;
        }
        Ok(())
    }
}

/// Words from outside may carry anything; a terminal gets text.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Lines of at most `width` characters, unless a word is longer.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in plain(text).split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(findings: Vec<Finding>) -> CheckReport {
        CheckReport::new(vec![Section { name: "kafka localhost:9092".into(), findings }])
    }

    #[test]
    fn the_table() {
        let kafka = vec![
            Finding::ok("brokers", "3 brokers answer, in 2 ms"),
            Finding::ok("dead letters", "off").remark("rejects are counted, and written nowhere"),
            Finding::warn(
                "topic click retention.ms",
                "6h",
                "a first start reads 24h22m back, and a restart as well: what was deleted before is \
                 missing from the longest windows, which then say complete = 0",
            ),
        ];
        let redis = vec![Finding::fail(
            "server",
            "connection\r\nrefused\x1b[31m",
            "start it, or set redis.url",
        )];
        let mut report = report(kafka);
        report.sections.push(Section { name: "redis".into(), findings: redis });
        insta::assert_snapshot!(report.to_string(), @r"
        kafka localhost:9092
          ok    brokers                   3 brokers answer, in 2 ms
          ok    dead letters              off
                                          → rejects are counted, and written nowhere
          warn  topic click retention.ms  6h
                                          → a first start reads 24h22m back, and a restart as well: what was
                                            deleted before is missing from the longest windows, which then
                                            say complete = 0

        redis
          FAIL  server                    connection refused [31m
                                          → start it, or set redis.url

        2 ok, 1 to look at, 1 failed
        ");
    }

    #[test]
    fn only_failures_fail() {
        let (ok, warn) = (Finding::ok("a", "b"), Finding::warn("a", "b", "c"));
        assert_eq!(report(vec![]).exit_code(), 0);
        assert_eq!(report(vec![ok.clone(), warn.clone()]).exit_code(), 0);
        assert_eq!(report(vec![ok, Finding::fail("a", "b", "c"), warn]).exit_code(), 1);
    }
}
