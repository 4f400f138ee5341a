//! Whose views stand in Redis: the writer's token and the sequence number, ours against those
//! stored. Pure, so that every way in which Redis can differ is a row in a test.

/// The two fields of meta that every script compares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    pub leader: Option<String>,
    pub seq: Option<u64>,
}

/// What the stored fields mean for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As we left it.
    Current,
    /// A write whose answer was lost has landed.
    Landed(u64),
    /// Redis lost data: everything has to be written again.
    Lost,
    /// Another writer owns the prefix.
    Fenced(String),
}

/// Our side. Numbers are never used twice, so a script of a lost connection that runs late is
/// told apart from the one that replaced it.
#[derive(Clone, Debug)]
pub struct Lineage {
    pub token: String,
    /// What meta holds as far as we know; `None` before the first write.
    believed: Option<u64>,
    issued: u64,
}

impl Lineage {
    pub fn new(token: &str) -> Self {
        Lineage { token: token.to_owned(), believed: None, issued: 0 }
    }

    /// Takes over what a claim found stored.
    pub fn adopt(&mut self, stored: Option<u64>) {
        self.believed = stored;
        self.issued = self.issued.max(stored.unwrap_or(0));
    }

    /// A number for the next write.
    pub fn issue(&mut self) -> u64 {
        self.issued += 1;
        self.issued
    }

    /// A write is known to have landed.
    pub fn landed(&mut self, seq: u64) {
        self.believed = Some(seq);
    }

    /// What a script must find stored, as it is stored.
    pub fn expected(&self) -> String {
        self.believed.map_or(String::new(), |seq| seq.to_string())
    }

    /// `pending`: numbers of writes whose outcome is unknown.
    pub fn judge(&self, stored: &Stored, pending: &[u64]) -> Verdict {
        match (&stored.leader, stored.seq) {
            (Some(leader), _) if *leader != self.token => Verdict::Fenced(leader.clone()),
            (None, _) => Verdict::Lost,
            (Some(_), seq) if seq == self.believed => Verdict::Current,
            (Some(_), Some(seq)) if pending.contains(&seq) => Verdict::Landed(seq),
            (Some(_), seq) if seq < self.believed => Verdict::Lost,
            (Some(leader), Some(seq)) => {
                Verdict::Fenced(format!("{leader} (our own token, but at seq {seq})"))
            }
            (Some(_), None) => Verdict::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_has_its_verdict() {
        let mut lineage = Lineage::new("us");
        lineage.adopt(Some(10));
        let pending = [11, 12];
        let judge = |leader: Option<&str>, seq| {
            let stored = Stored { leader: leader.map(str::to_owned), seq };
            lineage.judge(&stored, &pending)
        };
        assert_eq!(judge(Some("us"), Some(10)), Verdict::Current);
        assert_eq!(judge(Some("us"), Some(11)), Verdict::Landed(11));
        assert_eq!(judge(Some("us"), Some(12)), Verdict::Landed(12));
        assert_eq!(judge(Some("us"), Some(9)), Verdict::Lost, "rolled back");
        assert_eq!(judge(Some("us"), None), Verdict::Lost, "seq is gone");
        assert_eq!(judge(None, None), Verdict::Lost, "flushed");
        assert_eq!(judge(None, Some(10)), Verdict::Lost);
        assert!(matches!(judge(Some("us"), Some(13)), Verdict::Fenced(_)), "a second writer");
        assert_eq!(judge(Some("them"), Some(10)), Verdict::Fenced("them".into()));
        assert_eq!(judge(Some("them"), None), Verdict::Fenced("them".into()));
    }

    #[test]
    fn before_the_first_write_nothing_is_stored() {
        let mut lineage = Lineage::new("us");
        let stored = |seq| Stored { leader: Some("us".into()), seq };
        assert_eq!(lineage.expected(), "");
        assert_eq!(lineage.judge(&stored(None), &[]), Verdict::Current);
        assert_eq!(lineage.issue(), 1);
        assert_eq!(lineage.judge(&stored(Some(1)), &[1]), Verdict::Landed(1));
        lineage.landed(1);
        assert_eq!(lineage.expected(), "1");
    }

    #[test]
    fn numbers_grow_past_what_was_stored() {
        let mut lineage = Lineage::new("us");
        lineage.adopt(Some(41));
        assert_eq!((lineage.issue(), lineage.issue()), (42, 43));
        // Rolled back to an older snapshot: readers still see the number grow.
        lineage.adopt(Some(7));
        assert_eq!((lineage.expected().as_str(), lineage.issue()), ("7", 44));
    }
}
