//! An event that a row has become, ready to be written but for the shift of its time.

use std::io::Write as _;

use crate::load::kind::Kind;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: Kind,
    pub time_ms: i64,
    /// Decides the partition; empty if the row names neither product nor user.
    pub key: Vec<u8>,
    /// The members of the object beside its time, each with a comma before it.
    pub body: Vec<u8>,
}

impl Default for Event {
    fn default() -> Self {
        Self { kind: Kind::Click, time_ms: 0, key: Vec::new(), body: Vec::new() }
    }
}

impl Event {
    pub fn clear(&mut self) {
        self.key.clear();
        self.body.clear();
    }

    /// Appends the object, at a time of its own.
    pub fn write(&self, time_ms: i64, out: &mut Vec<u8>) {
        let _ = write!(out, "{{\"timestamp\":{time_ms}");
        out.extend_from_slice(&self.body);
        out.push(b'}');
    }
}

/// Appends `"name":"text"`.
pub fn put_text(out: &mut Vec<u8>, name: &str, text: &str) {
    put_name(out, name);
    quote(out, text);
}

/// Appends `"name":number`.
pub fn put_number(out: &mut Vec<u8>, name: &str, number: u64) {
    put_name(out, name);
    let _ = write!(out, "{number}");
}

pub fn put_name(out: &mut Vec<u8>, name: &str) {
    quote(out, name);
    out.push(b':');
}

fn quote(out: &mut Vec<u8>, text: &str) {
    // Writing into memory does not fail, and any text has a form in JSON.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_object() {
        let mut event = Event::default();
        event.body.push(b',');
        put_text(&mut event.body, "user_id", "a\"b\u{1}ü");
        event.body.push(b',');
        put_number(&mut event.body, "quantity", 3);
        let mut out = Vec::new();
        event.write(-5, &mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"timestamp": -5, "user_id": "a\"b\u{1}ü", "quantity": 3})
        );
    }
}
