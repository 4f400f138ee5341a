//! What is shown: what was asked for, held against what the daemon says it keeps.

use std::fmt;
use std::str::FromStr;

use crate::load::oracle::definitions::{Definitions, Metric};

/// A board as it is asked for: `product:clicks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardName {
    pub dimension: String,
    pub metric: Metric,
}

impl fmt::Display for BoardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.dimension, self.metric.name())
    }
}

impl FromStr for BoardName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let metrics = || Metric::ALL.map(Metric::name).join(", ");
        let (dimension, name) = text
            .rsplit_once(':')
            .filter(|(dimension, _)| !dimension.is_empty())
            .ok_or("expected DIMENSION:METRIC, for example product:clicks")?;
        let metric = Metric::ALL.into_iter().find(|metric| metric.name() == name);
        let metric =
            metric.ok_or_else(|| format!("unknown metric `{name}`: expected {}", metrics()))?;
        Ok(Self { dimension: dimension.to_owned(), metric })
    }
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// `None`: the first that the daemon keeps.
    pub window: Option<String>,
    /// None: the first of each dimension.
    pub boards: Vec<BoardName>,
    /// Rows of each board.
    pub rows: usize,
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct What {
    pub window: String,
    pub boards: Vec<BoardName>,
    pub rows: usize,
    pub currency: String,
}

impl Asked {
    /// What of it there is, or what there is instead.
    pub fn of(&self, definitions: &Definitions) -> Result<What, String> {
        let kept = |label: &str| definitions.windows.iter().any(|window| window.label == label);
        let window = match &self.window {
            Some(label) if !kept(label) => {
                let labels: Vec<&str> =
                    definitions.windows.iter().map(|window| window.label.as_str()).collect();
                return Err(format!("--window {label}: there are {}", labels.join(", ")));
            }
            Some(label) => label.clone(),
            None => definitions.windows.first().map_or_else(String::new, |one| one.label.clone()),
        };
        let all: Vec<BoardName> = definitions
            .boards
            .iter()
            .map(|board| BoardName { dimension: board.dimension.clone(), metric: board.metric })
            .collect();
        if let Some(missing) = self.boards.iter().find(|board| !all.contains(board)) {
            let names: Vec<String> = all.iter().map(BoardName::to_string).collect();
            return Err(format!("--board {missing}: there are {}", names.join(", ")));
        }
        let boards = match self.boards.is_empty() {
            false => self.boards.clone(),
            true => definitions
                .dimensions
                .iter()
                .filter_map(|dimension| all.iter().find(|board| board.dimension == dimension.name))
                .cloned()
                .collect(),
        };
        Ok(What { window, boards, rows: self.rows, currency: definitions.currency.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definitions() -> Definitions {
        let window = |label: &str, size: i64| serde_json::json!({"label": label, "size_ms": size, "slide_ms": 1000, "closed_step_ms": 1000});
        let board = |dimension: &str, metric: &str| serde_json::json!({"dimension": dimension, "metric": metric, "top": 10});
        let json = serde_json::json!({
            "topics": {"click": "click"},
            "windows": [window("1m", 60_000), window("5m", 300_000)],
            "dimensions": [{"name": "product", "field": "p"}, {"name": "shop:kind", "field": "k"}, {"name": "bare", "field": "b"}],
            "boards": [board("product", "clicks"), board("product", "revenue_minor"), board("shop:kind", "units")],
            "lateness_ms": 1, "max_future_ms": 1, "base_pane_ms": 1000, "currency": "EUR", "deduplicate": false,
        });
        Definitions::parse(&json.to_string()).unwrap()
    }

    fn shown(window: Option<&str>, boards: &[&str]) -> Result<String, String> {
        let boards = boards.iter().map(|name| name.parse().unwrap()).collect();
        let asked = Asked { window: window.map(str::to_owned), boards, rows: 10 };
        let what = asked.of(&definitions())?;
        let boards: Vec<String> = what.boards.iter().map(BoardName::to_string).collect();
        Ok(format!("{} {}", what.window, boards.join(" ")))
    }

    #[test]
    fn what_is_shown_is_kept() {
        assert_eq!(shown(None, &[]).unwrap(), "1m product:clicks shop:kind:units");
        assert_eq!(
            shown(Some("5m"), &["product:revenue_minor"]).unwrap(),
            "5m product:revenue_minor"
        );
        assert_eq!(shown(Some("2m"), &[]).unwrap_err(), "--window 2m: there are 1m, 5m");
        assert_eq!(
            shown(None, &["bare:clicks"]).unwrap_err(),
            "--board bare:clicks: there are product:clicks, product:revenue_minor, shop:kind:units"
        );
    }

    #[test]
    fn boards_are_named_by_dimension_and_metric() {
        let error = |text: &str| text.parse::<BoardName>().unwrap_err();
        assert!(error("product").contains("for example product:clicks"));
        assert!(error(":clicks").contains("DIMENSION:METRIC"));
        assert!(error("product:sales").contains("unknown metric `sales`: expected clicks, "));
    }
}
