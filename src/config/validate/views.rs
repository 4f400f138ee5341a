//! Views, dimensions, distinct users, money and fields.

use std::collections::BTreeSet;

use super::{Rules, hint};
use crate::config::defaults::DIMENSIONS;
use crate::config::{Config, ViewConfig};
use crate::event::{DIMENSIONS_MAX, Metric};

const TOP_MAX: usize = 100_000;

pub(super) fn check(config: &Config, rules: &mut Rules<'_>) {
    for (index, view) in config.view.iter().enumerate() {
        check_view(config, index, view, rules);
    }
    check_dimensions(config, rules);
    check_currency(&config.money.currency, rules);
    check_fields(config, rules);
}

fn check_view(config: &Config, index: usize, view: &ViewConfig, rules: &mut Rules<'_>) {
    let path = |key: &str| format!("view[{index}].{key}");
    if !is_name(&view.dimension) {
        rules.refuse(
            &path("dimension"),
            "must be a lower-case name such as brand or price_band ([a-z][a-z0-9_]*): it is part \
             of Redis keys",
        );
    }
    rules.refuse_if(
        view.field.as_deref() == Some(""),
        &path("field"),
        "must name a field of the event",
    );
    rules.refuse_if(
        view.metrics.is_empty(),
        &path("metrics"),
        "must name at least one metric, or be left out for all",
    );
    for (position, metric) in view.metrics.iter().enumerate() {
        let metrics = Metric::ALL.map(Metric::name);
        if Metric::from_name(metric).is_none() {
            let hint = hint(metric, metrics);
            rules.refuse(
                &path("metrics"),
                format!("{metric:?} is no metric; there are {}{hint}", metrics.join(", ")),
            );
        } else if view.metrics[..position].contains(metric) || stands_before(config, index, metric)
        {
            let dimension = &view.dimension;
            rules.refuse(
                &path("metrics"),
                format!(
                    "the board of {dimension} by {metric} is declared twice: one key cannot \
                         hold both"
                ),
            );
        }
    }
    let top_fits = view.top.is_none_or(|top| (1..=TOP_MAX).contains(&top));
    rules.refuse_if(!top_fits, &path("top"), format!("must be from 1 to {TOP_MAX}"));
    let other_field = config.view[..index].iter().find(|other| {
        other.dimension == view.dimension && config.field_of(other) != config.field_of(view)
    });
    if let Some(other) = other_field {
        let field = config.field_of(other);
        rules.refuse(
            &path("field"),
            format!("must be the same in every [[view]] of a dimension; above it is {field:?}"),
        );
    }
}

fn stands_before(config: &Config, index: usize, metric: &String) -> bool {
    let view = &config.view[index];
    let mut before = config.view[..index].iter();
    before.any(|other| other.dimension == view.dimension && other.metrics.contains(metric))
}

fn check_dimensions(config: &Config, rules: &mut Rules<'_>) {
    let declared: BTreeSet<&str> = config.view.iter().map(|view| view.dimension.as_str()).collect();
    let count = declared.len();
    rules.refuse_if(
        count > DIMENSIONS_MAX,
        "view",
        format!(
            "{count} dimensions are declared; at most {DIMENSIONS_MAX} fit into an event's \
                 line"
        ),
    );
    for name in &config.uniques.dimensions {
        // The default names a category, which a configuration of other views need not have.
        let is_known = declared.contains(name.as_str()) || rules.is_default("uniques.dimensions");
        if !is_known && !rules.is_broken("view[0]") {
            let hint = hint(name, declared.iter().copied());
            rules.refuse(
                "uniques.dimensions",
                format!("{name:?} is the dimension of no [[view]]{hint}"),
            );
        }
    }
    for (name, entities_max) in &config.limits.entities {
        let path = format!("limits.entities.{name}");
        let is_known = declared.contains(name.as_str()) || DIMENSIONS.contains(&name.as_str());
        if !is_known && !rules.is_broken("view[0]") {
            let hint = hint(name, declared.iter().copied());
            rules.refuse(&path, format!("{name:?} is the dimension of no [[view]]{hint}"));
        }
        let fits = (1..=u32::MAX as usize / 2).contains(entities_max);
        rules.refuse_if(!fits, &path, "must be from 1 to 2_147_483_647");
    }
}

fn check_currency(currency: &str, rules: &mut Rules<'_>) {
    let is_code = currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase());
    rules.refuse_if(
        !is_code,
        "money.currency",
        r#"must be a code of three capital letters, such as "USD" or "EUR""#,
    );
}

fn check_fields(config: &Config, rules: &mut Rules<'_>) {
    let named = config.field_names().map(|(key, field)| (format!("fields.{key}"), field));
    for (position, (path, field)) in named.iter().enumerate() {
        rules.refuse_if(field.is_empty(), path, "must name a field of the event");
        if let Some((other, _)) = named[..position].iter().find(|(_, before)| before == field) {
            let (path, other) = rules.culprit(path, other);
            rules.refuse(path, format!("is the field of {other} too: each value needs its own"));
        }
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}
