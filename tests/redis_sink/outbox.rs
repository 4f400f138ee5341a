//! Outboxes between an owner and the leader: every answer, and what becomes of deliveries when
//! owners quarrel and Redis forgets.

use std::collections::BTreeSet;
use std::time::Duration;

use nazar::event::Kind;
use nazar::pipeline::delivery::Partition;
use nazar::pipeline::protocol::{Held, Token};
use nazar::sinks::redis::error::ErrorClass;
use nazar::sinks::redis::outbox::{Append, Entry, Feed, Outboxes, ReadBounds};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::fixture::{config, topics};
use crate::server::Server;

const P: Partition = Partition { kind: Kind::Click, index: 0 };
const Q: Partition = Partition { kind: Kind::Purchase, index: 7 };
const A: Token = Token::new(0xa);
const B: Token = Token::new(0xb);
const OUTBOX: &str = "{nazar:click:0}:outbox";
const OWNER: &str = "{nazar:click:0}:owner";
const ALL: ReadBounds = ReadBounds { bytes: u64::MAX, entries: 1_000 };

fn owner(server: &Server) -> Outboxes {
    Outboxes::new(&config(server), &topics(), 1_000).unwrap()
}

fn leader(server: &Server) -> Feed {
    Feed::new(&config(server), &topics()).unwrap()
}

/// An owner of P that has opened at 100 and appended `[100,150) [150,180) [180,200)`.
async fn filled(server: &Server) -> Outboxes {
    let mut owner = owner(server);
    owner.open(&[(P, A, 100)]).await.unwrap();
    for (from, to) in [(100, 150), (150, 180), (180, 200)] {
        assert_eq!(append(&mut owner, A, from, to).await, Append::Appended);
    }
    owner
}

/// Appends ten bytes that name the range.
async fn append(owner: &mut Outboxes, token: Token, from: i64, to: i64) -> Append {
    owner.append(P, token, from, to, format!("{from:05}{to:05}").as_bytes()).await.unwrap()
}

async fn ranges(feed: &mut Feed) -> Vec<(i64, i64)> {
    let entries = feed.read(&[P], ALL).await.unwrap();
    entries.iter().map(|entry| (entry.from, entry.to)).collect()
}

async fn held(owner: &mut Outboxes, token: Token) -> Option<(i64, i64)> {
    let held = owner.held(&[(P, token)]).await.unwrap();
    held[0].map(|Held { from, to }| (from, to))
}

/// What the hash says, beside what the stream really holds.
fn assert_count_is_exact(server: &Server) {
    type Row = (String, (String, i64, String, Vec<u8>));
    let entries: Vec<Row> = server.ask(&format!("XRANGE {OUTBOX} - +"));
    let bytes: usize = entries.iter().map(|(_, (.., delivery))| delivery.len()).sum();
    let [start, end, count]: [String; 3] = server.ask(&format!("HMGET {OWNER} start end entries"));
    let counted = |id: &str| id.split_once('-').unwrap().1.parse::<usize>().unwrap();
    assert_eq!((counted(&end) - counted(&start), count), (bytes, entries.len().to_string()));
    let ends = |id: &str| id.split_once('-').unwrap().0.parse::<i64>().unwrap();
    let froms: Vec<i64> = entries.iter().map(|(_, (_, from, ..))| *from).collect();
    assert_eq!(ends(&start), froms.first().copied().unwrap_or(ends(&end)));
}

#[tokio::test]
async fn what_is_appended_is_read_in_order_and_trimmed_by_the_cursor() {
    let server = Server::start();
    let mut owner = filled(&server).await;
    let mut feed = leader(&server);
    assert_eq!(feed.trim(&[(P, 200)]).await.unwrap(), 0, "nothing is read yet");
    let entries = feed.read(&[P, Q], ALL).await.unwrap();
    assert_eq!(ranges(&mut feed).await, [], "nothing twice");
    let first = Entry { partition: P, from: 100, to: 150, delivery: b"0010000150".to_vec() };
    assert_eq!(entries[0], first);
    assert_eq!(entries.iter().map(|entry| entry.to).collect::<Vec<_>>(), [150, 180, 200]);
    assert_eq!(held(&mut owner, A).await, Some((100, 200)));

    // A cursor within a delivery keeps it; one at its end does not.
    for (cursor, removed, from) in [(-1, 0, 100), (149, 0, 100), (150, 1, 150), (199, 1, 180)] {
        assert_eq!(feed.trim(&[(P, cursor)]).await.unwrap(), removed, "{cursor}");
        assert_eq!(held(&mut owner, A).await, Some((from, 200)), "{cursor}");
        assert_count_is_exact(&server);
    }
    // A cursor ahead of what was read here: another leader's. What is unread stays.
    assert_eq!(append(&mut owner, A, 200, 260).await, Append::Appended);
    assert_eq!(feed.trim(&[(P, 300)]).await.unwrap(), 1);
    assert_eq!(ranges(&mut feed).await, [(200, 260)]);
    assert_eq!(feed.trim(&[(P, 260), (Q, 10)]).await.unwrap(), 1);
    assert_eq!(held(&mut owner, A).await, Some((260, 260)), "empty");
    assert_count_is_exact(&server);
    assert_eq!(append(&mut owner, A, 260, 270).await, Append::Appended, "goes on after it");
    assert_eq!(ranges(&mut feed).await, [(260, 270)]);
}

#[tokio::test]
async fn marks_of_a_quiet_partition_are_kept_until_read() {
    let server = Server::start();
    let mut owner = owner(&server);
    owner.open(&[(P, A, 0)]).await.unwrap();
    let mut feed = leader(&server);
    for _ in 0..2 {
        assert_eq!(append(&mut owner, A, 0, 0).await, Append::Appended, "at offset 0, too");
    }
    assert_eq!(ranges(&mut feed).await, [(0, 0), (0, 0)]);
    assert_eq!(append(&mut owner, A, 0, 0).await, Append::Appended);
    assert_eq!(feed.trim(&[(P, 0)]).await.unwrap(), 2);
    assert_eq!(ranges(&mut feed).await, [(0, 0)]);
    assert_count_is_exact(&server);
}

#[tokio::test]
async fn an_append_has_to_continue_and_may_be_repeated() {
    let server = Server::start();
    let mut owner = filled(&server).await;
    for (from, to) in [(180, 200), (180, 200)] {
        assert_eq!(append(&mut owner, A, from, to).await, Append::AlreadyThere);
    }
    for (from, to) in [(150, 200), (150, 180), (199, 210), (201, 210), (0, 0)] {
        assert_eq!(append(&mut owner, A, from, to).await, Append::Gap { last_to: 200 });
    }
    assert_eq!(server.ask::<u64>(&format!("XLEN {OUTBOX}")), 3);
    assert_count_is_exact(&server);
    // Offsets beyond what a double can tell apart.
    let far = (1 << 62) + 1;
    owner.open(&[(P, B, far)]).await.unwrap();
    assert_eq!(append(&mut owner, B, far - 1, far).await, Append::Gap { last_to: far });
    assert_eq!(append(&mut owner, B, far, far + 1).await, Append::Appended);
    assert_eq!(held(&mut owner, B).await, Some((far, far + 1)));
    assert_count_is_exact(&server);
}

/// The connection is cut after the server has the command: its outcome is unknown.
#[tokio::test]
async fn an_append_whose_answer_was_lost_is_found_there() {
    let server = Server::start();
    let mut settings = config(&server);
    settings.response_timeout = Duration::from_millis(300);
    let mut owner = Outboxes::new(&settings, &topics(), 1_000).unwrap();
    owner.open(&[(P, A, 100)]).await.unwrap();
    assert_eq!(append(&mut owner, A, 100, 110).await, Append::Appended);
    server.signal("-STOP");
    let refused = owner.append(P, A, 110, 120, b"abc").await.err().unwrap();
    assert_eq!(refused.class(), ErrorClass::Timeout);
    server.signal("-CONT");
    // The stopped server finds the command in its socket before it sees the connection closed.
    let entries = async || loop {
        let entries: u64 = server.ask(&format!("XLEN {OUTBOX}"));
        if entries == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    tokio::time::timeout(Duration::from_secs(10), entries()).await.expect("it was appended");
    let again = owner.append(P, A, 110, 120, b"abc").await.unwrap();
    assert_eq!(again, Append::AlreadyThere);
    assert_eq!(append(&mut owner, A, 120, 130).await, Append::Appended);
}

#[tokio::test]
async fn the_newer_owner_wins_a_quarrel() {
    let server = Server::start();
    let mut first = filled(&server).await;
    let mut feed = leader(&server);
    assert_eq!(ranges(&mut feed).await.len(), 3);
    // Another member has the partition now, and starts at an older cursor with other cuts.
    let mut second = owner(&server);
    second.open(&[(P, B, 100)]).await.unwrap();
    let fenced = Append::Fenced { holder: B.to_string() };
    assert_eq!(append(&mut first, A, 200, 210).await, fenced);
    assert_eq!(append(&mut first, A, 100, 210).await, fenced, "even where it would continue");
    assert_eq!(held(&mut first, A).await, None);
    assert_eq!(held(&mut second, B).await, Some((100, 100)));
    // Its offsets lie below what was read: nothing of it is passed over.
    assert_eq!(append(&mut second, B, 100, 130).await, Append::Appended);
    assert_eq!(feed.trim(&[(P, 200)]).await.unwrap(), 0, "read under the first one's token");
    assert_eq!(ranges(&mut feed).await, [(100, 130)]);
    assert_count_is_exact(&server);
}

#[tokio::test]
async fn a_full_outbox_takes_nothing_until_it_is_trimmed() {
    let server = Server::start();
    let mut owner = owner(&server);
    let mut feed = leader(&server);
    owner.open(&[(P, A, 0)]).await.unwrap();
    let put = async |owner: &mut Outboxes, from, bytes: usize| {
        owner.append(P, A, from, from + 10, &vec![7; bytes]).await.unwrap()
    };
    assert_eq!(put(&mut owner, 0, 400).await, Append::Appended);
    assert_eq!(put(&mut owner, 10, 600).await, Append::Appended, "to the last byte");
    assert_eq!(put(&mut owner, 20, 1).await, Append::Full { bytes: 1_000 });
    assert_eq!(put(&mut owner, 10, 600).await, Append::AlreadyThere, "full or not");
    assert_count_is_exact(&server);
    assert_eq!(ranges(&mut feed).await, [(0, 10), (10, 20)]);
    feed.trim(&[(P, 10)]).await.unwrap();
    assert_eq!(put(&mut owner, 20, 401).await, Append::Full { bytes: 600 });
    feed.trim(&[(P, 20)]).await.unwrap();
    assert_eq!(put(&mut owner, 20, 5_000).await, Append::Appended, "alone it may be larger");
    assert_eq!(put(&mut owner, 30, 1).await, Append::Full { bytes: 5_000 });
    assert_count_is_exact(&server);
}

#[tokio::test]
async fn a_read_keeps_to_its_bounds_and_starves_nobody() {
    let server = Server::start();
    let mut owner = owner(&server);
    owner.open(&[(P, A, 0), (Q, A, 0)]).await.unwrap();
    for n in 0..9 {
        for partition in [P, Q] {
            let appended = owner.append(partition, A, n, n + 1, &[7; 100]).await.unwrap();
            assert_eq!(appended, Append::Appended);
        }
    }
    let mut feed = leader(&server);
    let read = async |feed: &mut Feed, bytes, entries| {
        let read = feed.read(&[P, Q], ReadBounds { bytes, entries }).await.unwrap();
        let of = |partition| read.iter().filter(move |entry| entry.partition == partition);
        (of(P).count(), of(Q).count())
    };
    assert_eq!(read(&mut feed, 0, 0).await, (1, 1), "one at least");
    assert_eq!(read(&mut feed, 650, 100).await, (3, 3));
    assert_eq!(read(&mut feed, 1 << 40, 4).await, (4, 4));
    assert_eq!(read(&mut feed, 1 << 40, 4).await, (1, 1));
    assert_eq!(read(&mut feed, 1 << 40, 4).await, (0, 0));
    feed.read_again(P);
    assert_eq!(read(&mut feed, 1 << 40, 100).await, (9, 0));
    let held = owner.held(&[(Q, A), (P, B), (P, A)]).await.unwrap();
    let whole = Some(Held { from: 0, to: 9 });
    assert_eq!(held, [whole, None, whole]);
}

/// Both keys as they were, as after a failover that lost the writes since.
fn save(server: &Server) -> Vec<(&'static str, Option<Vec<u8>>)> {
    [OUTBOX, OWNER].map(|key| (key, server.ask(&format!("DUMP {key}")))).into()
}

fn restore(server: &Server, saved: &[(&'static str, Option<Vec<u8>>)]) {
    let mut connection = server.connect();
    for (key, dump) in saved {
        redis::cmd("DEL").arg(key).exec(&mut connection).unwrap();
        if let Some(dump) = dump {
            redis::cmd("RESTORE").arg(key).arg(0).arg(dump).exec(&mut connection).unwrap();
        }
    }
}

#[tokio::test]
async fn a_slot_that_fell_back_is_noticed_by_both_sides() {
    let server = Server::start();
    let mut owner = filled(&server).await;
    let before = save(&server);
    let mut feed = leader(&server);
    for (from, to) in [(200, 210), (210, 220)] {
        append(&mut owner, A, from, to).await;
    }
    assert_eq!(ranges(&mut feed).await.len(), 5);
    restore(&server, &before);
    assert_eq!(ranges(&mut feed).await.len(), 3, "from the start");
    assert_eq!(append(&mut owner, A, 220, 230).await, Append::Gap { last_to: 200 });
    assert_eq!(held(&mut owner, A).await, Some((100, 200)));
    assert_count_is_exact(&server);

    // Back to an owner before this one.
    owner.open(&[(P, B, 180)]).await.unwrap();
    append(&mut owner, B, 180, 190).await;
    assert_eq!(ranges(&mut feed).await, [(180, 190)]);
    restore(&server, &before);
    let fenced = Append::Fenced { holder: A.to_string() };
    assert_eq!(append(&mut owner, B, 190, 195).await, fenced);
    assert_eq!(ranges(&mut feed).await.len(), 3);
}

#[tokio::test]
async fn a_slot_that_is_gone_is_gone_for_its_owner() {
    let server = Server::start();
    let mut owner = filled(&server).await;
    let mut feed = leader(&server);
    assert_eq!(ranges(&mut feed).await.len(), 3);
    let old = save(&server);
    append(&mut owner, A, 200, 210).await;
    assert_eq!(ranges(&mut feed).await, [(200, 210)]);

    // The stream alone: its hash remembers more than there is.
    server.ask::<u64>(&format!("DEL {OUTBOX}"));
    assert_eq!(append(&mut owner, A, 210, 220).await, Append::Gone);
    assert_eq!(held(&mut owner, A).await, None);
    restore(&server, &old[..1]);
    assert_eq!(append(&mut owner, A, 210, 220).await, Append::Gone, "an older one in its place");
    assert_eq!(held(&mut owner, A).await, None);

    server.ask::<String>("FLUSHALL");
    assert_eq!(append(&mut owner, A, 210, 220).await, Append::Gone);
    assert_eq!(held(&mut owner, A).await, None);
    assert_eq!(ranges(&mut feed).await, []);
    assert_eq!(feed.trim(&[(P, 210)]).await.unwrap(), 0);
    assert_eq!(server.ask::<u64>("DBSIZE"), 0, "none of that wrote anything");

    // The same offsets again, under the same token even: they are read again.
    owner.open(&[(P, A, 100)]).await.unwrap();
    append(&mut owner, A, 100, 150).await;
    assert_eq!(ranges(&mut feed).await, [(100, 150)]);
}

#[tokio::test]
async fn a_full_redis_refuses_deliveries_and_still_trims() {
    let server = Server::start();
    let mut owner = filled(&server).await;
    let mut feed = leader(&server);
    assert_eq!(ranges(&mut feed).await.len(), 3);
    server.ask::<String>("CONFIG SET maxmemory 1");
    let refused = owner.append(P, A, 200, 210, b"abc").await.err().unwrap();
    assert_eq!(refused.class(), ErrorClass::Oom);
    assert_eq!(feed.trim(&[(P, 180)]).await.unwrap(), 2);
    assert_count_is_exact(&server);
    server.ask::<String>("CONFIG SET maxmemory 0");
    assert_eq!(append(&mut owner, A, 200, 210).await, Append::Appended);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Open {
        cursor: i64,
    },
    /// By the present owner, or by the one before it.
    Append {
        records: i64,
        bytes: usize,
        zombie: bool,
    },
    Read {
        entries: u64,
    },
    Trim {
        cursor: i64,
    },
    Save,
    FallBack,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => (0i64..60).prop_map(|cursor| Step::Open { cursor }),
        6 => (0i64..20, 1usize..300, prop::bool::weighted(0.2))
            .prop_map(|(records, bytes, zombie)| Step::Append { records, bytes, zombie }),
        2 => (1u64..5).prop_map(|entries| Step::Read { entries }),
        2 => (0i64..150).prop_map(|cursor| Step::Trim { cursor }),
        1 => Just(Step::Save),
        1 => Just(Step::FallBack),
    ];
    prop::collection::vec(step, 1..60)
}

/// An outbox as a list.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    token: Option<Token>,
    from: i64,
    entries: Vec<Entry>,
}

impl Model {
    fn to(&self) -> i64 {
        self.entries.last().map_or(self.from, |entry| entry.to)
    }

    fn append(&mut self, token: Token, entry: &Entry) -> Append {
        let bytes: usize = self.entries.iter().map(|entry| entry.delivery.len()).sum();
        let Some(holder) = self.token else { return Append::Gone };
        if holder != token {
            Append::Fenced { holder: holder.to_string() }
        } else if self.to() != entry.from {
            Append::Gap { last_to: self.to() }
        } else if bytes > 0 && bytes + entry.delivery.len() > 1_000 {
            Append::Full { bytes: bytes as u64 }
        } else {
            self.entries.push(entry.clone());
            Append::Appended
        }
    }
}

/// Owners that keep to their rule: each appends what follows on what it appended last.
#[derive(Clone, Copy)]
struct Owner {
    token: Token,
    end: i64,
}

async fn run(server: &Server, steps: &[Step]) {
    server.ask::<String>("FLUSHALL");
    let (mut outboxes, mut feed) = (owner(server), leader(server));
    let mut model = Model::default();
    let mut saved = (model.clone(), save(server));
    let mut owners = vec![Owner { token: A, end: 0 }; 2];
    let mut seen = BTreeSet::new();
    for (number, &step) in (0u128..).zip(steps) {
        match step {
            Step::Open { cursor } => {
                let token = Token::new(100 + number);
                outboxes.open(&[(P, token, cursor)]).await.unwrap();
                owners = vec![owners[1], Owner { token, end: cursor }];
                model = Model { token: Some(token), from: cursor, entries: vec![] };
            }
            Step::Append { records, bytes, zombie } => {
                let Owner { token, end } = &mut owners[usize::from(!zombie)];
                // The step's number makes each of them one of its kind.
                let delivery = vec![number as u8; bytes];
                let entry = Entry { partition: P, from: *end, to: *end + records, delivery };
                let answer = outboxes.append(P, *token, entry.from, entry.to, &entry.delivery);
                let answer = answer.await.unwrap();
                assert_eq!(answer, model.append(*token, &entry), "{step:?} {model:?}");
                if answer == Append::Appended {
                    *end = entry.to;
                }
            }
            Step::Read { entries } => {
                let bounds = ReadBounds { bytes: u64::MAX, entries };
                for entry in feed.read(&[P], bounds).await.unwrap() {
                    assert!(model.entries.contains(&entry));
                    seen.insert((entry.to, entry.delivery));
                }
            }
            Step::Trim { cursor } => {
                feed.trim(&[(P, cursor)]).await.unwrap();
                // As many as are merged and read, by what the stream still has.
                let left: usize = server.ask(&format!("XLEN {OUTBOX}"));
                for gone in model.entries.drain(..model.entries.len() - left) {
                    let is_mark = gone.from == gone.to;
                    assert!(gone.to <= cursor);
                    assert!(is_mark || seen.contains(&(gone.to, gone.delivery)));
                    model.from = gone.to;
                }
            }
            Step::Save => saved = (model.clone(), save(server)),
            Step::FallBack => {
                model = saved.0.clone();
                restore(server, &saved.1);
            }
        }
        if let Some(token) = model.token {
            assert_eq!(held(&mut outboxes, token).await, Some((model.from, model.to())));
            assert_count_is_exact(server);
        }
    }
    loop {
        let entries = feed.read(&[P], ReadBounds { bytes: 300, entries: 3 }).await.unwrap();
        if entries.is_empty() {
            break;
        }
        seen.extend(entries.into_iter().map(|entry| (entry.to, entry.delivery)));
    }
    for Entry { from, to, delivery, .. } in model.entries {
        // A mark of a quiet partition may be passed over after lost writes.
        assert!(from == to || seen.contains(&(to, delivery)), "[{from},{to}) was not read");
    }
}

#[test]
fn any_sequence_is_answered_as_a_list_would_and_nothing_is_passed_over() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config::with_cases(40));
    let outcome = runner.run(&steps(), |steps| {
        runtime.block_on(run(&server, &steps));
        Ok(())
    });
    outcome.unwrap();
}
