//! Whatever bytes come, the decoder does not panic and says what the obvious decoder over a
//! JSON tree says. `cargo +nightly fuzz run decode fuzz/corpus/decode fuzz/seeds/decode`
//!
//! The first byte chooses the kind of event and whether the record has a Kafka time; the
//! rest is the payload. `tests/decode_differential.rs` tries the same with generated events.
#![no_main]

#[path = "../../tests/decode_reference/mod.rs"]
mod decode_reference;

use std::cell::RefCell;

use decode_reference::{decode, decoder, verdict};
use libfuzzer_sys::fuzz_target;
use nazar::event::Kind;
use nazar::pipeline::decode::Decoder;
use nazar::time::EventTime;

thread_local! {
    /// One for all inputs, so that what one record leaves behind would show in another.
    static DECODER: RefCell<Decoder> = RefCell::new(decoder());
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, payload)) = input.split_first() else {
        return;
    };
    let kind = Kind::ALL[usize::from(choice % 4)];
    let kafka_time = (choice & 4 != 0).then_some(EventTime::from_millis(1_700_000_000_000));
    let expected = decode(kind, Some(payload), kafka_time);
    let actual =
        DECODER.with_borrow_mut(|decoder| verdict(decoder, kind, Some(payload), kafka_time));
    assert_eq!(actual, expected, "{kind:?} {kafka_time:?}");
});
