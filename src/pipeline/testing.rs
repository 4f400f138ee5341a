//! What unit tests of the pure core share.

use crate::event::Metric;
use crate::pipeline::definitions::{Board, Definitions, Dimension};
use crate::time::Span;

/// Small windows over product, category and seller, with distinct users per category.
pub fn definitions() -> Definitions {
    definitions_with(&[(4, 1), (12, 3), (24, 24)])
}

/// Windows given as (size, slide) in seconds, closed at every slide.
pub fn definitions_with(sizes_and_slides: &[(i64, i64)]) -> Definitions {
    let specs = sizes_and_slides
        .iter()
        .map(|&(size, slide)| {
            let (size, slide) = (Span::from_secs(size), Span::from_secs(slide));
            (size.label(), size, slide, slide)
        })
        .collect();
    let (windows, levels) = Definitions::resolve_windows(specs);
    let dimension = |name: &str, field: &str, uniques| Dimension {
        name: name.into(),
        field: field.into(),
        entities_max: 1000,
        uniques,
    };
    Definitions {
        windows,
        dimensions: vec![
            dimension("product", "product_id", false),
            dimension("category", "category", true),
            dimension("seller", "seller_id", false),
        ],
        boards: (0..3)
            .flat_map(|dimension| Metric::ALL.map(|metric| Board { dimension, metric, top: 3 }))
            .collect(),
        levels,
        lateness: Span::from_secs(5),
        max_future: Span::from_secs(30),
        max_skew: Span::from_secs(60),
        stall_limit: Span::from_secs(600),
        currency: "USD".into(),
        sketch_bytes_max: 64 << 20,
        deduplicate: false,
        deduplicate_bytes_max: 1 << 20,
    }
}
