//! Whether each master of a Cluster still holds what was written to it last.
//!
//! Meta and its sequence number lie on one master, and tell of that one's losses. Another one that
//! restarts empty, or whose replica takes over without the latest writes, loses hashes of single
//! entities and nothing else that is not noticed: outboxes and checkpoints have their own signs.
//! So the last hash written to each master bears witness: `seq` in it has to be the one written.

use std::collections::BTreeMap;

use redis::RedisError;

use super::cluster::slots::Node;
use super::link::Link;

#[derive(Debug, Default)]
pub struct Witnesses {
    by_node: BTreeMap<Node, (String, u64)>,
}

impl Witnesses {
    /// A hash was written with this `seq`, or removed.
    pub fn note(&mut self, node: Option<Node>, key: &str, seq: Option<u64>) {
        let Some(node) = node else { return };
        // The slot may have been elsewhere when it was written before.
        self.by_node.retain(|_, (noted, _)| noted != key);
        if let Some(seq) = seq {
            self.by_node.insert(node, (key.to_owned(), seq));
        }
    }

    /// A node whose witness is not as it was written.
    pub async fn missing(&self, connection: &mut Link) -> Result<Option<Node>, RedisError> {
        if self.by_node.is_empty() {
            return Ok(None);
        }
        let mut pipeline = redis::pipe();
        for (key, _) in self.by_node.values() {
            pipeline.cmd("HGET").arg(key).arg("seq");
        }
        let found: Vec<Option<u64>> = pipeline.query_async(connection).await?;
        let expected = self.by_node.iter().zip(found);
        let lost = expected.filter(|((_, (_, seq)), found)| Some(*seq) != *found);
        Ok(lost.map(|((node, _), _)| node.clone()).next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hash_of_each_node_bears_witness() {
        let node = |port| Some(Node { host: "h".into(), port });
        let mut witnesses = Witnesses::default();
        witnesses.note(node(1), "a", Some(1));
        witnesses.note(node(1), "b", Some(2));
        witnesses.note(node(2), "c", Some(2));
        let of = |witnesses: &Witnesses| {
            let all = witnesses.by_node.iter();
            all.map(|(node, (key, seq))| format!("{} {key} {seq}", node.port)).collect::<Vec<_>>()
        };
        assert_eq!(of(&witnesses), ["1 b 2", "2 c 2"]);
        // Its slot has moved.
        witnesses.note(node(2), "b", Some(3));
        assert_eq!(of(&witnesses), ["2 b 3"]);
        witnesses.note(node(2), "b", None);
        witnesses.note(None, "d", Some(4));
        assert_eq!(of(&witnesses), Vec::<String>::new());
    }
}
