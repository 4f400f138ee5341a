//! What shoppers do: the ordinary day of the anchors in [`super::super::shopper`], and how scenarios change it.

use super::Scenario;

/// Shares that decide the next deed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mood {
    /// Of the deeds of a session.
    pub wishlist: f64,
    pub purchase: f64,
    /// Of what is bought: was looked at just before.
    pub bought_after_looking: f64,
    /// Of the orders: with several lines.
    pub many_lines: f64,
    /// Of the lines: with more than one piece.
    pub many_pieces: f64,
    /// Of the clicks: on a product of the cast.
    pub pull: f64,
    /// Of the records: a bot's.
    pub bots: f64,
}

/// 90 clicks to 4.5 wishlist events to 2.3 purchases.
const EVENTS: f64 = 90.0 + 4.5 + 2.3;

impl Mood {
    pub const ORDINARY: Mood = Mood {
        wishlist: 4.5 / EVENTS,
        purchase: 2.3 / EVENTS,
        bought_after_looking: 0.53,
        many_lines: 0.15,
        many_pieces: 0.2,
        pull: 0.0,
        bots: 0.0,
    };

    /// In the course of a scenario, `progress` from 0 to 1.
    pub fn of(scenario: Scenario, progress: f64) -> Mood {
        let ordinary = Mood::ORDINARY;
        match scenario {
            Scenario::FlashSale => {
                let height = rush(progress);
                let purchase = ordinary.purchase * (1.0 + 1.5 * height);
                Mood { pull: 0.45 * height, purchase, ..ordinary }
            }
            Scenario::HotSeller => Mood { pull: 0.35 * progress, ..ordinary },
            Scenario::BotAttack => Mood { bots: 0.6, ..ordinary },
            Scenario::BlackFriday => Mood {
                purchase: ordinary.purchase * 2.5,
                bought_after_looking: 0.85,
                many_lines: 0.4,
                many_pieces: 0.35,
                ..ordinary
            },
            Scenario::Night => ordinary,
        }
    }
}

/// Until when people arrive, and until when they stay, as shares of a flash sale.
pub const RUSH_RISES: f64 = 0.07;
pub const RUSH_HOLDS: f64 = 0.33;

/// The height of a flash sale: up at once, a while at the top, slowly down again.
fn rush(progress: f64) -> f64 {
    if progress < RUSH_RISES {
        progress / RUSH_RISES
    } else if progress < RUSH_HOLDS {
        1.0
    } else {
        (1.0 - progress) / (1.0 - RUSH_HOLDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rush_comes_quickly_and_goes_slowly() {
        let height = [0.0, 0.035, 0.07, 0.2, 0.33, 0.665, 1.0].map(rush);
        let expected = [0.0, 0.5, 1.0, 1.0, 1.0, 0.5, 0.0];
        for (found, expected) in height.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-9, "{height:?}");
        }
    }
}
