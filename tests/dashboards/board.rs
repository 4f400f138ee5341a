//! Reads the board, and holds it to the rules that keep it readable in every Grafana.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

/// Core panels that every Grafana since 10 has. `gauge` says no more than `stat`.
const PANELS: [&str; 7] =
    ["row", "stat", "timeseries", "heatmap", "table", "state-timeline", "text"];
/// What Grafana 10 writes; newer ones read it and migrate.
const SCHEMA_VERSION_MAX: u64 = 38;
const COLUMNS: u64 = 24;

pub struct Board(Value);

/// An expression, and where it stands.
pub struct Query {
    pub place: String,
    pub expression: String,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

impl Board {
    pub fn read() -> Board {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana/dashboards/nazar-overview.json");
        Board(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    }

    fn panels(&self) -> impl Iterator<Item = &Value> {
        list(&self.0, "panels").iter()
    }

    pub fn queries(&self) -> Vec<Query> {
        let of_panels = self.panels().flat_map(|panel| {
            let place = format!("panel \"{}\"", text(panel, "title"));
            list(panel, "targets").iter().map(move |target| (place.clone(), text(target, "expr")))
        });
        let of_annotations = list(&self.0["annotations"], "list").iter().map(|annotation| {
            let place = format!("annotation \"{}\"", text(annotation, "name"));
            (place, text(annotation, "expr"))
        });
        of_panels
            .chain(of_annotations)
            .map(|(place, expression)| Query { place, expression: expression.to_owned() })
            .collect()
    }

    pub fn check(&self) {
        let board = &self.0;
        assert!(board["id"].is_null(), "an id belongs to one Grafana; the uid is ours");
        assert_eq!(text(board, "uid"), "nazar-overview");
        assert!(board["schemaVersion"].as_u64().unwrap() <= SCHEMA_VERSION_MAX);
        assert_eq!(board["editable"], Value::Bool(false), "changes belong in the repository");
        assert!(board["__inputs"].is_null(), "provisioning does not fill inputs");
        let variables: Vec<&str> =
            list(&board["templating"], "list").iter().map(|v| text(v, "name")).collect();
        assert_eq!(variables, ["datasource", "job", "instance"]);

        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in self.panels() {
            let title = text(panel, "title");
            assert!(ids.insert(panel["id"].as_u64()), "{title}: the id is taken");
            assert!(PANELS.contains(&text(panel, "type")), "{title}: not a core panel");
            check_place(panel, &mut taken);
            if text(panel, "type") != "row" {
                check_panel(panel);
            }
        }
    }
}

fn check_place(panel: &Value, taken: &mut BTreeSet<(u64, u64)>) {
    let at = |key: &str| panel["gridPos"][key].as_u64().expect("gridPos is whole");
    let (title, x, y) = (text(panel, "title"), at("x"), at("y"));
    assert!(x + at("w") <= COLUMNS, "{title} leaves the board");
    for column in x..x + at("w") {
        for line in y..y + at("h") {
            assert!(taken.insert((column, line)), "{title} covers another panel");
        }
    }
}

fn check_panel(panel: &Value) {
    let title = text(panel, "title");
    assert!(!title.is_empty());
    assert!(text(panel, "description").contains("Good: "), "{title}: say what good looks like");
    let unit = text(&panel["fieldConfig"]["defaults"], "unit");
    assert!(!unit.is_empty() || text(panel, "type") == "table", "{title}: no unit");
    assert!(!list(panel, "targets").is_empty(), "{title}: no query");
    for value in std::iter::once(panel).chain(list(panel, "targets")) {
        assert_eq!(text(&value["datasource"], "uid"), "${datasource}", "{title}");
    }
    for target in list(panel, "targets") {
        let expression = text(target, "expr");
        let selectors =
            expression.matches("nazar_").count() + expression.matches("process_").count();
        let filters = expression.matches("{job=~\"$job\",instance=~\"$instance\"").count();
        assert_eq!(selectors, filters, "{title}: each selector heeds the variables: {expression}");
        for range in expression.split('[').skip(1) {
            let known = range.starts_with("$__rate_interval]") || range.starts_with("$__range]");
            assert!(known, "{title}: a fixed range is empty or blurred at some zoom: {expression}");
        }
    }
}

/// The names of metrics in an expression.
pub fn families(expression: &str) -> BTreeSet<String> {
    expression
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("nazar_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// Whether a series belongs to a family: the same name, or a part of the histogram.
pub fn is_series_of(series: &str, family: &str) -> bool {
    let part = series.strip_prefix(family);
    part.is_some_and(|part| ["", "_bucket", "_sum", "_count"].contains(&part))
}

/// The expression as Grafana sends it, at an interval of a second.
pub fn interpolate(expression: &str) -> String {
    expression
        .replace("$__rate_interval", "5s")
        .replace("$__range", "5m")
        .replace("$job", ".+")
        .replace("$instance", ".+")
}
