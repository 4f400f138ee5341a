//! Who takes part in a scenario: drawn from the seed, before the first record.

use serde::{Deserialize, Serialize};

use super::Scenario;
use crate::load::catalogue::Catalogue;
use crate::load::encode::Out;
use crate::load::kind::Kind;
use crate::load::rng::Rng;
use crate::load::workload::WorkloadConfig;

/// Statements are about windows of this size, which end at whole minutes.
pub const MINUTE_MS: i64 = 60_000;

/// No other draws of a seed come from these streams.
const STREAM: u64 = 6;
const STRANDS: u64 = 256;

/// On sale at the same time; of the clicks on them the first has 5 in 9, the second 3, the third 1.
const ON_SALE: [f64; 3] = [5.0, 3.0, 1.0];
/// Accounts of an attack, and what they are after.
const BOTS: u32 = 5;
const TARGETS: usize = 4;
/// Products of a hot seller that are wanted, of those among the first so many of the catalogue: all are
/// asked who sells them.
const WANTED: usize = 20;
const SEARCHED: u32 = 1_000_000;
/// Of a topic's partitions one in so many is silent at night.
const SILENT_ONE_IN: u32 = 3;
/// Draws that may find what there is already.
const TRIES: usize = 64;

/// By number, as the generator knows them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cast {
    pub products: Vec<u32>,
    /// Of the clicks on the products: how many are on this one or one before it.
    weights: Vec<f64>,
    pub seller: Option<u32>,
    pub bots: Vec<u32>,
    /// By kind: partitions that no key leads to, ascending.
    pub silent: [Vec<u32>; 4],
}

/// The same by the names that records carry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub products: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sellers: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
}

impl Cast {
    pub fn draw(scenario: Scenario, config: &WorkloadConfig, catalogue: &Catalogue) -> Self {
        let mut rng = Rng::new(config.seed, STREAM);
        match scenario {
            Scenario::FlashSale => {
                let products = different(ON_SALE.len(), || popular(catalogue, &mut rng));
                Self::of(products, &ON_SALE)
            }
            Scenario::HotSeller => {
                let found = small_seller(config.sellers, catalogue, &mut rng);
                let seller = catalogue.seller_of(found);
                let of_seller = (0..config.products.min(SEARCHED))
                    .filter(|&product| catalogue.seller_of(product) == seller);
                let mut products: Vec<u32> = of_seller.take(WANTED).collect();
                if products.is_empty() {
                    products.push(found);
                }
                Self { seller: Some(seller), ..Self::of(products, &[1.0; WANTED]) }
            }
            Scenario::BotAttack => {
                // Whatever it is, whether or not anybody else wants it; in the order of the
                // catalogue, as a crawler goes.
                let any = |rng: &mut Rng| rng.below(u64::from(config.products)) as u32;
                let mut products = different(TARGETS, || any(&mut rng));
                products.sort_unstable();
                let mut bots: Vec<u32> =
                    (0..BOTS).map(|bot| config.users.saturating_add(bot)).collect();
                bots.dedup();
                Self { bots, ..Self::of(products, &[1.0; TARGETS]) }
            }
            Scenario::BlackFriday => Self::default(),
            Scenario::Night => {
                let silent = config.partitions.map(|count| silent(count, &mut rng));
                Self { silent, ..Self::default() }
            }
        }
    }

    fn of(products: Vec<u32>, weights: &[f64]) -> Self {
        let mut sum = 0.0;
        let weights = weights.iter().take(products.len());
        let weights = weights.map(|weight| {
            sum += weight;
            sum
        });
        Self { weights: weights.collect(), products, ..Self::default() }
    }

    /// Draws of one strand that only the scenario makes.
    pub fn strand(seed: u64, strand: u64) -> Rng {
        Rng::new(seed, STRANDS + strand)
    }

    /// One of the products; `None` if there are none.
    pub fn draw_product(&self, rng: &mut Rng) -> Option<u32> {
        let at = rng.unit() * self.weights.last()?;
        let place = self.weights.partition_point(|&edge| edge <= at);
        self.products.get(place.min(self.products.len() - 1)).copied()
    }

    pub fn names(&self) -> Names {
        Names {
            products: self.products.iter().map(|&product| product_name(product)).collect(),
            sellers: self.seller.map(seller_name).into_iter().collect(),
            users: self.bots.iter().map(|&user| user_name(user)).collect(),
        }
    }

    /// Kinds and partitions that nothing is written to.
    pub fn silent(&self) -> impl Iterator<Item = (Kind, &[u32])> {
        let silent = Kind::ALL.into_iter().zip(self.silent.iter().map(Vec::as_slice));
        silent.filter(|(_, partitions)| !partitions.is_empty())
    }
}

/// So many different products; fewer if the catalogue is small.
fn different(count: usize, mut draw: impl FnMut() -> u32) -> Vec<u32> {
    let mut products = Vec::new();
    for _ in 0..TRIES {
        let product = draw();
        if products.len() < count && !products.contains(&product) {
            products.push(product);
        }
    }
    products
}

/// A product as shoppers look at them.
fn popular(catalogue: &Catalogue, rng: &mut Rng) -> u32 {
    let category = catalogue.draw_category(rng);
    catalogue.draw_product(category, rng)
}

/// A product of somebody who is not one of the large sellers yet, if there are others.
fn small_seller(sellers: u32, catalogue: &Catalogue, rng: &mut Rng) -> u32 {
    let mut product = 0;
    for _ in 0..TRIES {
        product = popular(catalogue, rng);
        if catalogue.seller_of(product) >= sellers / 4 {
            break;
        }
    }
    product
}

/// A share of the partitions, and never all of them.
fn silent(count: u32, rng: &mut Rng) -> Vec<u32> {
    let mut silent = Vec::new();
    let wanted = if count > 1 { count.div_ceil(SILENT_ONE_IN) } else { 0 };
    while (silent.len() as u32) < wanted {
        let partition = rng.below(u64::from(count)) as u32;
        if !silent.contains(&partition) {
            silent.push(partition);
        }
    }
    silent.sort_unstable();
    silent
}

pub fn product_name(product: u32) -> String {
    named(|out| out.put_product(product))
}

pub fn seller_name(seller: u32) -> String {
    format!("s{seller}")
}

pub fn user_name(user: u32) -> String {
    named(|out| out.put_user(user))
}

fn named(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = Vec::new();
    write(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
