//! Batches of records straight from librdkafka: the one module of the pipeline with unsafe code.
//!
//! The `rdkafka` crate hands out one message per call, at two to three times the cost of
//! librdkafka's own batch call. This module wraps that call, and nothing else.
//!
//! **One queue per partition.** [`PartitionQueue::open`] keeps the messages of a partition in
//! a queue of their own (`rd_kafka_queue_get_partition`, then forwarding to nothing). The
//! reader thus chooses which partition to read, and pausing one is not reading it: nothing
//! that was fetched is thrown away. librdkafka's bounds (`queued.min.messages`,
//! `queued.max.messages.kbytes`) apply to each of these queues, not to their sum.
//!
//! **Never the consumer's queue.** A batch call on a queue that carries rebalance events
//! swallows them and drops the assignment. Partition queues carry only messages, consumer
//! errors and barriers.
//!
//! # Why this is sound
//!
//! 1. *Threads.* librdkafka leaves concurrent batch calls on one consumer undefined. Queues
//!    open only on a [`BatchConsumer`], which owns its consumer and stays on the thread that
//!    made it, as do queues and batches: none of them is `Send` or `Sync`.
//! 2. *Lifetimes.* A queue borrows its consumer, and a batch borrows its queue and its
//!    buffer: the compiler sees to it that messages are destroyed before queues, and queues
//!    before the consumer. A record borrows from its batch.
//! 3. *Every message is destroyed exactly once*: errors when they are split off, records when
//!    the batch is dropped. A batch that is leaked leaks its messages; the buffer does not
//!    look at old pointers again.
//! 4. *Error codes are read as integers.* A broker may send a code that the bindings' enum
//!    does not have, and an enum with an undeclared value is undefined behaviour.
//! 5. *Re-open at every assignment.* librdkafka clears the forwarding when it stops a
//!    partition; the flag that keeps a partition's queue apart stays for the life of the
//!    client. So a queue must be opened before the partition is assigned, each time, or its
//!    messages would pile up where nobody reads. Messages from before a seek or an assignment
//!    are discarded inside the batch call, which compares their version with the partition's.
//! 6. *No partition EOF events* (`enable.partition.eof=false`): the bundled librdkafka moves
//!    the application's position on them.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::slice;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka_sys as sys;

/// A consumer whose partitions are read in batches, by this thread alone.
pub struct BatchConsumer<C: ConsumerContext> {
    consumer: BaseConsumer<C>,
    /// Raw pointers are neither `Send` nor `Sync` (point 1).
    this_thread_only: PhantomData<*const ()>,
}

impl<C: ConsumerContext> BatchConsumer<C> {
    pub fn new(consumer: BaseConsumer<C>) -> Self {
        Self { consumer, this_thread_only: PhantomData }
    }

    pub fn into_inner(self) -> BaseConsumer<C> {
        self.consumer
    }
}

impl<C: ConsumerContext> Deref for BatchConsumer<C> {
    type Target = BaseConsumer<C>;

    fn deref(&self) -> &BaseConsumer<C> {
        &self.consumer
    }
}

/// The messages of one assigned partition.
pub struct PartitionQueue<'consumer> {
    queue: NonNull<sys::rd_kafka_queue_t>,
    consumer: PhantomData<&'consumer ()>,
}

impl<'consumer> PartitionQueue<'consumer> {
    /// Splits the partition's messages off into a queue of their own. Call it before every
    /// assignment of the partition (see the module's point 5). `None` if librdkafka does not
    /// accept the name.
    pub fn open<C: ConsumerContext>(
        consumer: &'consumer BatchConsumer<C>,
        topic: &str,
        partition: i32,
    ) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: the client lives at least as long as the borrow of the consumer, and the
        // name is a C string that librdkafka copies.
        let queue = unsafe {
            sys::rd_kafka_queue_get_partition(
                consumer.client().native_ptr(),
                topic.as_ptr(),
                partition,
            )
        };
        let queue = NonNull::new(queue)?;
        // SAFETY: the queue was just created. Forwarding to null keeps the messages in it.
        unsafe { sys::rd_kafka_queue_forward(queue.as_ptr(), ptr::null_mut()) };
        Some(Self { queue, consumer: PhantomData })
    }

    /// Takes what has been fetched, up to the buffer's capacity, without waiting.
    pub fn read<'batch>(&'batch mut self, buffer: &'batch mut BatchBuffer) -> Batch<'batch> {
        let slots = &mut buffer.slots;
        // SAFETY: the queue is alive (point 2) and read by this thread alone (point 1); the
        // buffer has room for as many pointers as it says.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(
                self.queue.as_ptr(),
                0,
                slots.as_mut_ptr(),
                slots.len(),
            )
        };
        let count = usize::try_from(count).unwrap_or(0).min(slots.len());
        Batch::take(&mut slots[..count])
    }

    /// How many messages wait to be read (bookkeeping messages included).
    pub fn len(&self) -> usize {
        // SAFETY: the queue is alive (point 2).
        unsafe { sys::rd_kafka_queue_length(self.queue.as_ptr()) }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for PartitionQueue<'_> {
    fn drop(&mut self) {
        // SAFETY: we own this handle; the queue itself stays with its partition.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// Room for the messages of one batch; its size is the largest batch. Reused for every read.
pub struct BatchBuffer {
    /// Meaningful only while a [`Batch`] borrows them.
    slots: Vec<*mut sys::rd_kafka_message_t>,
}

impl BatchBuffer {
    pub fn new(records_max: usize) -> Self {
        Self { slots: vec![ptr::null_mut(); records_max] }
    }
}

/// Records of one partition, ascending by offset. Offsets may skip: compaction, aborted
/// transactions and their markers leave holes.
pub struct Batch<'batch> {
    /// Records; destroyed with the batch, whether they are in `view` or not.
    messages: &'batch mut [*mut sys::rd_kafka_message_t],
    /// The part of `messages` that the reader wants to see, see [`Batch::keep`].
    view: std::ops::Range<usize>,
    errors: Vec<PartitionError>,
}

/// librdkafka's words for `RD_KAFKA_RESP_ERR__LOG_TRUNCATION`.
const TRUNCATION: &str = "log truncation detected";

/// What librdkafka reports about a partition in the place of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionError {
    /// An `rd_kafka_resp_err_t`; negative codes are librdkafka's own.
    pub code: i32,
    /// The offset the error is about; negative if there is none.
    pub offset: i64,
    pub text: String,
}

impl PartitionError {
    /// The next offset to fetch is not in the log: it was deleted, or never written.
    pub fn is_out_of_range(&self) -> bool {
        self.code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET as i32
            || self.code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE as i32
    }

    /// A new leader does not have all that was read from the old one. librdkafka reports it as
    /// an offset that is out of range, with the reason in the text alone.
    pub fn is_truncation(&self) -> bool {
        self.is_out_of_range() && self.text.contains(TRUNCATION)
    }
}

impl<'batch> Batch<'batch> {
    /// Takes over messages that librdkafka just handed out, and splits off the errors.
    fn take(slots: &'batch mut [*mut sys::rd_kafka_message_t]) -> Self {
        let mut errors = Vec::new();
        let mut records = 0;
        for index in 0..slots.len() {
            let message = slots[index];
            // SAFETY: the message is ours and alive; the code is read as an integer (point 4).
            let code = unsafe { (&raw const (*message).err).cast::<i32>().read() };
            if code == 0 {
                slots[records] = message;
                records += 1;
            } else {
                // SAFETY: as above; the message is destroyed here and its slot given up.
                unsafe {
                    errors.push(read_error(message, code));
                    sys::rd_kafka_message_destroy(message);
                }
            }
        }
        Self { messages: &mut slots[..records], view: 0..records, errors }
    }

    /// Narrows the batch to offsets in `[from, to)`.
    pub fn keep(&mut self, from: i64, to: i64) {
        // SAFETY: messages of the batch are alive.
        let offset = |message: &*mut sys::rd_kafka_message_t| unsafe { (**message).offset };
        let start = self.messages.partition_point(|message| offset(message) < from);
        let end = self.messages.partition_point(|message| offset(message) < to);
        self.view = start..end.max(start);
    }

    pub fn len(&self) -> usize {
        self.view.len()
    }

    pub fn is_empty(&self) -> bool {
        self.view.is_empty()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = RecordRef<'_>> + ExactSizeIterator {
        self.messages[self.view.clone()].iter().map(|&message| RecordRef {
            // SAFETY: librdkafka never hands out null.
            message: unsafe { NonNull::new_unchecked(message) },
            batch: PhantomData,
        })
    }

    pub fn first_offset(&self) -> Option<i64> {
        self.iter().next().map(|record| record.offset())
    }

    pub fn last_offset(&self) -> Option<i64> {
        self.iter().next_back().map(|record| record.offset())
    }

    /// Errors met while reading; the records are those before and after them.
    pub fn errors(&self) -> &[PartitionError] {
        &self.errors
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for &message in self.messages.iter() {
            // SAFETY: each message is destroyed once, here (point 3).
            unsafe { sys::rd_kafka_message_destroy(message) };
        }
    }
}

/// A record inside a batch. Nothing is copied or parsed until asked for.
#[derive(Clone, Copy)]
pub struct RecordRef<'batch> {
    message: NonNull<sys::rd_kafka_message_t>,
    batch: PhantomData<&'batch ()>,
}

impl<'batch> RecordRef<'batch> {
    pub fn offset(&self) -> i64 {
        // SAFETY: the message lives as long as its batch.
        unsafe { (*self.message.as_ptr()).offset }
    }

    /// `None` is a tombstone; an empty payload is `Some`.
    pub fn payload(&self) -> Option<&'batch [u8]> {
        // SAFETY: as above; payload and length describe memory that the message keeps alive.
        unsafe {
            let message = self.message.as_ptr();
            bytes((*message).payload, (*message).len)
        }
    }

    pub fn key(&self) -> Option<&'batch [u8]> {
        // SAFETY: as for the payload.
        unsafe {
            let message = self.message.as_ptr();
            bytes((*message).key, (*message).key_len)
        }
    }

    /// The record's Kafka time in milliseconds: when it was created, or appended to the log,
    /// as the topic is configured. `None` if the producer's format had no time.
    pub fn timestamp_ms(&self) -> Option<i64> {
        // SAFETY: the message lives as long as its batch; a null pointer for the type of the
        // time is allowed.
        let millis =
            unsafe { sys::rd_kafka_message_timestamp(self.message.as_ptr(), ptr::null_mut()) };
        (millis >= 0).then_some(millis)
    }

    /// The headers, parsed now and copied. Unreadable ones end the list.
    pub fn headers(&self) -> Vec<OwnedHeader> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message lives as long as its batch, and is not shared with other
        // threads while librdkafka parses and keeps the headers inside it.
        unsafe {
            let error = sys::rd_kafka_message_headers(self.message.as_ptr(), &mut headers);
            if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Vec::new();
            }
            (0..sys::rd_kafka_header_cnt(headers))
                .map_while(|index| read_header(headers, index))
                .collect()
        }
    }
}

/// Name and value of a header.
pub type OwnedHeader = (String, Option<Vec<u8>>);

/// # Safety
/// `data`, if not null, points to `len` bytes that stay unchanged for `'a`.
unsafe fn bytes<'a>(data: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!data.is_null()).then(|| unsafe { slice::from_raw_parts(data.cast(), len) })
}

/// # Safety
/// `message` is alive and an error, whose payload is its text.
unsafe fn read_error(message: *const sys::rd_kafka_message_t, code: i32) -> PartitionError {
    // SAFETY: the caller's promise.
    let (text, offset) = unsafe { (bytes((*message).payload, (*message).len), (*message).offset) };
    let text = String::from_utf8_lossy(text.unwrap_or_default()).into_owned();
    PartitionError { code, offset, text }
}

/// # Safety
/// `headers` is alive.
unsafe fn read_header(
    headers: *const sys::rd_kafka_headers_t,
    index: usize,
) -> Option<OwnedHeader> {
    let mut name: *const c_char = ptr::null();
    let mut value: *const c_void = ptr::null();
    let mut size = 0;
    // SAFETY: the caller's promise; name and value live as long as the headers.
    unsafe {
        let error = sys::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size);
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
            return None;
        }
        let name = CStr::from_ptr(name).to_string_lossy().into_owned();
        Some((name, bytes(value, size).map(<[u8]>::to_vec)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_tail_is_told_from_a_gap_by_librdkafkas_own_words() {
        let code = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET as i32;
        let error = |code, text: &str| PartitionError { code, offset: 0, text: text.into() };
        let words = sys::RDKafkaErrorCode::LogTruncation.to_string();
        assert!(error(code, &words).is_truncation(), "{words}");
        assert!(!error(code, "fetch failed: Broker: Offset out of range").is_truncation());
        assert!(!error(0, &words).is_truncation());
    }
}
