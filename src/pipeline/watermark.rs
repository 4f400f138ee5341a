//! The watermark of a partition (being written).

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watermark;
