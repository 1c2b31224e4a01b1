//! Orders from a file or a pipe: one JSON object a line. A line that cannot be read is told with its reason and does
//! not stop the others.

use catga_order_system::{Item, PlaceOrder};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use std::{
    fmt,
    io::{self, BufRead, Read as _},
    marker::PhantomData,
};

/// The longest line, in bytes: enough for any order within the bounds below, however it is escaped.
const LONGEST_LINE: usize = 4 << 20;

/// One line of the input.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    /// 1 for the first.
    pub(crate) number: u64,
    /// The order, or why there is none.
    pub(crate) order: Result<PlaceOrder, String>,
}

/// Reads orders from lines, one at a time.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: R,
    number: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Reads from here.
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, number: 0, buffer: Vec::new() }
    }

    /// The next line; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line>> {
        self.buffer.clear();
        (&mut self.reader).take(LONGEST_LINE as u64 + 1).read_until(b'\n', &mut self.buffer)?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let order = if self.buffer.last() != Some(&b'\n') && self.buffer.len() > LONGEST_LINE {
            self.skip_line()?;
            Err(format!("longer than {LONGEST_LINE} bytes"))
        } else {
            parse(&self.buffer)
        };
        Ok(Some(Line { number: self.number, order }))
    }

    /// Reads up to the next line without keeping anything.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let chunk = self.reader.fill_buf()?;
            let (used, ended) = match chunk.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (chunk.len(), chunk.is_empty()),
            };
            self.reader.consume(used);
            if ended {
                return Ok(());
            }
        }
    }
}

/// The shape of a line, with numbers wide enough to say which one is out of range.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderLine {
    id: String,
    customer: String,
    items: Vec<Object<ItemLine>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemLine {
    sku: String,
    qty: i64,
    price_cents: i64,
}

/// A JSON object and nothing else: serde would take the values of an array for those of the fields.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(fields))
            }
        }
        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// The order of a line.
fn parse(line: &[u8]) -> Result<PlaceOrder, String> {
    if line.trim_ascii().is_empty() {
        return Err("empty".to_owned());
    }
    let Object(OrderLine { id, customer, items }) = serde_json::from_slice(line.trim_ascii()).map_err(reason)?;
    text("id", &id)?;
    text("customer", &customer)?;
    number("number of items", items.len() as i64, 1, 1_000)?;
    let items = items.into_iter().map(|Object(ItemLine { sku, qty, price_cents })| {
        text("sku", &sku)?;
        let qty = number("qty", qty, 1, 1_000_000)?;
        let price_cents = number("price_cents", price_cents, 0, 100_000_000)?;
        Ok(Item { sku, qty, price_cents })
    });
    let items = items.collect::<Result<_, String>>()?;
    Ok(PlaceOrder { id, customer, items })
}

/// Why it is no order, without serde's line number, which is always 1 here.
fn reason(error: serde_json::Error) -> String {
    let text = error.to_string();
    let (what, column) = (text.split(" at line ").next().unwrap_or(&text), error.column());
    match error.classify() {
        serde_json::error::Category::Data => format!("no order: {what} (column {column})"),
        _ => format!("not JSON: {what} (column {column})"),
    }
}

fn text(name: &str, value: &str) -> Result<(), String> {
    match value.len() {
        1..=255 => Ok(()),
        length => Err(format!("{name} has {length} bytes, not 1 to 255")),
    }
}

fn number(name: &str, value: i64, least: u32, most: u32) -> Result<u32, String> {
    let within = u32::try_from(value).ok().filter(|value| (least..=most).contains(value));
    within.ok_or_else(|| format!("{name} is {value}, not {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"id":"o-1","customer":"c-17","items":[{"sku":"A-1","qty":2,"price_cents":1250}]}"#;

    fn lines(text: &[u8]) -> Vec<Line> {
        let mut lines = Lines::new(text);
        std::iter::from_fn(|| lines.next().unwrap()).collect()
    }

    #[test]
    fn a_broken_line_has_its_number_and_does_not_stop_the_others() {
        let text = format!("{GOOD}\n\n  \nno\n{GOOD}\r\n{GOOD}");
        let lines = lines(text.as_bytes());
        assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        let good = PlaceOrder {
            id: "o-1".to_owned(),
            customer: "c-17".to_owned(),
            items: vec![Item { sku: "A-1".to_owned(), qty: 2, price_cents: 1250 }],
        };
        for index in [0, 4, 5] {
            assert_eq!(lines[index].order.as_ref(), Ok(&good));
        }
        assert_eq!(lines[1].order, Err("empty".to_owned()));
        assert_eq!(lines[2].order, Err("empty".to_owned()));
        assert!(lines[3].order.as_ref().unwrap_err().starts_with("not JSON: "));
    }

    #[test]
    fn every_bound_is_named() {
        let long = "x".repeat(256);
        let many = vec![r#"{"sku":"A-1","qty":2,"price_cents":1}"#; 1001].join(",");
        let one = r#"{"sku":"A-1","qty":2,"price_cents":1250}"#;
        let cases = [
            ("\"qty\":2", "\"qty\":0", "qty is 0, not 1 to 1000000"),
            ("\"qty\":2", "\"qty\":-1", "qty is -1, not 1 to 1000000"),
            ("\"qty\":2", "\"qty\":1000001", "qty is 1000001, not 1 to 1000000"),
            ("\"qty\":2", "\"qty\":1.5", "no order: invalid type: floating point `1.5`, expected i64"),
            ("1250", "-1", "price_cents is -1, not 0 to 100000000"),
            ("1250", "100000001", "price_cents is 100000001, not 0 to 100000000"),
            ("o-1", "", "id has 0 bytes, not 1 to 255"),
            ("c-17", &long, "customer has 256 bytes, not 1 to 255"),
            ("A-1", "", "sku has 0 bytes, not 1 to 255"),
            (one, "", "number of items is 0, not 1 to 1000"),
            (one, &many, "number of items is 1001, not 1 to 1000"),
            ("\"customer\":\"c-17\",", "", "no order: missing field `customer`"),
            ("\"id\"", "\"vip\":1,\"id\"", "no order: unknown field `vip`"),
            ("\"id\"", "\"id\":\"o-2\",\"id\"", "no order: duplicate field `id`"),
        ];
        for (from, to, expected) in cases {
            let line = GOOD.replacen(from, to, 1);
            let reason = parse(line.as_bytes()).unwrap_err();
            assert!(reason.starts_with(expected), "{reason:?} is not {expected:?}");
        }
        for (from, to) in [("\"qty\":2", "\"qty\":1000000"), ("1250", "100000000"), ("1250", "0")] {
            parse(GOOD.replacen(from, to, 1).as_bytes()).unwrap();
        }
        assert!(parse(b"{\"id\":\"\xFF\"").unwrap_err().starts_with("not JSON"));
        assert!(parse(format!("{GOOD}{GOOD}").as_bytes()).unwrap_err().starts_with("not JSON: trailing"));
        for line in ["[]", "null", "7", r#"["o-1","c-17",[]]"#, &GOOD.replacen(one, r#"["A-1",2,1250]"#, 1)] {
            let reason = parse(line.as_bytes()).unwrap_err();
            assert!(reason.contains("expected an object"), "{line}: {reason}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped() {
        let long = "x".repeat(LONGEST_LINE + 10);
        let lines = lines(format!("{long}\n{GOOD}\n{long}").as_bytes());
        assert_eq!(lines[0].order, Err(format!("longer than {LONGEST_LINE} bytes")));
        assert!(lines[1].order.is_ok());
        assert!(lines[2].order.is_err());
        assert_eq!(lines.len(), 3);
    }
}
