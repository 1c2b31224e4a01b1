//! Made-up orders, equal for equal seeds.

use catga_order_system::{Item, PlaceOrder};

/// A source of numbers that look random and are equal for equal seeds: SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

    /// Starts at `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, any of 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(Self::STEP);
        mix(self.0)
    }

    /// The next number below `bound`; 0 where `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // The highest 64 of 128 bits: even enough for bounds far below 2^64.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// Stirs the bits of `number`.
pub(crate) fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// Endless orders of some hundred customers for some hundred goods at fixed prices.
#[derive(Debug)]
pub(crate) struct Generator {
    random: Random,
    made: u64,
}

impl Generator {
    /// Orders that are equal for equal seeds.
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), made: 0 }
    }
}

impl Iterator for Generator {
    type Item = PlaceOrder;

    fn next(&mut self) -> Option<PlaceOrder> {
        self.made += 1;
        let customer = format!("c-{}", 1 + self.random.below(400));
        let items = (0..1 + self.random.below(5)).map(|_| {
            let sku = self.random.below(26 * 20);
            let name = char::from(b'A' + (sku % 26) as u8);
            Item {
                sku: format!("{name}-{}", 1 + sku / 26),
                qty: 1 + self.random.below(9) as u32,
                price_cents: 95 + (mix(sku) % 400) as u32 * 25,
            }
        });
        Some(PlaceOrder { id: format!("o-{}", self.made), customer, items: items.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_make_equal_orders_and_others_do_not() {
        let make = |seed| Generator::new(seed).take(100).collect::<Vec<_>>();
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_all_of_it() {
        let mut random = Random::new(7);
        let mut seen = [false; 5];
        (0..200).for_each(|_| seen[random.below(5) as usize] = true);
        assert_eq!(seen, [true; 5]);
        assert_eq!(random.below(0), 0);
    }

    /// The file that newcomers feed to `--input` is what seed 500 makes. `BLESS=1` writes it anew.
    #[test]
    fn the_sample_file_has_500_generated_orders() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/order-system/orders.jsonl");
        let lines: Vec<String> =
            Generator::new(500).take(500).map(|order| serde_json::to_string(&order).unwrap() + "\n").collect();
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, lines.concat()).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap() == lines.concat(),
            "orders.jsonl is not what the generator makes"
        );
    }
}
