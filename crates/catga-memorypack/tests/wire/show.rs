//! Values in the notation of the file.

use super::kept::{Map, Set, Sorted};
use catga_memorypack::{
    DateOnly, DateTime, DateTimeOffset, Decimal, Grid, Half, Lazy, Pair, Rune, TimeOnly, TimeSpan, Utf16, Version,
    to_vec,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, LinkedList, VecDeque};
use uuid::Uuid;

pub trait Show {
    fn show(&self) -> Value;
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

macro_rules! shown {
    ($($ty:ty: |$value:ident| $show:expr;)*) => {
        $(
            impl Show for $ty {
                fn show(&self) -> Value {
                    let $value = self;
                    $show
                }
            }
        )*
    };
}
shown! {
    bool: |value| json!(value);
    u8: |value| json!(value);
    i8: |value| json!(value);
    u16: |value| json!(value);
    i16: |value| json!(value);
    u32: |value| json!(value);
    i32: |value| json!(value);
    u64: |value| json!(value.to_string());
    i64: |value| json!(value.to_string());
    u128: |value| json!(value.to_string());
    i128: |value| json!(value.to_string());
    f32: |value| json!(format!("{:08x}", value.to_bits()));
    f64: |value| json!(format!("{:016x}", value.to_bits()));
    Half: |value| json!(format!("{:04x}", value.0));
    Rune: |value| json!(u32::from(value.0));
    Decimal: |value| json!({ "text": value.to_string(), "raw": hex(&to_vec(value).unwrap_or_default()) });
    Uuid: |value| json!(value.hyphenated().to_string());
    DateTime: |value| json!({ "ticks": value.ticks().to_string(), "kind": value.kind() as u8 });
    DateTimeOffset: |value| {
        json!({ "utcTicks": value.utc_ticks().to_string(), "offsetMinutes": value.offset_minutes() })
    };
    TimeSpan: |value| json!(value.ticks().to_string());
    TimeOnly: |value| json!(value.ticks().to_string());
    DateOnly: |value| json!(value.day_number());
    String: |value| json!(value);
    Box<str>: |value| json!(value);
    catga_buf::Str: |value| json!(value.as_str());
    Utf16: |value| json!(value.0);
    bytes::Bytes: |value| json!(hex(value));
    Version: |value| json!([value.major, value.minor, value.build, value.revision]);
}

impl<T: Show> Show for Option<T> {
    fn show(&self) -> Value {
        self.as_ref().map_or(Value::Null, Show::show)
    }
}

impl<T: Show> Show for Box<T> {
    fn show(&self) -> Value {
        (**self).show()
    }
}

fn list<'a, T: Show + 'a>(items: impl IntoIterator<Item = &'a T>) -> Value {
    items.into_iter().map(Show::show).collect()
}

macro_rules! lists {
    ($($ty:ident<$item:ty>)*) => {
        $(
            impl<T: Show> Show for $ty<$item> {
                fn show(&self) -> Value {
                    list(self.iter())
                }
            }
        )*
    };
}
lists! { Vec<T> Box<[T]> VecDeque<T> LinkedList<T> Set<T> }

impl Show for Sorted {
    fn show(&self) -> Value {
        list(&self.0)
    }
}

impl<K: Show, V: Show> Show for Map<K, V> {
    fn show(&self) -> Value {
        list(self.iter())
    }
}

impl<K: Show, V: Show> Show for BTreeMap<K, V> {
    fn show(&self) -> Value {
        self.iter().map(|(key, value)| json!([key.show(), value.show()])).collect()
    }
}

impl<K: Show, V: Show> Show for Pair<K, V> {
    fn show(&self) -> Value {
        json!([self.0.show(), self.1.show()])
    }
}

impl<A: Show, B: Show> Show for (A, B) {
    fn show(&self) -> Value {
        json!([self.0.show(), self.1.show()])
    }
}

impl<A: Show, B: Show, C: Show> Show for (A, B, C) {
    fn show(&self) -> Value {
        json!([self.0.show(), self.1.show(), self.2.show()])
    }
}

impl<T: Show> Show for Grid<T> {
    fn show(&self) -> Value {
        json!({ "dims": self.dims(), "values": list(self.values()) })
    }
}

impl<T: Show> Show for Lazy<T> {
    fn show(&self) -> Value {
        json!({ "Value": self.0.show() })
    }
}
