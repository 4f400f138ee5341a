//! What the shop sells. Nothing is stored per product: a product's category, seller and
//! price are functions of its number, so a catalogue of millions costs no memory.
//!
//! Popularity has two levels, as in published storefront data: categories follow Zipf with
//! exponent 1 (of 64, the first takes a fifth), items within a category are much flatter
//! (density ~ rank^-½). A single Zipf over all items would overstate the hottest item about
//! a hundredfold. Benchmarks are stated in it all the same ([`Popularity::Zipf`]).

use std::fmt;
use std::str::FromStr;

use super::rng::{Rng, Zipf, fraction};

/// Names of the first categories. Spaces, signs and letters beyond ASCII are here on
/// purpose: they have to survive keys, boards and percent-encoding.
const NAMES: [&str; 24] = [
    "Fashion",
    "Electronics",
    "Home & Garden",
    "Beauty",
    "Toys",
    "Sports",
    "Books",
    "Groceries",
    "Shoes",
    "Jewellery",
    "Bébé",
    "Pets",
    "Küche & Bad",
    "Office",
    "Tools/DIY",
    "Car parts",
    "Music",
    "Games",
    "Health 100%",
    "Lighting",
    "Furniture",
    "Garden: pools",
    "文具",
    "Outdoor",
];

/// Which products shoppers look at.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Popularity {
    /// Categories by Zipf's law, products within them flatter; a session stays with its category.
    #[default]
    Storefront,
    /// All products by Zipf's law with this exponent, whatever their category, as benchmarks like to
    /// say; 0 means all alike.
    Zipf(f64),
}

impl fmt::Display for Popularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storefront => f.write_str("storefront"),
            Self::Zipf(exponent) => write!(f, "zipf:{exponent}"),
        }
    }
}

impl FromStr for Popularity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected storefront, or zipf:S with S from 0 to 4".to_owned();
        if text == "storefront" {
            return Ok(Self::Storefront);
        }
        let exponent = text.strip_prefix("zipf:").and_then(|text| text.parse().ok());
        exponent
            .filter(|exponent| (0.0..=4.0).contains(exponent))
            .map(Self::Zipf)
            .ok_or_else(expected)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Catalogue {
    products: u32,
    categories: u32,
    sellers: u32,
    by_popularity: Zipf,
    /// Over all products, where their categories do not matter.
    flat: Option<Zipf>,
}

impl Catalogue {
    /// All counts are at least 1; there are never more categories than products.
    pub fn new(products: u32, categories: u32, sellers: u32) -> Self {
        let products = products.max(1);
        let categories = categories.clamp(1, products);
        Self {
            products,
            categories,
            sellers: sellers.max(1),
            by_popularity: Zipf::new(categories as usize, 1.0),
            flat: None,
        }
    }

    /// The same products, looked at otherwise. Zipf's law takes eight bytes of memory a product.
    pub fn with_popularity(mut self, popularity: Popularity) -> Self {
        self.flat = match popularity {
            Popularity::Storefront => None,
            Popularity::Zipf(exponent) => Some(Zipf::new(self.products as usize, exponent)),
        };
        self
    }

    pub fn draw_category(&self, rng: &mut Rng) -> u32 {
        self.by_popularity.draw(rng) as u32
    }

    /// A product of this category, unless popularity ignores categories; products of a category are
    /// `categories` apart.
    pub fn draw_product(&self, category: u32, rng: &mut Rng) -> u32 {
        if let Some(flat) = &self.flat {
            return flat.draw(rng) as u32;
        }
        let in_category = (self.products - category).div_ceil(self.categories);
        let rank = (f64::from(in_category) * rng.unit().powi(2)) as u32;
        rank.min(in_category - 1) * self.categories + category
    }

    pub fn category_of(&self, product: u32) -> u32 {
        product % self.categories
    }

    /// Few sellers have most of the products: of 2,000 the first has about 2 %.
    pub fn seller_of(&self, product: u32) -> u32 {
        let at = fraction(u64::from(product) ^ 0x5E11);
        ((f64::from(self.sellers) * at * at) as u32).min(self.sellers - 1)
    }

    /// Price of one unit in minor units: 5 to 500 of the currency, ending in 99.
    pub fn price_minor(&self, product: u32) -> u64 {
        let at = fraction(u64::from(product) ^ 0x9121CE);
        (10f64.powf(0.7 + 2.0 * at) as u64) * 100 + 99
    }

    /// The first categories have names, the others numbers.
    pub fn named_category(category: u32) -> Option<&'static str> {
        NAMES.get(category as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_lies_in_the_category_it_was_drawn_from() {
        let mut rng = Rng::new(3, 0);
        for (products, categories) in [(1, 1), (5, 64), (10, 3), (100_000, 64)] {
            let catalogue = Catalogue::new(products, categories, 7);
            for _ in 0..500 {
                let category = catalogue.draw_category(&mut rng);
                let product = catalogue.draw_product(category, &mut rng);
                assert!(product < products);
                assert_eq!(catalogue.category_of(product), category);
                assert!(catalogue.seller_of(product) < 7);
                assert!((500..60_000).contains(&catalogue.price_minor(product)));
            }
        }
    }

    #[test]
    fn items_are_flatter_than_categories() {
        let mut rng = Rng::new(5, 0);
        let catalogue = Catalogue::new(64_000, 64, 2000);
        let (mut top_category, mut top_item) = (0, 0);
        let draws = 50_000;
        for _ in 0..draws {
            let category = catalogue.draw_category(&mut rng);
            let product = catalogue.draw_product(category, &mut rng);
            top_category += u32::from(category == 0);
            top_item += u32::from(product == 0);
        }
        let share = |hits: u32| f64::from(hits) / f64::from(draws);
        assert!((0.19..0.23).contains(&share(top_category)), "{}", share(top_category));
        assert!((0.002..0.012).contains(&share(top_item)), "{}", share(top_item));
    }

    #[test]
    fn zipf_ignores_categories() {
        let mut rng = Rng::new(5, 0);
        let draws = 50_000;
        let mut hits = |exponent| {
            let popularity = Popularity::Zipf(exponent);
            let catalogue = Catalogue::new(1000, 10, 7).with_popularity(popularity);
            let mut hits = [0; 1000];
            (0..draws).for_each(|_| hits[catalogue.draw_product(3, &mut rng) as usize] += 1);
            hits
        };
        let skewed = hits(0.99);
        // 1 / Σ rank^-0.99 of a thousand ranks is 0.131.
        assert!((6_200..6_900).contains(&skewed[0]), "{}", skewed[0]);
        assert!((560..760).contains(&skewed[9]), "{}", skewed[9]);
        let alike = hits(0.0);
        assert!(alike.iter().all(|&hits| (15..100).contains(&hits)));
    }

    #[test]
    fn popularity_is_read_as_it_is_shown() {
        for text in ["storefront", "zipf:0", "zipf:0.99"] {
            assert_eq!(text.parse::<Popularity>().unwrap().to_string(), text);
        }
        for text in ["", "zipf", "zipf:", "zipf:-1", "zipf:5", "zipf:NaN", "flat"] {
            assert!(text.parse::<Popularity>().is_err(), "{text}");
        }
    }
}
