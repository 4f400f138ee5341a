//! Which slot a key lies in, which key a command is about, and who serves which slot.

use std::collections::BTreeSet;
use std::fmt;

use redis::{Arg, Cmd, ErrorKind, RedisError, Value};

/// Every Cluster has so many.
pub const SLOTS: usize = 16_384;

/// The slot of a key: of its hash tag, if it has one, else of all of it.
pub fn slot(key: &[u8]) -> u16 {
    crc16(tag(key).unwrap_or(key)) % SLOTS as u16
}

/// What stands between the first `{` and the `}` after it, unless that is nothing.
fn tag(key: &[u8]) -> Option<&[u8]> {
    let (_, rest) = split(key, b'{')?;
    let (tag, _) = split(rest, b'}')?;
    (!tag.is_empty()).then_some(tag)
}

fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == at)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// CRC-16 of XMODEM, bit by bit: a few hundred nanoseconds a key, next to a round trip.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

/// The first key of a command, for those that the sink uses; `None`: it is about no key. Which
/// others it names lie in the same slot, or the server refuses it.
pub fn key(command: &Cmd) -> Option<&[u8]> {
    let word = |at: usize| match command.args_iter().nth(at)? {
        Arg::Simple(word) => Some(word),
        _ => None,
    };
    let name = word(0)?.to_ascii_uppercase();
    match name.as_slice() {
        b"PING" | b"INFO" | b"CONFIG" | b"TIME" | b"SCRIPT" | b"CLUSTER" | b"SCAN" | b"DBSIZE" => {
            None
        }
        b"EVAL" | b"EVALSHA" if word(2) == Some(b"0") => None,
        b"EVAL" | b"EVALSHA" => word(3),
        b"XINFO" => word(2),
        _ => word(1),
    }
}

/// A node, as the others name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    pub host: String,
    pub port: u16,
}

impl Node {
    /// The node of `MOVED 3999 host:port`. An empty host is that of the node which says it.
    pub fn of_redirect(detail: &str, teller: &Node) -> Option<Node> {
        let (host, port) = detail.split(' ').nth(1)?.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = if host.is_empty() { teller.host.clone() } else { host.to_owned() };
        Some(Node { host, port: port.parse().ok()? })
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The masters of a Cluster, by slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotMap {
    masters: Vec<Node>,
    /// By slot: one more than the index of its master; 0: nobody serves it.
    owners: Vec<u16>,
}

impl SlotMap {
    /// Reads the answer to `CLUSTER SLOTS` of a node.
    pub fn parse(answer: Value, teller: &Node) -> Result<SlotMap, RedisError> {
        let mut map = SlotMap { masters: Vec::new(), owners: vec![0; SLOTS] };
        let Value::Array(ranges) = answer else { return Err(unexpected()) };
        for range in ranges {
            let Value::Array(range) = range else { return Err(unexpected()) };
            let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &range[..] else {
                return Err(unexpected());
            };
            let [host, Value::Int(port), ..] = &master[..] else { return Err(unexpected()) };
            let host = match host {
                Value::BulkString(host) if !host.is_empty() && host != b"?" => {
                    String::from_utf8_lossy(host).into_owned()
                }
                // It does not know its own name, or keeps it to itself.
                _ => teller.host.clone(),
            };
            let node = Node { host, port: u16::try_from(*port).map_err(|_| unexpected())? };
            let (first, last) = (usize::try_from(*first), usize::try_from(*last));
            let (Ok(first), Ok(last)) = (first, last) else { return Err(unexpected()) };
            if first > last || last >= SLOTS {
                return Err(unexpected());
            }
            let owner = map.number(node);
            map.owners[first..=last].fill(owner);
        }
        Ok(map)
    }

    pub fn owner(&self, slot: u16) -> Option<&Node> {
        let number = self.owners.get(usize::from(slot)).copied()?;
        self.masters.get(usize::from(number).checked_sub(1)?)
    }

    /// A node said that another one has the slot.
    pub fn moved(&mut self, slot: u16, node: Node) {
        let owner = self.number(node);
        if let Some(entry) = self.owners.get_mut(usize::from(slot)) {
            *entry = owner;
        }
    }

    /// Those that serve slots, in order.
    pub fn masters(&self) -> BTreeSet<&Node> {
        self.owners
            .iter()
            .filter_map(|&number| self.masters.get(usize::from(number).checked_sub(1)?))
            .collect()
    }

    /// How many slots nobody serves.
    pub fn unserved(&self) -> usize {
        SLOTS - self.owners.iter().filter(|&&number| number > 0).count()
    }

    fn number(&mut self, node: Node) -> u16 {
        let found = self.masters.iter().position(|master| *master == node);
        let index = found.unwrap_or_else(|| {
            self.masters.push(node);
            self.masters.len() - 1
        });
        // A Cluster has at most as many masters as slots.
        u16::try_from(index + 1).unwrap_or(u16::MAX)
    }
}

fn unexpected() -> RedisError {
    (ErrorKind::Parse, "CLUSTER SLOTS is not as it should be").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(port: u16) -> Node {
        Node { host: "h".into(), port }
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // As CLUSTER KEYSLOT of Redis 7.0.15 answers.
        for (key, expected) in [
            ("foo", 12_182),
            ("nazar", 21),
            ("{nazar}:meta", 21),
            ("foo{bar}{zap}", 5061),
            ("foo{{bar}}zap", 4015),
            ("foo{}{bar}", 8363),
        ] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
    }

    #[test]
    fn the_key_of_a_command() {
        let key_of = |line: &str| {
            let mut words = line.split(' ');
            let mut command = redis::cmd(words.next().unwrap());
            words.for_each(|word| {
                command.arg(word);
            });
            key(&command).map(|key| String::from_utf8_lossy(key).into_owned())
        };
        for (line, expected) in [
            ("HSET k f v", Some("k")),
            ("evalsha 00 2 k l x", Some("k")),
            ("EVAL text 0 x", None),
            ("XINFO STREAM k", Some("k")),
            ("SCRIPT LOAD text", None),
            ("TIME", None),
            ("PTTL k", Some("k")),
        ] {
            assert_eq!(key_of(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn a_map_is_read_and_corrected() {
        let node_value = |host: Value, port| Value::Array(vec![host, Value::Int(port)]);
        let text = |text: &str| Value::BulkString(text.into());
        let range = |first, last, master| {
            Value::Array(vec![Value::Int(first), Value::Int(last), master, text("a replica")])
        };
        let answer = Value::Array(vec![
            range(0, 99, node_value(text("h"), 1)),
            range(100, 16_382, node_value(Value::Nil, 2)),
        ]);
        let mut map = SlotMap::parse(answer, &node(9)).unwrap();
        assert_eq!(map.owner(99), Some(&node(1)));
        assert_eq!(map.owner(100), Some(&node(2)), "a node without a name is where it was asked");
        assert_eq!((map.owner(16_383), map.unserved()), (None, 1));
        map.moved(100, node(3));
        assert_eq!((map.owner(100), map.owner(101)), (Some(&node(3)), Some(&node(2))));
        assert_eq!(map.masters().into_iter().collect::<Vec<_>>(), [&node(1), &node(2), &node(3)]);
        for bad in [
            Value::Int(1),
            Value::Array(vec![range(0, 16_384, node_value(text("h"), 1))]),
            Value::Array(vec![range(5, 4, node_value(text("h"), 1))]),
            Value::Array(vec![range(0, 1, node_value(text("h"), 70_000))]),
            Value::Array(vec![range(-1, 1, node_value(text("h"), 1))]),
        ] {
            assert!(SlotMap::parse(bad.clone(), &node(9)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn redirects_name_a_node() {
        let read = |detail: &str| Node::of_redirect(detail, &node(9)).map(|node| node.to_string());
        assert_eq!(read("3999 10.0.0.1:6381").as_deref(), Some("10.0.0.1:6381"));
        assert_eq!(read("3999 :6381").as_deref(), Some("h:6381"));
        assert_eq!(read("3999 ::1:6381").as_deref(), Some("::1:6381"));
        assert_eq!(read("3999"), None);
        assert_eq!(read(""), None);
    }
}
