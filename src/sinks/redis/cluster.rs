//! A thin router over connections to the masters of a Redis Cluster.
//!
//! ```text
//!  command, pipeline ─► units of one slot ─► by node ─► one pipeline each, all at once
//!                           ▲                              │ MOVED: learn, ask for the map again
//!                           └──── the refused units ◄──────┤ ASK: this once, behind ASKING
//!                                                          ▼
//!                                             answers in the order asked for
//! ```
//!
//! The redis crate's own Cluster client would also do the routing, but its one number of retries
//! covers redirections and broken connections alike: with it, a write whose answer was lost is
//! sent a second time behind our back, and the sink, which tells by the sequence number whether
//! a write has landed, would take its own second attempt for another writer's. It also sends
//! ASKING once before a whole pipeline, while the server forgets it after one command. So here a
//! request is repeated only where the server has said that it did not run it, and every other
//! failure goes to the caller, who knows what to read back.
//!
//! While a slot is moved key by key, commands of one key go on (ASK). A script or a transaction
//! whose keys stand on both sides is refused with TRYAGAIN, which also goes to the caller: the
//! sink waits and tries again until the slot has arrived.
//!
//! A node that is away fails every request that needs it, and the caller then throws the whole
//! link away: the next one asks any node that answers who serves what now.

pub mod slots;

mod unit;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::task::JoinSet;
use tracing::debug;

use self::slots::{Node, SlotMap};
use self::unit::{Outcome, Route, Unit};
use super::dial::Dialer;

/// How often one unit is sent on: from a node to the slot's new master, and from there to a node
/// that imports it, and both again if the slot moves on meanwhile.
const REDIRECTS_MAX: usize = 6;

/// Before the second time, and so much more before each further one: nodes that send a unit to
/// each other have yet to hear who has the slot.
const REDIRECT_PAUSE: Duration = Duration::from_millis(10);

#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    dialer: Dialer,
    /// Where commands without a key go.
    home: u16,
    state: Mutex<State>,
}

struct State {
    map: SlotMap,
    live: HashMap<Node, MultiplexedConnection>,
}

impl Cluster {
    /// `map` is what the node `teller` said. `home`: commands without a key go where this slot is.
    pub fn new(
        dialer: Dialer,
        home: u16,
        map: SlotMap,
        teller: Option<(Node, MultiplexedConnection)>,
    ) -> Cluster {
        // Under another name than the others know it by, it would only be connected to twice.
        let teller = teller.filter(|(node, _)| map.masters().contains(node));
        let state = State { map, live: teller.into_iter().collect() };
        Cluster { shared: Arc::new(Shared { dialer, home, state: Mutex::new(state) }) }
    }

    pub fn masters(&self) -> Vec<Node> {
        self.state().map.masters().into_iter().cloned().collect()
    }

    /// How many slots nobody serves.
    pub fn unserved(&self) -> usize {
        self.state().map.unserved()
    }

    /// The node that holds a key, as far as we know.
    pub fn node_of(&self, key: &str) -> Option<Node> {
        self.state().map.owner(slots::slot(key.as_bytes())).cloned()
    }

    /// A connection to a node, opened now if there is none.
    pub async fn connection(&self, node: &Node) -> Result<MultiplexedConnection, RedisError> {
        if let Some(connection) = self.state().live.get(node) {
            return Ok(connection.clone());
        }
        let connection = self.shared.dialer.dial(&self.shared.dialer.addr(node)).await?;
        self.state().live.insert(node.clone(), connection.clone());
        Ok(connection)
    }

    pub async fn command(&self, command: &Cmd) -> Result<Value, RedisError> {
        if is_script_load(command) {
            return self.everywhere(command).await;
        }
        let unit = Unit::command(0, self.slot_of(command));
        let mut answers = self.run(std::slice::from_ref(command), vec![unit]).await?;
        answers.pop().ok_or_else(unanswered)
    }

    /// Answers as a single server's connection does: one value for each command, or for a
    /// transaction one array of them.
    pub async fn pipeline(&self, pipeline: &Pipeline) -> Result<Vec<Value>, RedisError> {
        let commands: Vec<Cmd> = pipeline.cmd_iter().cloned().collect();
        let numbered = commands.iter().map(|command| self.slot_of(command)).enumerate();
        if !pipeline.is_transaction() {
            let units = numbered.map(|(index, slot)| Unit::command(index, slot)).collect();
            return self.run(&commands, units).await;
        }
        let mut by_slot: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (index, slot) in numbered {
            by_slot.entry(slot).or_default().push(index);
        }
        let units = by_slot.into_iter().map(|(slot, commands)| Unit::transaction(commands, slot));
        Ok(vec![Value::Array(self.run(&commands, units.collect()).await?)])
    }

    /// Runs units until each has an answer that is no redirection.
    async fn run(&self, commands: &[Cmd], units: Vec<Unit>) -> Result<Vec<Value>, RedisError> {
        let mut answers = vec![Value::Nil; commands.len()];
        let mut waiting = units;
        for round in 0..=REDIRECTS_MAX {
            let mut moved_to = None;
            for (node, unit, values) in self.send(commands, std::mem::take(&mut waiting)).await? {
                let outcome = match unit.read(&values) {
                    _ if round == REDIRECTS_MAX => Outcome::Answered,
                    outcome => outcome,
                };
                match (&outcome, outcome.target(&node)) {
                    (Outcome::Moved(_), Some(target)) => {
                        self.state().map.moved(unit.slot, target.clone());
                        waiting.push(unit.routed(Route::Owner));
                        moved_to = Some(target);
                    }
                    (Outcome::Ask(_), Some(target)) => {
                        waiting.push(unit.routed(Route::Ask(target)));
                    }
                    _ => unit.finish(values, &mut answers),
                }
            }
            if waiting.is_empty() {
                break;
            }
            if let Some(node) = moved_to {
                tokio::time::sleep(REDIRECT_PAUSE * round as u32).await;
                self.refresh(&node).await;
            }
        }
        Ok(answers)
    }

    /// Sends every unit to its node, all nodes at once.
    async fn send(
        &self,
        commands: &[Cmd],
        units: Vec<Unit>,
    ) -> Result<Vec<(Node, Unit, Vec<Value>)>, RedisError> {
        let mut by_node: BTreeMap<Node, Vec<Unit>> = BTreeMap::new();
        for unit in units {
            let node = match &unit.route {
                Route::Ask(node) => node.clone(),
                Route::Owner => self.state().map.owner(unit.slot).cloned().ok_or_else(unserved)?,
            };
            by_node.entry(node).or_default().push(unit);
        }
        let mut exchanges = JoinSet::new();
        for (node, units) in by_node {
            let mut connection = self.connection(&node).await?;
            let mut pipeline = Pipeline::new();
            units.iter().for_each(|unit| unit.write(commands, &mut pipeline));
            exchanges.spawn(async move {
                let count = pipeline.len();
                let values = connection.req_packed_commands(&pipeline, 0, count).await?;
                Ok::<_, RedisError>((node, units, values))
            });
        }
        let mut answered = Vec::new();
        while let Some(exchange) = exchanges.join_next().await {
            let (node, units, values) = exchange.map_err(|_| unanswered())??;
            let mut values = values.into_iter();
            for unit in units {
                let own: Vec<Value> = values.by_ref().take(unit.answers()).collect();
                if own.len() < unit.answers() {
                    return Err(unanswered());
                }
                answered.push((node.clone(), unit, own));
            }
        }
        Ok(answered)
    }

    /// Loads a script wherever we are connected: the node that missed it is among them, and one
    /// that is away does not hold it up.
    async fn everywhere(&self, command: &Cmd) -> Result<Value, RedisError> {
        let live: Vec<_> = self.state().live.values().cloned().collect();
        let mut exchanges = JoinSet::new();
        for mut connection in live {
            let command = command.clone();
            exchanges.spawn(async move { connection.req_packed_command(&command).await });
        }
        let mut answer = Err(unanswered());
        while let Some(exchange) = exchanges.join_next().await {
            let given = exchange.unwrap_or_else(|_| Err(unanswered()));
            if answer.is_err() {
                answer = given;
            }
        }
        answer
    }

    /// Asks a node for the map. What fails here shows at the next use of a node.
    async fn refresh(&self, node: &Node) {
        let asked = async {
            let mut connection = self.connection(node).await?;
            ask_slots(&mut connection, node).await
        };
        match asked.await {
            Ok(map) => {
                let mut state = self.state();
                // It may not know yet what has just been said; that is said again then.
                state.live.retain(|node, _| map.masters().contains(node));
                state.map = map;
            }
            Err(error) => debug!(%node, %error, "ask for the slots"),
        }
    }

    fn slot_of(&self, command: &Cmd) -> u16 {
        slots::key(command).map_or(self.shared.home, slots::slot)
    }

    /// Held for a look at a map, never over an exchange.
    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who serves which slot, by the node asked.
pub async fn ask_slots(
    connection: &mut MultiplexedConnection,
    node: &Node,
) -> Result<SlotMap, RedisError> {
    let answer: Value = redis::cmd("CLUSTER").arg("SLOTS").query_async(connection).await?;
    SlotMap::parse(answer, node)
}

fn is_script_load(command: &Cmd) -> bool {
    let word = command.args_iter().next();
    matches!(word, Some(redis::Arg::Simple(word)) if word.eq_ignore_ascii_case(b"SCRIPT"))
}

/// As the server would say it.
fn unserved() -> RedisError {
    let detail = "Hash slot not served".to_owned();
    redis::make_extension_error("CLUSTERDOWN".to_owned(), Some(detail))
}

fn unanswered() -> RedisError {
    (redis::ErrorKind::Io, "a node did not answer all").into()
}
