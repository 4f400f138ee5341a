//! What cannot be divided between nodes: a command, or the part of a transaction in one slot.
//! Pure: what is written for it, and what its answers mean.

use redis::{Cmd, Pipeline, ServerError, Value};

use super::slots::Node;

/// Commands, by their number in the request, that one node runs or refuses together.
#[derive(Clone, Debug)]
pub struct Unit {
    commands: Vec<usize>,
    is_transaction: bool,
    pub slot: u16,
    pub route: Route,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To the master of the slot.
    Owner,
    /// To the node that imports the slot, this once.
    Ask(Node),
}

/// What a node said to a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer, be it an error, that is the caller's.
    Answered,
    /// It did nothing: the slot is elsewhere, as the detail of the error says.
    Moved(String),
    /// It did nothing: the key is, or would be, at the node which the detail names.
    Ask(String),
}

impl Outcome {
    /// Where to go, as `teller` said.
    pub fn target(&self, teller: &Node) -> Option<Node> {
        match self {
            Outcome::Answered => None,
            Outcome::Moved(detail) | Outcome::Ask(detail) => Node::of_redirect(detail, teller),
        }
    }
}

impl Unit {
    pub fn command(index: usize, slot: u16) -> Unit {
        Unit { commands: vec![index], is_transaction: false, slot, route: Route::Owner }
    }

    pub fn transaction(commands: Vec<usize>, slot: u16) -> Unit {
        Unit { commands, is_transaction: true, slot, route: Route::Owner }
    }

    pub fn routed(self, route: Route) -> Unit {
        Unit { route, ..self }
    }

    pub fn write(&self, commands: &[Cmd], pipeline: &mut Pipeline) {
        // Inside MULTI the server remembers ASKING up to EXEC, else for one command.
        if matches!(self.route, Route::Ask(_)) {
            pipeline.cmd("ASKING");
        }
        if self.is_transaction {
            pipeline.cmd("MULTI");
        }
        for &index in &self.commands {
            pipeline.add_command(commands[index].clone());
        }
        if self.is_transaction {
            pipeline.cmd("EXEC");
        }
    }

    /// How many answers belong to what was written.
    pub fn answers(&self) -> usize {
        let asking = usize::from(matches!(self.route, Route::Ask(_)));
        asking + self.commands.len() + if self.is_transaction { 2 } else { 0 }
    }

    pub fn read(&self, values: &[Value]) -> Outcome {
        // A transaction of which one command is redirected is aborted as a whole. MOVED decides:
        // where the slot is, there is the key as well.
        let mut outcome = Outcome::Answered;
        for error in values.iter().filter_map(error) {
            let detail = error.details().unwrap_or_default().to_owned();
            match error.code() {
                "MOVED" => return Outcome::Moved(detail),
                "ASK" => outcome = Outcome::Ask(detail),
                _ => {}
            }
        }
        outcome
    }

    /// Puts the answers in the places of their commands.
    pub fn finish(self, mut values: Vec<Value>, answers: &mut [Value]) {
        let mut place = |index: usize, value| {
            if let Some(answer) = answers.get_mut(index) {
                *answer = value;
            }
        };
        if !self.is_transaction {
            if let (Some(&index), Some(value)) = (self.commands.first(), values.pop()) {
                place(index, value);
            }
            return;
        }
        let done = values.pop().unwrap_or(Value::Nil);
        let queued = values.split_off(values.len().saturating_sub(self.commands.len()));
        match done {
            Value::Array(done) if done.len() == self.commands.len() => {
                self.commands.iter().zip(done).for_each(|(&index, value)| place(index, value));
            }
            refusal => {
                // Aborted: which commands were refused in the queue says more than EXECABORT.
                let mut refused = false;
                for (&index, value) in self.commands.iter().zip(queued) {
                    if error(&value).is_some() {
                        place(index, value);
                        refused = true;
                    }
                }
                if let (false, Some(&index)) = (refused, self.commands.first()) {
                    place(index, refusal);
                }
            }
        }
    }
}

fn error(value: &Value) -> Option<&ServerError> {
    match value {
        Value::ServerError(error) => Some(error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Value {
        redis::parse_redis_value(format!("{line}\r\n").as_bytes()).unwrap()
    }

    fn lines(values: &[&str]) -> Vec<Value> {
        values.iter().map(|line| said(line)).collect()
    }

    const ABORTED: &str = "-EXECABORT Transaction discarded";

    #[test]
    fn one_redirection_redirects_all_of_a_transaction() {
        let unit = Unit::transaction(vec![0, 1], 7);
        let read = |values: &[&str]| unit.read(&lines(values));
        let asked = read(&["+OK", "-ASK 7 h:1", "+QUEUED", ABORTED]);
        assert_eq!(asked, Outcome::Ask("7 h:1".into()));
        let moved = read(&["+OK", "-ASK 7 h:1", "-MOVED 7 h:2", ABORTED]);
        assert_eq!(moved, Outcome::Moved("7 h:2".into()));
        let late = read(&["+OK", "+QUEUED", "+QUEUED", "-MOVED 7 h:2"]);
        assert_eq!(late, Outcome::Moved("7 h:2".into()), "also one said to EXEC");
        let refused = read(&["+OK", "-OOM full", "+QUEUED", ABORTED]);
        assert_eq!(refused, Outcome::Answered);
    }

    #[test]
    fn answers_find_their_commands() {
        let mut answers = vec![Value::Nil; 4];
        Unit::command(2, 1).finish(lines(&[":2"]), &mut answers);
        let transaction = Unit::transaction(vec![3, 0], 1);
        let done = Value::Array(vec![Value::Int(3), Value::Int(0)]);
        let values = [lines(&["+OK", "+QUEUED", "+QUEUED"]), vec![done]].concat();
        transaction.finish(values, &mut answers);
        assert_eq!(answers, [Value::Int(0), Value::Nil, Value::Int(2), Value::Int(3)]);
    }

    #[test]
    fn a_refusal_stands_where_the_refused_command_is() {
        let refuse = |values: &[&str]| {
            let mut answers = vec![Value::Nil; 2];
            Unit::transaction(vec![0, 1], 1).finish(lines(values), &mut answers);
            answers
        };
        let queued = refuse(&["+OK", "+QUEUED", "-OOM full", ABORTED]);
        assert_eq!(queued, [Value::Nil, said("-OOM full")]);
        let late = refuse(&["+OK", "+QUEUED", "+QUEUED", "-TRYAGAIN later"]);
        assert_eq!(late, [said("-TRYAGAIN later"), Value::Nil]);
        let multi = refuse(&["-NOPERM multi", "+QUEUED", "+QUEUED", "-ERR EXEC without MULTI"]);
        assert_eq!(multi[0], said("-ERR EXEC without MULTI"));
    }

    #[test]
    fn what_is_written_has_as_many_answers() {
        let commands = [redis::cmd("PING"), redis::cmd("PING")];
        let asked = Route::Ask(Node { host: "h".into(), port: 1 });
        for (unit, count) in [
            (Unit::command(0, 1), 1),
            (Unit::command(0, 1).routed(asked.clone()), 2),
            (Unit::transaction(vec![0, 1], 1), 4),
            (Unit::transaction(vec![0, 1], 1).routed(asked), 5),
        ] {
            let mut pipeline = Pipeline::new();
            unit.write(&commands, &mut pipeline);
            assert_eq!((pipeline.len(), unit.answers()), (count, count));
        }
    }
}
