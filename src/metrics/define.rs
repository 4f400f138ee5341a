//! Makes metrics in a registry and remembers their names.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::{
    CounterVec, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::histogram::{Histogram, HistogramFamily};

/// What a family is, for the documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub name: &'static str,
    pub help: &'static str,
    pub labels: Vec<&'static str>,
}

/// A set of metrics in the making.
#[derive(Default)]
pub struct Define {
    pub registry: Registry,
    pub definitions: Vec<Definition>,
}

const VALID: &str = "names and labels are literals of this module, and a test builds them all";

macro_rules! single {
    ($method:ident, $metric:ty) => {
        /// A metric without labels, at 0 from the start.
        pub fn $method(&mut self, name: &'static str, help: &'static str) -> $metric {
            let metric = <$metric>::new(name, help).expect(VALID);
            self.register(name, help, &[], metric)
        }
    };
}

macro_rules! family {
    ($method:ident, $family:ty) => {
        /// A family whose series appear when first asked for.
        pub fn $method(
            &mut self,
            name: &'static str,
            help: &'static str,
            labels: &[&'static str],
        ) -> $family {
            let family = <$family>::new(Opts::new(name, help), labels).expect(VALID);
            self.register(name, help, labels, family)
        }
    };
}

impl Define {
    single!(int_counter, IntCounter);
    single!(int_gauge, IntGauge);
    family!(int_counters, IntCounterVec);
    family!(counters, CounterVec);
    family!(int_gauges, IntGaugeVec);
    family!(gauges, GaugeVec);

    /// One histogram per value of the label.
    pub fn histograms(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: impl IntoIterator<Item = String>,
        bounds: &'static [f64],
    ) -> Vec<Arc<Histogram>> {
        let names = vec![label.to_owned()];
        let desc = Desc::new(name.to_owned(), help.to_owned(), names, Default::default());
        let family = HistogramFamily::new(desc.expect(VALID), label, values, bounds);
        self.register(name, help, &[label], family).series().collect()
    }

    fn register<M: Collector + Clone + 'static>(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[&'static str],
        metric: M,
    ) -> M {
        self.registry.register(Box::new(metric.clone())).expect(VALID);
        self.definitions.push(Definition { name, help, labels: labels.to_vec() });
        metric
    }
}
